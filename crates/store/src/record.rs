//! What is stored beside the planner's state.

use plan::{Action, ServiceState};
use serde::{Deserialize, Serialize};
use spec::Task;

/// A service as it is found at start.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredService {
    /// The planner's state.
    pub state: ServiceState,
    /// Its revision.
    pub revision: u64,
    /// The actions it owes, in the order they were owed.
    pub owed: Vec<Action>,
}

/// One accepted version.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionRecord {
    /// Its number.
    pub version: u32,
    /// What it serves.
    pub task: Task,
    /// The YAML as the user wrote it.
    pub yaml: String,
    /// Its immutable copies of the user's files.
    pub files: VersionFiles,
}

/// The immutable copies of a version's files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VersionFiles {
    /// The workdir.
    pub workdir: Option<FileSource>,
    /// Local file mounts: destination and copy.
    pub mounts: Vec<(String, FileSource)>,
}

/// One copy, named by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSource {
    /// Content digest; also its name among the snapshots.
    pub digest: String,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Its number.
    pub sequence: i64,
    /// When, microseconds since the epoch.
    pub at: i64,
    /// What kind.
    pub kind: String,
    /// The replica concerned.
    pub replica: Option<u32>,
    /// The version concerned.
    pub version: Option<u32>,
    /// A sentence.
    pub message: String,
}
