//! The history of a service, on the wire.

use serde::{Deserialize, Serialize};

/// `GET /v1/services/NAME/history`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Name of the service.
    pub name: String,
    /// The version that it is being brought to, or is at.
    pub desired_version: u32,
    /// What it was brought to, oldest first.
    pub entries: Vec<HistoryEntry>,
}

/// One up, update or rollback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// `up`, `update` or `rollback`.
    pub kind: String,
    /// The version that it was to bring.
    pub version: u32,
    /// When it was accepted, seconds since the epoch.
    pub started_at: f64,
    /// Name of the user who asked for it, where that is known.
    pub requested_by: Option<String>,
    /// Content hash of the version: equal hashes need no new replicas.
    pub task_hash: String,
    /// How replicas were replaced: `rolling`, `blue_green` …
    pub mode: String,
    /// `in_progress`, `succeeded`, `failed`, `aborted`, `superseded`, or `unknown` for what is older than the history.
    pub outcome: String,
    /// Why it ended so, where there is more to say.
    pub reason: Option<String>,
    /// When it ended, seconds since the epoch.
    pub ended_at: Option<f64>,
}
