//! What is being waited for: as data, and in a few words.

use serde::{Deserialize, Serialize};
use spec::StepEnd;

use crate::replica::{Replica, Routed};
use crate::rollout::{NoRoom, canary};
use crate::routing::{Generation, ReplicaId, Version};
use crate::state::ServiceState;
use crate::status::ReplicaStatus;
use crate::time::Timestamp;
use crate::verify::Verification;

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
                ..
            } => {
                format!(
                    "replica {replica}: starting, {}s of {limit_seconds}s",
                    elapsed_seconds.floor()
                )
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

/// What has to happen before `version` is complete, most telling first.
#[must_use]
pub fn waiting_on(state: &ServiceState, version: Version, now: Timestamp) -> Vec<WaitingOn> {
    let mut reasons = Vec::new();
    if let Some(rollout) = state.rollout_in_progress() {
        reasons.extend(
            rollout
                .adopting
                .keys()
                .map(|id| WaitingOn::Adoption { replica: *id }),
        );
    }
    reasons.extend(canary_step(state, now));
    reasons.extend(restarting(state, now));
    let live = state.replicas.values().filter(|replica| replica.is_live());
    reasons.extend(
        live.filter(|replica| replica.version == version)
            .filter_map(|replica| why_not_available(state, replica, now)),
    );
    let no_room = state.rollout_in_progress().and_then(|r| r.no_room.as_ref());
    reasons.extend(no_room.map(|found| WaitingOn::Room {
        surge: found.surge,
        seen: found.seen.clone(),
    }));
    if let Some(version) = state.version(version)
        && let Some(instant) = version.backoff.not_before
        && instant > now
    {
        reasons.push(WaitingOn::Backoff {
            version: version.version,
            remaining_seconds: (instant - now).as_seconds(),
            failures: version.backoff.failures,
            last_failure: last_failure(state, version.version),
        });
    }
    reasons
}

/// Replicas that drain before they are restarted.
fn restarting(state: &ServiceState, now: Timestamp) -> Vec<WaitingOn> {
    let live = state.replicas.values().filter(|replica| replica.is_live());
    let drains = live.filter_map(|replica| {
        let restart = replica.restart.filter(|restart| !restart.asked)?;
        Some(WaitingOn::Restarting {
            replica: replica.id,
            in_flight: state.live.in_flight.get(&replica.id).copied().unwrap_or(0),
            remaining_seconds: (restart.drain_deadline - now).as_seconds().max(0.0),
        })
    });
    drains.collect()
}

/// The step of a canary that is in force.
fn canary_step(state: &ServiceState, now: Timestamp) -> Option<WaitingOn> {
    state.rollout_in_progress()?;
    let (progress, step, steps) = canary::current(state)?;
    let lasted = (now - progress.since?).as_seconds();
    Some(WaitingOn::CanaryStep {
        step: progress.step.saturating_add(1),
        steps,
        weight_percent: step.weight_percent,
        remaining_seconds: match step.until {
            StepEnd::Seconds(seconds) => Some((seconds - lasted).max(0.0)),
            StepEnd::Promoted => None,
        },
        doubt: progress.doubt.clone(),
    })
}

/// Why the newest replica of a version that failed did so.
fn last_failure(state: &ServiceState, version: Version) -> Option<String> {
    let replicas = state.replicas.values().rev();
    let mut failed = replicas.filter(|r| r.version == version && r.status.is_failed());
    failed.next()?.reason.clone()
}

fn why_not_available(state: &ServiceState, replica: &Replica, now: Timestamp) -> Option<WaitingOn> {
    let version = state.version(replica.version)?;
    let (id, since) = (replica.id, |instant: Option<Timestamp>| {
        instant.map_or(0.0, |instant| (now - instant).as_seconds())
    });
    match replica.status {
        ReplicaStatus::Pending => Some(WaitingOn::Pending { replica: id }),
        ReplicaStatus::Provisioning => Some(WaitingOn::Provisioning {
            replica: id,
            detail: replica.detail.clone(),
            elapsed_seconds: since(replica.launched_at),
        }),
        ReplicaStatus::Starting if replica.verification == Verification::Running => {
            let verify = version.settings.verify.as_ref();
            Some(WaitingOn::Verifying {
                replica: id,
                limit_seconds: verify.map_or(0.0, |verify| verify.timeout_seconds),
            })
        }
        ReplicaStatus::Starting => Some(WaitingOn::Starting {
            replica: id,
            elapsed_seconds: since(replica.app_started_at),
            limit_seconds: version.spec.readiness_probe.initial_delay_seconds,
            last_probe_failure: replica.last_probe_failure.clone(),
        }),
        ReplicaStatus::NotReady => Some(WaitingOn::NotReady {
            replica: id,
            last_probe_failure: replica.last_probe_failure.clone(),
        }),
        ReplicaStatus::Ready if !state.is_available(replica, now) => Some(WaitingOn::Settling {
            replica: id,
            elapsed_seconds: since(replica.ready_since),
            limit_seconds: version.settings.min_healthy_seconds,
        }),
        _ => None,
    }
}

/// What a replica on its way out waits for.
#[must_use]
pub fn ending_waits_on(
    state: &ServiceState,
    replica: &Replica,
    now: Timestamp,
) -> Option<WaitingOn> {
    let ending = replica.ending.as_ref().filter(|ending| !ending.released)?;
    if ending.terminate_asked {
        return Some(WaitingOn::Stopping {
            replica: replica.id,
        });
    }
    match replica.routed {
        Routed::LeftIn(generation)
            if state.live.acknowledged.min(state.live.counted_at) < generation =>
        {
            Some(WaitingOn::ProxyAcknowledgement { generation })
        }
        Routed::LeftIn(_) => Some(WaitingOn::Draining {
            replica: replica.id,
            in_flight: state.live.in_flight.get(&replica.id).copied().unwrap_or(0),
            remaining_seconds: (ending.drain_deadline - now).as_seconds().max(0.0),
        }),
        Routed::Never | Routed::InTable => Some(WaitingOn::Stopping {
            replica: replica.id,
        }),
    }
}
