//! `Task`: the meaning of a whole task YAML, without its `service:` section.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::masks;
use crate::service::ServiceSpec;

/// A task as the rest of the system sees it: validated, defaults filled in, `$VAR` substituted
/// where SkyServe does so, command-line overrides merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// `name`.
    pub name: Option<String>,
    /// `workdir`: a local folder, as written (not yet resolved against anything).
    pub workdir: Option<Workdir>,
    /// `num_nodes`, at least 1.
    pub num_nodes: u32,
    /// `resources`: every candidate, in order.
    pub resources: Resources,
    /// `file_mounts`, sorted by destination.
    pub file_mounts: Vec<FileMount>,
    /// `envs`, including `--env` and `--env-file`.
    pub envs: BTreeMap<String, String>,
    /// `secrets` with a value, including `--secret` and `--secret-file`.
    pub secrets: BTreeMap<String, Secret>,
    /// `setup`: shell text run once per replica.
    pub setup: Option<String>,
    /// `run`: shell text of the app.
    pub run: Option<String>,
    /// `service`, when there is one.
    pub service: Option<ServiceSpec>,
    /// Every other accepted field (`volumes`, `config`, `num_nodes`-free extras …) in canonical
    /// JSON, kept so that the content hash covers it.
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// Key of [`Task::other`] for the names of secrets without a value.
pub(crate) const UNVALUED_SECRETS: &str = "secrets_without_value";

impl Task {
    /// Names of secrets that the file asks for and that have no value yet: give them with
    /// `--secret`. A service that needs one of them cannot be started.
    pub fn missing_secrets(&self) -> impl Iterator<Item = &str> {
        let names = self
            .other
            .get(UNVALUED_SECRETS)
            .and_then(serde_json::Value::as_array);
        names
            .into_iter()
            .flatten()
            .filter_map(serde_json::Value::as_str)
    }

    /// `text` with the values of this task's secrets shown as `***`. Anything made from `service`
    /// may hold secrets, because `$NAME` is filled in there.
    #[must_use]
    pub fn masked(&self, text: &str) -> String {
        masks::masked(self.secrets.values(), text)
    }
}

/// `workdir`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Workdir {
    /// A local folder.
    Local(String),
    /// A git repository.
    Git {
        /// What to clone.
        url: String,
        /// Branch, tag or commit.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
    },
}

/// One entry of `file_mounts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileMount {
    /// Where it appears on the replica: absolute, or starting with `~`.
    pub destination: String,
    /// Where it comes from.
    pub source: FileMountSource,
}

/// Where a file mount comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileMountSource {
    /// A local file or folder, as written.
    Local(String),
    /// A bucket or web address (`s3://…`, `https://…`).
    Url(String),
    /// A storage object (`name`, `source`, `store`, `mode` …) in canonical JSON.
    Storage(serde_json::Value),
}

/// `resources`: the candidates among which placement chooses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// How the candidates relate.
    pub choice: Choice,
    /// At least one candidate.
    pub candidates: Vec<ResourceCandidate>,
}

/// How the candidates of [`Resources`] relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// There is one.
    Single,
    /// `any_of`, or a set of accelerators: whichever is best.
    AnyOf,
    /// `ordered`, or a list of accelerators: the first that can be had.
    Ordered,
}

/// One candidate of `resources`. Amounts keep SkyPilot's spelling (`"4+"` is at least four).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceCandidate {
    /// `infra`, canonical (`aws/us-east-1`), or built from `cloud`/`region`/`zone`.
    pub infra: Option<String>,
    /// Cloud, lower case.
    pub cloud: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Zone.
    pub zone: Option<String>,
    /// `cpus`: `"2"` or `"2+"`.
    pub cpus: Option<String>,
    /// `memory` in GiB: `"8"` or `"8+"`.
    pub memory: Option<String>,
    /// `accelerators`: name and count; at most one entry.
    pub accelerators: Option<(String, f64)>,
    /// `instance_type`.
    pub instance_type: Option<String>,
    /// `use_spot`; false when not written.
    pub use_spot: bool,
    /// Whether `use_spot` was written.
    pub use_spot_specified: bool,
    /// `disk_size` in GB.
    pub disk_size: u64,
    /// `disk_tier`.
    pub disk_tier: Option<String>,
    /// `network_tier`.
    pub network_tier: Option<String>,
    /// `ports`, simplified to single ports and ranges.
    pub ports: Vec<String>,
    /// `image_id` in canonical JSON.
    pub image_id: Option<serde_json::Value>,
    /// `labels`.
    pub labels: BTreeMap<String, String>,
    /// Every other accepted field in canonical JSON.
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// A value that must never be printed: `Debug` shows `***`. It is serialised in clear only where
/// the holder says so by serialising it (the store keeps it in a file only its owner can read).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the environment of the replica.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}
