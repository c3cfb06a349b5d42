//! What differs between two versions, on the wire.

use serde::{Deserialize, Serialize};

/// `GET /v1/services/NAME/diff?from=V1&to=V2`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// Name of the service.
    pub name: String,
    /// The one version.
    pub from: u32,
    /// The other.
    pub to: u32,
    /// Whether replicas of the one are not what the other asks for, so that they must be replaced.
    pub replaces_replicas: bool,
    /// What differs, by path.
    pub changes: Vec<Change>,
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Where it stands in the task: `service.replica_policy.min_replicas`; `workdir (content)` for files.
    pub path: String,
    /// How it differs.
    pub kind: ChangeKind,
    /// What it was. `None` where it was not there, or is hidden.
    pub old: Option<serde_json::Value>,
    /// What it is. `None` where it is not there any more, or is hidden.
    pub new: Option<serde_json::Value>,
    /// Whether its values are secret: secrets, headers, variables that look like secrets.
    pub hidden: bool,
}

/// How a field differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has another value.
    Changed,
}
