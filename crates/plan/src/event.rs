//! Everything that can happen to a service, and so everything that can make the planner decide
//! anew.

use serde::{Deserialize, Serialize};

use crate::figures::CanaryFigures;
use crate::observation::{ErrorClass, Observation};
use crate::routing::{ApiKeyHash, Arrivals, Generation, ReplicaId, Version};
use crate::state::VersionState;

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// Time has passed.
    Tick,
    /// The user wants this version from now on. Its number is larger than every earlier one.
    Update {
        /// The version.
        version: Box<VersionState>,
    },
    /// The user steers the update in progress.
    Steer {
        /// Where to.
        what: Steering,
    },
    /// The user wants an earlier version back. It keeps its number.
    Rollback {
        /// Which one. `None`: the one that was trusted before the desired one.
        to: Option<Version>,
    },
    /// The user wants the service gone.
    Down {
        /// Do not wait for requests in flight.
        now: bool,
        /// Forget it even where something may be left behind.
        purge: bool,
    },
    /// The user wants one replica gone. What it leaves open is filled again.
    TerminateReplica {
        /// The replica.
        replica: ReplicaId,
        /// Do not wait for requests in flight.
        now: bool,
        /// Forget its record even if its end fails, or if it has failed.
        purge: bool,
    },
    /// The user made, revoked or forgot API keys.
    ApiKeys {
        /// The ones that may use the endpoint from now on. `None`: whether keys are asked for is the YAML's to say.
        keys: Option<Vec<ApiKeyHash>>,
    },
    /// The provider has taken the launch up.
    Launched {
        /// The replica.
        replica: ReplicaId,
    },
    /// The provider could not launch it; nothing of it is left.
    LaunchFailed {
        /// The replica.
        replica: ReplicaId,
        /// What may be concluded.
        class: ErrorClass,
        /// A sentence for the person.
        message: String,
    },
    /// What the provider sees of a replica.
    Observed {
        /// The replica.
        replica: ReplicaId,
        /// What it sees.
        observation: Observation,
    },
    /// A readiness probe has ended.
    Probed {
        /// The replica.
        replica: ReplicaId,
        /// The version whose probe it was.
        version: Version,
        /// `None` when it passed, else what was seen.
        failure: Option<String>,
    },
    /// The command that a replica must satisfy has ended.
    Verified {
        /// The replica.
        replica: ReplicaId,
        /// The version whose command it was.
        version: Version,
        /// `None` when it was satisfied, else what was seen.
        failure: Option<String>,
    },
    /// What the proxy counted of a canary since the last such event.
    CanaryFigures {
        /// The counts.
        figures: CanaryFigures,
    },
    /// All of a replica is gone.
    Terminated {
        /// The replica.
        replica: ReplicaId,
    },
    /// A replica could not be ended.
    TerminateFailed {
        /// The replica.
        replica: ReplicaId,
        /// A sentence for the person.
        message: String,
    },
    /// The proxy has put a routing table in force.
    Acknowledged {
        /// Its generation.
        generation: Generation,
        /// Requests in flight per replica, counted after that.
        in_flight: Vec<(ReplicaId, u32)>,
    },
    /// The proxy cannot put a routing table in force.
    TableRefused {
        /// Its generation.
        generation: Generation,
        /// A sentence for the person.
        reason: String,
    },
    /// What the proxy counted.
    Traffic {
        /// Generation in force while it counted.
        generation: Generation,
        /// Requests in flight per replica.
        in_flight: Vec<(ReplicaId, u32)>,
        /// New requests.
        arrivals: Vec<Arrivals>,
    },
    /// A proxy has connected; it must be told the table, whatever it may have known.
    ProxyConnected,
    /// The proxy has closed the endpoint.
    Withdrawn,
}

/// What a user may do with an update in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Steering {
    /// Change nothing more; the good version is repaired and scaled meanwhile.
    Pause,
    /// Go on.
    Resume,
    /// Wait no longer: the next step of a canary, or the move of traffic where the capacity for it stands.
    Promote,
    /// Back to the trusted version.
    Abort,
}
