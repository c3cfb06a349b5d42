//! A version as a user hands it in, and as it is kept once it has its number.

use plan::VersionState;
use plan::rollout::UpdateMode;
use plan::routing::{ReplicaId, Version};
use plan::settings::UpdateSettings;
use spec::{ServiceSpec, Task};
use store::{VersionFiles, VersionRecord};

/// A version that a user wants, complete but for its number.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// What to serve.
    pub task: Task,
    /// Its `service` section.
    pub service: ServiceSpec,
    /// The YAML as the user wrote it.
    pub yaml: String,
    /// Snapshots of its files; already made.
    pub files: VersionFiles,
    /// Content hash of everything a replica can see.
    pub task_hash: String,
    /// Whether replicas are asked for on spot machines.
    pub use_spot: bool,
    /// Name of the user who asks for it, where that is known.
    pub requested_by: Option<String>,
    /// How to get there.
    pub mode: UpdateMode,
    /// Limits of the way there.
    pub settings: UpdateSettings,
}

/// An accepted update.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The number of the new version.
    pub version: Version,
    /// Replicas that took it without a restart.
    pub reused: Vec<ReplicaId>,
}

impl NewVersion {
    /// The same, once its number is known: what the planner and what the store keep of it.
    #[must_use]
    pub fn numbered(self, version: Version, at: plan::Timestamp) -> (VersionState, VersionRecord) {
        let state = VersionState {
            version,
            settings: self.settings,
            spec: self.service,
            task_hash: self.task_hash,
            use_spot: self.use_spot,
            mode: self.mode,
            accepted_at: at,
            ever_ready: false,
            trusted_at: None,
            failure: None,
            backoff: plan::backoff::Backoff::default(),
        };
        let record = VersionRecord {
            version,
            task: self.task,
            yaml: self.yaml,
            files: self.files,
        };
        (state, record)
    }
}
