//! What is worth telling: one type per observable fact. The controller writes each to the event log
//! of the service, in the transaction of the step that caused it.

use serde::{Deserialize, Serialize};

use crate::routing::{ReplicaId, Version};

/// One fact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Happening {
    /// What kind.
    pub kind: HappeningKind,
    /// The replica concerned.
    pub replica: Option<ReplicaId>,
    /// The version concerned.
    pub version: Option<Version>,
    /// A sentence.
    pub message: String,
}

/// Kinds of [`Happening`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HappeningKind {
    /// A version was accepted.
    VersionAccepted,
    /// Running replicas took a new version number.
    ReplicasReused,
    /// A replica is wanted.
    ReplicaWanted,
    /// A replica's status changed.
    ReplicaStatus,
    /// A replica is being drained or stopped.
    ReplicaEnding,
    /// A replica is gone.
    ReplicaGone,
    /// The target changed.
    TargetChanged,
    /// Traffic goes to other versions than before.
    TrafficMoved,
    /// A rollout ended well.
    RolloutSucceeded,
    /// A rollout failed.
    RolloutFailed,
    /// A later update took a rollout's place.
    RolloutSuperseded,
    /// A version is given up.
    VersionFailed,
    /// Other API keys than before may use the endpoint.
    ApiKeysChanged,
    /// The endpoint cannot be had.
    EndpointRefused,
    /// The service is being taken down.
    ShuttingDown,
}

impl HappeningKind {
    /// Short stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VersionAccepted => "version_accepted",
            Self::ReplicasReused => "replicas_reused",
            Self::ReplicaWanted => "replica_wanted",
            Self::ReplicaStatus => "replica_status",
            Self::ReplicaEnding => "replica_ending",
            Self::ReplicaGone => "replica_gone",
            Self::TargetChanged => "target_changed",
            Self::TrafficMoved => "traffic_moved",
            Self::RolloutSucceeded => "rollout_succeeded",
            Self::RolloutFailed => "rollout_failed",
            Self::RolloutSuperseded => "rollout_superseded",
            Self::VersionFailed => "version_failed",
            Self::ApiKeysChanged => "api_keys_changed",
            Self::EndpointRefused => "endpoint_refused",
            Self::ShuttingDown => "shutting_down",
        }
    }
}
