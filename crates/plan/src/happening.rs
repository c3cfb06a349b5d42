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
    /// The command that a replica must satisfy has begun.
    ReplicaVerified,
    /// A replica is restarted where it is.
    ReplicaRestarting,
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
    /// The user aborted a rollout.
    RolloutAborted,
    /// The user paused a rollout.
    RolloutPaused,
    /// The user let a paused rollout go on.
    RolloutResumed,
    /// The user has a rollout wait no longer.
    RolloutPromoted,
    /// The user wants an earlier version back.
    RolledBack,
    /// There is no room for more replicas, so they are replaced within what there is.
    NoRoomToSurge,
    /// A canary gets another share of the traffic.
    CanaryStep,
    /// The version that traffic has left stays warm.
    UndoWindowOpened,
    /// It does so no longer.
    UndoWindowClosed,
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
            Self::ReplicaVerified => "replica_verified",
            Self::ReplicaRestarting => "replica_restarting",
            Self::ReplicaEnding => "replica_ending",
            Self::ReplicaGone => "replica_gone",
            Self::TargetChanged => "target_changed",
            Self::TrafficMoved => "traffic_moved",
            Self::RolloutSucceeded => "rollout_succeeded",
            Self::RolloutFailed => "rollout_failed",
            Self::RolloutSuperseded => "rollout_superseded",
            Self::RolloutAborted => "rollout_aborted",
            Self::RolloutPaused => "rollout_paused",
            Self::RolloutResumed => "rollout_resumed",
            Self::RolloutPromoted => "rollout_promoted",
            Self::RolledBack => "rolled_back",
            Self::NoRoomToSurge => "no_room_to_surge",
            Self::CanaryStep => "canary_step",
            Self::UndoWindowOpened => "undo_window_opened",
            Self::UndoWindowClosed => "undo_window_closed",
            Self::VersionFailed => "version_failed",
            Self::ApiKeysChanged => "api_keys_changed",
            Self::EndpointRefused => "endpoint_refused",
            Self::ShuttingDown => "shutting_down",
        }
    }
}
