//! What a provider is asked to launch.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use spec::{ResourceCandidate, Secret};

/// Names one replica for ever: service, the service's incarnation, and the replica's number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaKey {
    /// Name of the service.
    pub service: String,
    /// Random lower-case hex (16 characters) drawn when the service was created, so that a service of the
    /// same name later owns nothing of this one.
    pub incarnation: String,
    /// Number of the replica.
    pub replica_id: u32,
}

impl fmt::Display for ReplicaKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}-{}-{}",
            self.service, self.incarnation, self.replica_id
        )
    }
}

/// Everything a provider needs to start one replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchRequest {
    /// Which replica.
    pub key: ReplicaKey,
    /// Shell text run once, first.
    pub setup: Option<String>,
    /// Shell text of the app.
    pub run: Option<String>,
    /// Environment: the task's `envs` and SkyServe's variables.
    pub envs: BTreeMap<String, String>,
    /// Environment that is never printed.
    pub secrets: BTreeMap<String, Secret>,
    /// The version's immutable snapshot of the workdir.
    pub workdir: Option<PathBuf>,
    /// The version's immutable snapshots of file mounts.
    pub file_mounts: Vec<LaunchMount>,
    /// The port the app is declared to listen on.
    pub port: u16,
    /// What the placement chose.
    pub resources: ResourceCandidate,
    /// Nodes per replica.
    pub num_nodes: u32,
}

/// One file mount of a [`LaunchRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchMount {
    /// Where it appears on the replica: absolute, or starting with `~`.
    pub destination: String,
    /// The snapshot: a file or a folder.
    pub source: PathBuf,
}
