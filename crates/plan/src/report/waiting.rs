//! One thing that is being waited for, as data and in words.

use serde::{Deserialize, Serialize};

use crate::rollout::NoRoom;
use crate::routing::{Generation, ReplicaId, Version};

/// How a probe's failure begins where nothing listens yet: that it is starting says as much.
const NOTHING_LISTENS: &str = "connection refused";

/// One thing that is being waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "waiting_on")]
pub enum WaitingOn {
    /// A replica's launch to be taken up.
    Pending {
        /// The replica.
        replica: ReplicaId,
    },
    /// A replica's machine, files or setup.
    Provisioning {
        /// The replica.
        replica: ReplicaId,
        /// What is going on.
        detail: Option<String>,
        /// Seconds since its launch.
        elapsed_seconds: f64,
    },
    /// A replica's first successful probe.
    Starting {
        /// The replica.
        replica: ReplicaId,
        /// Seconds since the app started.
        elapsed_seconds: f64,
        /// Seconds it has.
        limit_seconds: f64,
        /// What the last probe saw.
        last_probe_failure: Option<String>,
    },
    /// Requests in flight on a replica that is to be restarted.
    Restarting {
        /// The replica.
        replica: ReplicaId,
        /// How many.
        in_flight: u32,
        /// Seconds until it is restarted all the same.
        remaining_seconds: f64,
    },
    /// The command that a replica must satisfy.
    Verifying {
        /// The replica.
        replica: ReplicaId,
        /// Seconds that the command may take.
        limit_seconds: f64,
    },
    /// A ready replica to have been so for long enough.
    Settling {
        /// The replica.
        replica: ReplicaId,
        /// Seconds it has been ready.
        elapsed_seconds: f64,
        /// Seconds it must be.
        limit_seconds: f64,
    },
    /// A replica that was ready to become so again.
    NotReady {
        /// The replica.
        replica: ReplicaId,
        /// What the last probe saw.
        last_probe_failure: Option<String>,
    },
    /// A running replica to pass the new version's readiness probe.
    Adoption {
        /// The replica.
        replica: ReplicaId,
    },
    /// The next attempt after failures.
    Backoff {
        /// The version.
        version: Version,
        /// Seconds until then.
        remaining_seconds: f64,
        /// Failures in a row.
        failures: u32,
        /// What the last of them was.
        last_failure: Option<String>,
    },
    /// The proxy to put a routing table in force.
    ProxyAcknowledgement {
        /// Its generation.
        generation: Generation,
    },
    /// Requests in flight on a replica that is to stop.
    Draining {
        /// The replica.
        replica: ReplicaId,
        /// How many.
        in_flight: u32,
        /// Seconds until it is stopped all the same.
        remaining_seconds: f64,
    },
    /// A step of a canary to end.
    CanaryStep {
        /// Which one, from 1.
        step: u32,
        /// How many there are.
        steps: u32,
        /// Share of requests that the new version gets, in percent.
        weight_percent: f64,
        /// Seconds that it still takes. `None`: until it is promoted.
        remaining_seconds: Option<f64>,
        /// What the analysis waits for, once the time is over.
        doubt: Option<String>,
    },
    /// Room for more replicas of the new version beside the old ones.
    Room {
        /// Replicas beyond the number wanted that there is room for.
        surge: u32,
        /// What was seen.
        seen: String,
    },
    /// A replica's end.
    Stopping {
        /// The replica.
        replica: ReplicaId,
    },
}

impl WaitingOn {
    /// The replica that is waited for, where it is one.
    #[must_use]
    pub fn replica(&self) -> Option<ReplicaId> {
        match self {
            Self::Pending { replica }
            | Self::Provisioning { replica, .. }
            | Self::Starting { replica, .. }
            | Self::Restarting { replica, .. }
            | Self::Verifying { replica, .. }
            | Self::Settling { replica, .. }
            | Self::NotReady { replica, .. }
            | Self::Adoption { replica }
            | Self::Draining { replica, .. }
            | Self::Stopping { replica } => Some(*replica),
            // A time, the proxy, room or a person is waited for.
            _ => None,
        }
    }

    /// `replica 4: starting, 12s of 1200s`.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Pending { replica } => format!("replica {replica}: launch not begun"),
            Self::Provisioning {
                replica,
                detail,
                elapsed_seconds,
            } => {
                let detail = detail.as_deref().unwrap_or("provisioning");
                format!("replica {replica}: {detail}, {}s", elapsed_seconds.floor())
            }
            Self::Starting {
                replica,
                elapsed_seconds,
                limit_seconds,
                last_probe_failure,
            } => {
                let elapsed = elapsed_seconds.floor();
                let seen = last_probe_failure.as_deref();
                let seen = seen.filter(|seen| !seen.starts_with(NOTHING_LISTENS));
                let seen = behind(", last probe: ", seen);
                format!("replica {replica}: starting, {elapsed}s of {limit_seconds}s{seen}")
            }
            Self::Restarting {
                replica,
                in_flight,
                remaining_seconds,
            } => format!(
                "replica {replica}: draining before its restart, {in_flight} in flight, at most {}s more",
                remaining_seconds.ceil()
            ),
            Self::Verifying {
                replica,
                limit_seconds,
            } => {
                format!("replica {replica}: `verify` runs, at most {limit_seconds}s")
            }
            Self::Settling {
                replica,
                elapsed_seconds,
                limit_seconds,
            } => {
                format!(
                    "replica {replica}: ready for {}s of {limit_seconds}s",
                    elapsed_seconds.floor()
                )
            }
            Self::NotReady {
                replica,
                last_probe_failure,
            } => {
                let seen = last_probe_failure.as_deref().unwrap_or("no answer");
                format!("replica {replica}: not ready, {seen}")
            }
            Self::Adoption { replica } => {
                format!("replica {replica}: to pass the new readiness probe")
            }
            Self::Backoff {
                remaining_seconds,
                failures,
                last_failure,
                ..
            } => {
                let times = if *failures == 1 {
                    "failure"
                } else {
                    "failures in a row"
                };
                let why = last_failure.as_ref();
                let why = why.map_or_else(String::new, |why| format!(" ({why})"));
                format!(
                    "next launch in {}s after {failures} {times}{why}",
                    remaining_seconds.ceil()
                )
            }
            Self::ProxyAcknowledgement { generation } => {
                format!("the proxy to acknowledge routing table {generation}")
            }
            Self::Draining {
                replica,
                in_flight,
                remaining_seconds,
            } => format!(
                "replica {replica}: draining, {in_flight} in flight, at most {}s more",
                remaining_seconds.ceil()
            ),
            Self::CanaryStep {
                step,
                steps,
                weight_percent,
                remaining_seconds,
                doubt,
            } => {
                let until = match (doubt, remaining_seconds) {
                    (Some(doubt), _) => format!("the analysis: {doubt}"),
                    (None, Some(seconds)) => format!("{}s more", seconds.ceil()),
                    (None, None) => "`sky serve promote`".to_owned(),
                };
                format!("step {step} of {steps} ({weight_percent} % of requests): {until}")
            }
            Self::Room { surge, seen } => format!("{}: {seen}", NoRoom::sentence(*surge)),
            Self::Stopping { replica } => format!("replica {replica}: stopping"),
        }
    }
}

/// What is known, behind what it is; nothing where nothing is known.
fn behind(what: &str, known: Option<&str>) -> String {
    known.map_or_else(String::new, |known| format!("{what}{known}"))
}
