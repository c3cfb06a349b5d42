//! Why things are as they are, as data and in one sentence. `sky serve status` prints the sentence;
//! JSON carries the data. Everything here is a pure view of the state.

mod waiting;
mod why;

use spec::StepEnd;

use crate::replica::{Replica, Routed};
use crate::rollout::{Outcome, Rollout, canary};
use crate::routing::Version;
use crate::state::{ServicePhase, ServiceState};
use crate::status::{ReplicaStatus, ServiceStatus};
use crate::time::Timestamp;
use crate::verify::Verification;

pub use waiting::WaitingOn;
pub use why::{Deadline, Why, is_told, why, why_replica};

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
