//! What an agent is told to run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{AgentError, ReplicaDir};

/// The contents of `launch.json`. It holds secrets: the file is readable by its owner only, and
/// `Debug` shows the key alone.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The replica's key, unique for ever.
    pub key: String,
    /// Name of the service.
    pub service: String,
    /// Number of the replica.
    pub replica_id: u32,
    /// Shell text run once, first.
    pub setup: Option<String>,
    /// Shell text of the app.
    pub run: Option<String>,
    /// The task's environment.
    pub envs: BTreeMap<String, String>,
    /// The task's secret environment.
    pub secrets: BTreeMap<String, String>,
    /// The port the app is declared to listen on.
    pub port: u16,
    /// The port the app gets where it has no network of its own.
    pub shared_port: u16,
    /// Which network it gets.
    pub network: NetworkChoice,
    /// Whether to make PID and mount namespaces (we are root).
    pub namespaces: bool,
    /// The file that takes all output; lies outside of the replica's folder.
    pub log: PathBuf,
    /// Absolute mounts.
    pub binds: Vec<Bind>,
    /// The GPUs it may use, by index; `None` where the machine has none.
    pub gpus: Option<Vec<u32>>,
    /// `SKYPILOT_TASK_ID`.
    pub task_id: String,
}

/// One absolute mount: a copy of the replica's own that appears at `destination` in its mount
/// namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// The replica's copy, a file or a folder.
    pub source: PathBuf,
    /// Absolute path.
    pub destination: PathBuf,
}

/// Which network a replica gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkChoice {
    /// Its own where the machine allows it, the machine's otherwise.
    #[default]
    Auto,
    /// Its own or none.
    Isolated,
    /// The machine's.
    Shared,
}

impl Launch {
    /// Reads `launch.json` of a replica.
    pub(crate) fn read(dir: &ReplicaDir) -> Result<Self, AgentError> {
        let path = dir.launch();
        let text =
            std::fs::read(&path).map_err(AgentError::file(format!("read {}", path.display())))?;
        // The cause is left out: it could quote a secret.
        serde_json::from_slice(&text)
            .map_err(|_| AgentError::Malformed(format!("{} is not a launch file", path.display())))
    }
}

impl fmt::Debug for Launch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Launch")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
