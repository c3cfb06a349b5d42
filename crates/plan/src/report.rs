//! Why things are as they are, as data and in one sentence. `sky serve status` prints the sentence;
//! JSON carries the data. Everything here is a pure view of the state.

use serde::{Deserialize, Serialize};
use spec::StepEnd;

use crate::replica::{Replica, Routed};
use crate::rollout::{NoRoom, Outcome, Rollout, canary};
use crate::routing::{Generation, ReplicaId, Version};
use crate::state::{ServicePhase, ServiceState};
use crate::status::{ReplicaStatus, ServiceStatus};
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

/// The service's status.
#[must_use]
pub fn service_status(state: &ServiceState) -> ServiceStatus {
    let cleanup = |replica: &Replica| replica.status == ReplicaStatus::FailedCleanup;
    match state.phase {
        ServicePhase::ShuttingDown { .. } if state.replicas.values().any(cleanup) => {
            ServiceStatus::FailedCleanup
        }
        ServicePhase::ShuttingDown { .. } | ServicePhase::Withdrawing | ServicePhase::Gone => {
            ServiceStatus::ShuttingDown
        }
        ServicePhase::Running if state.table.is_none() => ServiceStatus::ControllerInit,
        ServicePhase::Running => {
            let statuses = state.replicas.values().map(|replica| replica.status);
            match ServiceStatus::from_replicas(statuses) {
                // A version that has no traffic yet may be ready while the one that has it is not.
                ServiceStatus::Ready if state.active_versions().is_empty() => {
                    ServiceStatus::ReplicaInit
                }
                status => status,
            }
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

/// Replicas of a version that are available.
#[must_use]
pub fn available(state: &ServiceState, version: Version, now: Timestamp) -> u32 {
    let replicas = state.replicas.values();
    let there = replicas
        .filter(|r| r.version == version && state.is_available(r, now))
        .count();
    u32::try_from(there).unwrap_or(u32::MAX)
}

/// The line under the service table: what an update is doing and why it waits, or how it failed.
#[must_use]
pub fn rollout_sentence(state: &ServiceState, rollout: &Rollout, now: Timestamp) -> String {
    let (version, mode) = (rollout.version, rollout.mode.as_str());
    let is_back = state.newest() > version;
    match &rollout.outcome {
        None if rollout.paused_at.is_some() => {
            let (ready, wanted) = (ready(state, version), state.target());
            let name = &state.name;
            format!(
                "Update to version {version} ({mode}) is paused: {ready} of {wanted} new replicas ready; `sky serve resume \
                 {name}` goes on, `sky serve abort {name}` goes back"
            )
        }
        None => {
            let (ready, wanted) = (ready(state, version), wanted_new(state));
            let waits = waiting_on(state, version, now);
            let is_room = |wait: &&WaitingOn| matches!(wait, WaitingOn::Room { .. });
            let first = waits.iter().find(|wait| !is_room(wait)).cloned();
            let next = first.or_else(|| leaving(state, version, now)).map_or_else(
                || "waiting for old replicas to leave".to_owned(),
                |first| format!("waiting for {}", first.sentence()),
            );
            let room = waits.iter().find(is_room);
            let room = room.map_or_else(String::new, |room| format!("; {}", room.sentence()));
            let done = format!("{ready} of {wanted} new replicas ready");
            let verb = if is_back { "Going back" } else { "Updating" };
            format!("{verb} to version {version} ({mode}): {done}, {next}{room}")
        }
        Some(Outcome::Succeeded { .. }) => {
            let verb = if is_back { "Back" } else { "Updated" };
            format!(
                "{verb} to version {version} ({mode}){}",
                warm_clause(state, now)
            )
        }
        Some(Outcome::Aborted { back_to, .. }) => {
            format!(
                "Update to version {version} ({mode}) was aborted; version {back_to} goes on serving"
            )
        }
        Some(Outcome::Failed {
            reason,
            back_to,
            stays,
            ..
        }) => {
            let next = match (back_to, stays) {
                (Some(version), _) => format!("version {version} goes on serving"),
                (None, true) => stopped_sentence(state),
                (None, false) => "there was no good version to go back to".to_owned(),
            };
            format!("Update to version {version} ({mode}) failed: {reason}; {next}")
        }
        Some(Outcome::Superseded { by, .. }) => {
            format!("Update to version {version} ({mode}) was superseded by version {by}")
        }
    }
}

/// New replicas that are wanted for now.
fn wanted_new(state: &ServiceState) -> u32 {
    let target = state.target();
    canary::current(state).map_or(target, |(_, step, _)| canary::wanted(step, target))
}

/// What an old replica on its way out waits for.
fn leaving(state: &ServiceState, version: Version, now: Timestamp) -> Option<WaitingOn> {
    let replicas = state.replicas.values();
    let mut old = replicas.filter(|replica| replica.version != version);
    old.find_map(|replica| ending_waits_on(state, replica, now))
}

/// What holds after an update that failed and is not undone by itself.
fn stopped_sentence(state: &ServiceState) -> String {
    let serves = state
        .trusted
        .map(|trusted| format!("version {trusted} is looked after; "));
    format!(
        "it stays as it is (auto_rollback: false): {}`sky serve abort {name}` goes back, `sky serve update {name}` \
         replaces it",
        serves.unwrap_or_default(),
        name = state.name
    )
}

/// How to go back at once, as long as that can be done.
fn warm_clause(state: &ServiceState, now: Timestamp) -> String {
    state.warm.map_or_else(String::new, |warm| {
        format!(
            "; version {} stands by for {}s more, `sky serve rollback {}` moves all traffic back at once",
            warm.version,
            (warm.until - now).as_seconds().max(0.0).ceil(),
            state.name
        )
    })
}

/// What is worth saying of a service beside its rollout.
#[must_use]
pub fn service_message(state: &ServiceState, now: Timestamp) -> Option<String> {
    if let Some(reason) = &state.endpoint_error {
        return Some(format!("The endpoint cannot be had: {reason}"));
    }
    if state.phase != ServicePhase::Running {
        let waits = state
            .replicas
            .values()
            .find_map(|r| ending_waits_on(state, r, now));
        return waits.map(|wait| format!("Shutting down: waiting for {}", wait.sentence()));
    }
    if state.rollout_in_progress().is_some() {
        return None;
    }
    let desired = state.version(state.desired)?;
    let told = state
        .rollout
        .as_ref()
        .is_some_and(|rollout| rollout.version == desired.version && !rollout.is_in_progress());
    if let Some(failure) = &desired.failure {
        if told {
            return None;
        }
        return Some(format!(
            "Version {} failed: {}",
            desired.version, failure.reason
        ));
    }
    let (ready, wanted) = (ready(state, desired.version), state.target());
    let waits = waiting_on(state, desired.version, now)
        .into_iter()
        .find(|wait| !matches!(wait, WaitingOn::Settling { .. }));
    let wait = waits.filter(|_| ready < wanted)?;
    Some(format!(
        "{ready} of {wanted} replicas ready, waiting for {}",
        wait.sentence()
    ))
}

fn ready(state: &ServiceState, version: Version) -> u32 {
    let replicas = state.replicas.values();
    let there = replicas
        .filter(|replica| replica.version == version && replica.is_ready())
        .count();
    u32::try_from(there).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
