//! The closed vocabulary: everything the system can do. The planner owes actions, the controller
//! carries them out; doing one twice is harmless, since each names what it is about by a number
//! that is never used twice.

use serde::{Deserialize, Serialize};

use crate::routing::{ReplicaId, RoutingTable, Version};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
#[expect(
    clippy::large_enum_variant,
    reason = "few are alive at a time, and each is short-lived"
)]
pub enum Action {
    /// Launch a replica of a version. Answered by `Launched` or `LaunchFailed`.
    Launch {
        /// The replica.
        replica: ReplicaId,
        /// The version whose task it runs.
        version: Version,
    },
    /// Run the version's `verify` command against a replica. Answered by `Verified`.
    Verify {
        /// The replica.
        replica: ReplicaId,
        /// The version whose command it is.
        version: Version,
    },
    /// Start a replica anew where it is, with the task of a version. Answered by `Launched` or
    /// `LaunchFailed`.
    RestartInPlace {
        /// The replica.
        replica: ReplicaId,
        /// The version whose task it runs from then on.
        version: Version,
    },
    /// End a replica: TERM, grace, KILL, and every trace but its log. Answered by `Terminated` or
    /// `TerminateFailed`.
    Terminate {
        /// The replica.
        replica: ReplicaId,
        /// Seconds between TERM and KILL.
        grace_seconds: f64,
    },
    /// Put a routing table in force. Answered by `Acknowledged` or `TableRefused`.
    Route {
        /// The table.
        table: RoutingTable,
    },
    /// Close the endpoint for good. Answered by `Withdrawn`.
    Withdraw,
    /// Delete the files of a version that nothing can need any more. Not answered.
    CollectVersion {
        /// The version.
        version: Version,
    },
    /// Forget the service: nothing of it is left. Not answered.
    Forget,
}

impl Action {
    /// What makes two actions the same one: a later action with the same key takes the place of an
    /// earlier.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Launch { replica, .. } => format!("launch/{replica}"),
            Self::Verify { replica, .. } => format!("verify/{replica}"),
            Self::RestartInPlace { replica, .. } => format!("restart/{replica}"),
            Self::Terminate { replica, .. } => format!("terminate/{replica}"),
            Self::Route { .. } => "route".to_owned(),
            Self::Withdraw => "withdraw".to_owned(),
            Self::CollectVersion { version } => format!("collect/{version}"),
            Self::Forget => "forget".to_owned(),
        }
    }

    /// The replica that it brings up, or on: what is of no use once that is to be ended.
    #[must_use]
    pub fn starts(&self) -> Option<ReplicaId> {
        match self {
            Self::Launch { replica, .. }
            | Self::Verify { replica, .. }
            | Self::RestartInPlace { replica, .. } => Some(*replica),
            _ => None,
        }
    }

    /// The keys of all that may be owed to bring a replica up, or on.
    #[must_use]
    pub fn keys_of_starts(replica: ReplicaId) -> [String; 3] {
        ["launch", "verify", "restart"].map(|verb| format!("{verb}/{replica}"))
    }
}
