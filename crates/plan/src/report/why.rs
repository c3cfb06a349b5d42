//! `sky serve why`: in one sentence, what a service or one of its replicas waits for or why it failed, with what is
//! known beside it. The sentences are those of `sky serve status`.

use serde::{Deserialize, Serialize};

use super::waiting_on::why_not_available;
use super::{
    WaitingOn, ending_waits_on, ready, rollout_sentence, service_message, service_status,
    waiting_on,
};
use crate::observation::Exit;
use crate::replica::Replica;
use crate::rollout::{self, Outcome, Rollout};
use crate::routing::{ReplicaId, Version};
use crate::state::{ServicePhase, ServiceState};
use crate::status::ReplicaStatus;
use crate::time::{Span, Timestamp};

/// Why something is as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// One sentence.
    pub sentence: String,
    /// What else is worth saying: failed replicas, and what goes on beside an update.
    pub also: Vec<String>,
    /// The version that is waited for, or that failed.
    pub version: Version,
    /// The replica that is waited for, or that showed the failure; its log may say more.
    pub replica: Option<ReplicaId>,
    /// What is being waited for, most telling first.
    pub waiting_on: Vec<WaitingOn>,
    /// What will happen if it does not come, soonest first.
    pub deadlines: Vec<Deadline>,
    /// What the last probe of that replica saw, if it failed.
    pub last_probe_failure: Option<String>,
    /// How `setup` or `run` of that replica ended, if it failed.
    pub exit: Option<Exit>,
}

/// An end of somebody's patience.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deadline {
    /// What happens then: `replica 4 fails unless it answers its readiness probe`.
    pub what: String,
    /// When.
    pub at: Timestamp,
    /// Seconds until then, at least 0.
    pub remaining_seconds: f64,
}

/// Why a service is as it is at `now`.
#[must_use]
pub fn why(state: &ServiceState, now: Timestamp) -> Why {
    let told = state
        .rollout
        .as_ref()
        .filter(|rollout| is_told(state, rollout));
    let update = told.map(|rollout| rollout_sentence(state, rollout, now));
    let running = state.phase == ServicePhase::Running;
    let mut sentences: Vec<String> = update
        .into_iter()
        .chain(service_message(state, now))
        .collect();
    if !running {
        // Its end is what matters then.
        sentences.reverse();
    }
    sentences.extend(state.replicas.values().filter_map(failure_sentence));
    let mut sentences = sentences.into_iter();
    let sentence = match sentences.next() {
        Some(sentence) => sentence,
        None => as_it_should_be(state),
    };
    let version = told.map_or(state.desired, |rollout| rollout.version);
    let waiting_on = waits(state, version, now);
    let failure = state
        .version(version)
        .and_then(|known| known.failure.as_ref());
    let waited_for = waiting_on.iter().find_map(WaitingOn::replica);
    let replica = failure.map_or(waited_for, |failure| failure.replica_id);
    let replica = replica.or_else(|| last_failed(state, version).map(|replica| replica.id));
    let known = replica.and_then(|id| state.replicas.get(&id));
    Why {
        sentence,
        also: sentences.collect(),
        version,
        replica,
        deadlines: deadlines(
            state,
            waited_for.and_then(|id| state.replicas.get(&id)),
            now,
        ),
        last_probe_failure: known.and_then(|replica| replica.last_probe_failure.clone()),
        exit: known.and_then(|replica| replica.exit.clone()),
        waiting_on,
    }
}

/// Why a replica is as it is at `now`; `None` where there is no such replica.
#[must_use]
pub fn why_replica(state: &ServiceState, id: ReplicaId, now: Timestamp) -> Option<Why> {
    let replica = state.replicas.get(&id)?;
    let wait =
        ending_waits_on(state, replica, now).or_else(|| why_not_available(state, replica, now));
    let sentence = failure_sentence(replica).unwrap_or_else(|| {
        let status = replica.status;
        let because = replica.reason.clone().filter(|_| !replica.is_live());
        let waits = wait.as_ref().map(|wait| {
            let sentence = wait.sentence();
            let own = format!("replica {id}: ");
            sentence.strip_prefix(&own).unwrap_or(&sentence).to_owned()
        });
        let told: Vec<String> = because.into_iter().chain(waits).collect();
        if told.is_empty() {
            format!("Replica {id} is {status}{}", serving(state, replica))
        } else {
            format!("Replica {id} is {status}: {}", told.join("; "))
        }
    });
    Some(Why {
        sentence,
        also: Vec::new(),
        version: replica.version,
        replica: Some(id),
        waiting_on: wait.into_iter().collect(),
        deadlines: deadlines(state, Some(replica), now),
        last_probe_failure: replica.last_probe_failure.clone(),
        exit: replica.exit.clone(),
    })
}

/// `Replica 4 is FAILED: run exited with code 1`, of a replica that has failed or does not answer; the line that the
/// status has of it.
fn failure_sentence(replica: &Replica) -> Option<String> {
    let status = replica.status;
    let told =
        status.is_failed() || matches!(status, ReplicaStatus::NotReady | ReplicaStatus::Preempted);
    let reason = replica.reason.as_ref().filter(|_| told)?;
    Some(format!("Replica {} is {status}: {reason}", replica.id))
}

/// Whether an update is worth a line: one that goes on, that did not end well, or that can be undone at once.
#[must_use]
pub fn is_told(state: &ServiceState, rollout: &Rollout) -> bool {
    match rollout.outcome {
        None | Some(Outcome::Failed { .. } | Outcome::Aborted { .. }) => true,
        Some(Outcome::Succeeded { .. }) => state.warm.is_some(),
        Some(Outcome::Superseded { .. }) => false,
    }
}

fn as_it_should_be(state: &ServiceState) -> String {
    let (status, version) = (service_status(state), state.desired);
    let (ready, wanted) = (ready(state, version), state.target());
    if wanted == 0 {
        return format!("The service is {status}: no replica of version {version} is wanted now");
    }
    format!("The service is {status}: {ready} of {wanted} replicas of version {version} ready")
}

/// What a replica that waits for nothing does.
fn serving(state: &ServiceState, replica: &Replica) -> String {
    if replica.status != ReplicaStatus::Ready {
        return String::new();
    }
    if !state.traffic.contains(&replica.version) {
        return format!(": version {} has no traffic yet", replica.version);
    }
    let in_flight = state.live.in_flight.get(&replica.id).copied().unwrap_or(0);
    format!(": it serves, {in_flight} requests in flight")
}

fn waits(state: &ServiceState, version: Version, now: Timestamp) -> Vec<WaitingOn> {
    if state.phase == ServicePhase::Running {
        let failed = state
            .version(version)
            .is_some_and(|known| known.failure.is_some());
        let awaited = if failed { state.desired } else { version };
        return waiting_on(state, awaited, now);
    }
    let ending = |replica| ending_waits_on(state, replica, now);
    state.replicas.values().filter_map(ending).collect()
}

/// The newest failed replica of a version, as far as its record is kept; its log says why.
fn last_failed(state: &ServiceState, version: Version) -> Option<&Replica> {
    let failed = |replica: &&Replica| replica.version == version && replica.status.is_failed();
    state.replicas.values().rev().find(failed)
}

/// How long the replica that is waited for, and the update, still have. Soonest first.
fn deadlines(state: &ServiceState, replica: Option<&Replica>, now: Timestamp) -> Vec<Deadline> {
    let mut deadlines: Vec<Deadline> = replica
        .and_then(|replica| replica_deadline(state, replica))
        .into_iter()
        .chain(rollout_deadline(state))
        .map(|(what, at)| Deadline {
            what,
            at,
            remaining_seconds: (at - now).as_seconds().max(0.0),
        })
        .collect();
    deadlines.sort_by_key(|deadline| deadline.at);
    deadlines
}

fn replica_deadline(state: &ServiceState, replica: &Replica) -> Option<(String, Timestamp)> {
    let (id, version) = (replica.id, state.version(replica.version)?);
    let probe = &version.spec.readiness_probe;
    if let Some(ending) = replica.ending.as_ref().filter(|ending| !ending.released) {
        let what = format!("replica {id} is stopped, whatever is in flight");
        return (!ending.terminate_asked).then_some((what, ending.drain_deadline));
    }
    match replica.status {
        ReplicaStatus::Starting => {
            let what = format!("replica {id} fails unless it passes its readiness probe");
            let limit = Span::from_seconds(probe.initial_delay_seconds);
            Some((what, replica.app_started_at? + limit))
        }
        ReplicaStatus::NotReady => {
            let what = format!("replica {id} is given up unless it passes its readiness probe");
            let limit = probe
                .consecutive_failure_threshold_timeout
                .unwrap_or(spec::service::DEFAULT_CONSECUTIVE_FAILURE_SECONDS);
            Some((what, replica.failing_since? + Span::from_seconds(limit)))
        }
        _ => None,
    }
}

fn rollout_deadline(state: &ServiceState) -> Option<(String, Timestamp)> {
    let version = state.rollout_in_progress()?.version;
    let what = format!("the update to version {version} fails unless it gets further");
    Some((what, rollout::deadline(state)?))
}

#[cfg(test)]
mod tests;
