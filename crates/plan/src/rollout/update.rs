//! A new version is accepted: what it reuses, what it supersedes, and where it starts.

use std::collections::BTreeMap;

use super::converge::{count, end_replica};
use super::failure::{fail_version, trust};
use super::{Outcome, Rollout, UpdateMode};
use crate::context::Context;
use crate::happening::HappeningKind;
use crate::probe;
use crate::routing::{ReplicaId, Version};
use crate::state::{ServicePhase, VersionState};
use crate::status::ReplicaStatus;

/// Failed probes in a row after which a running replica is held not to pass a new version's
/// readiness probe.
const ADOPTION_ATTEMPTS: u32 = 5;

pub(crate) fn update(context: &mut Context, version: &VersionState) {
    let number = version.version;
    if number <= context.state.newest() || context.state.phase != ServicePhase::Running {
        return;
    }
    let message = format!("version {number} is accepted ({})", version.mode.as_str());
    context.tell(HappeningKind::VersionAccepted, None, Some(number), message);
    trust_what_serves(context);
    let from = context.state.trusted.or(Some(context.state.desired));
    let superseded = supersede(context, number);
    context.state.versions.insert(number, version.clone());
    context.state.desired = number;
    context.state.autoscaler.adopt(&version.spec.replica_policy);
    let adopting = reuse(context, version);
    if let Some(old) = superseded {
        drop_superseded(context, old);
    }
    // What stood by is either taken over by now, or not needed any more.
    context.state.warm = None;
    context.state.rollout = Some(Rollout {
        adopting,
        ..Rollout::new(number, version.mode, from, context.now)
    });
    if matches!(version.mode, UpdateMode::Rolling | UpdateMode::InPlace) {
        context.state.traffic.insert(number);
    }
}

/// A first version that serves is worth going back to, even if it never was complete.
fn trust_what_serves(context: &mut Context) {
    let desired = context.state.desired;
    let serves = context
        .state
        .replicas
        .values()
        .any(|replica| replica.version == desired && replica.is_ready());
    if context.state.trusted.is_none() && serves {
        trust(context, desired);
    }
}

/// Ends the rollout in progress, if any, and names the version it was to bring.
pub(super) fn supersede(context: &mut Context, by: Version) -> Option<Version> {
    let at = context.now;
    let rollout = context
        .state
        .rollout
        .as_mut()
        .filter(|rollout| rollout.is_in_progress())?;
    let old = rollout.version;
    rollout.outcome = Some(Outcome::Superseded { at, by });
    let message = format!("the update to version {old} gives way to version {by}");
    context.tell(HappeningKind::RolloutSuperseded, None, Some(old), message);
    Some(old)
}

/// Launches of the superseded version are cancelled; what serves stays until it is replaced.
pub(super) fn drop_superseded(context: &mut Context, old: Version) {
    if context.state.trusted == Some(old) {
        return;
    }
    let (now, state) = (context.now, &context.state);
    let was_canary = state
        .rollout
        .as_ref()
        .is_some_and(|rollout| rollout.canary.is_some());
    let good = context.live_where(|replica| {
        state.trusted == Some(replica.version) && state.is_available(replica, now)
    });
    // The good version still has all that is wanted, so that nobody needs what was only tried.
    let is_idle = was_canary && count(&good) >= state.target();
    let had_traffic = state.traffic.contains(&old) && !is_idle;
    let useless = context
        .live_where(|replica| replica.version == old && !(had_traffic && replica.is_ready()));
    for id in useless {
        end_replica(context, id, &format!("version {old} is superseded"));
    }
}

/// Gives running replicas that already are what the version asks for its number. Those that serve
/// while the readiness probe changes keep their old number until they have passed the new probe
/// once: a wrong probe must not take a healthy service down.
pub(super) fn reuse(context: &mut Context, version: &VersionState) -> BTreeMap<ReplicaId, u32> {
    let number = version.version;
    let same = context.live_where(|replica| {
        let old = context.state.version(replica.version);
        old.is_some_and(|old| old.task_hash == version.task_hash)
    });
    let (mut adopting, mut reused) = (BTreeMap::new(), Vec::new());
    for id in same {
        let Some(replica) = context.state.replicas.get(&id) else {
            continue;
        };
        let (old, ready) = (replica.version, replica.is_ready());
        let same_probe = context
            .state
            .version(old)
            .is_some_and(|old| asks_alike(old, version));
        let serves = ready && context.state.traffic.contains(&old);
        if serves && !same_probe {
            adopting.insert(id, 0);
        } else {
            take_number(context, id, number);
            if ready && !same_probe {
                ask_anew(context, id);
            }
            reused.push(id.to_string());
        }
    }
    let trusted = context
        .state
        .trusted
        .and_then(|trusted| context.state.version(trusted));
    let known = |old: &VersionState| old.task_hash == version.task_hash && asks_alike(old, version);
    if adopting.is_empty() && trusted.is_some_and(known) {
        trust(context, number);
        if let Some(version) = context.version_mut(number) {
            version.ever_ready = true;
        }
    }
    if !reused.is_empty() {
        let message = format!(
            "replicas {} already are what it asks for",
            reused.join(", ")
        );
        context.tell(HappeningKind::ReplicasReused, None, Some(number), message);
    }
    adopting
}

/// Nobody knows yet whether it passes the probe of its new version.
fn ask_anew(context: &mut Context, id: ReplicaId) {
    let why = "has not passed the new readiness probe yet";
    context.set_status(id, ReplicaStatus::NotReady, Some(why));
    if let Some(replica) = context.state.replicas.get_mut(&id) {
        replica.first_available_at = None;
    }
}

/// Whether both versions ask their replicas the same question.
fn asks_alike(old: &VersionState, new: &VersionState) -> bool {
    let (old, new) = (&old.spec.readiness_probe, &new.spec.readiness_probe);
    old.path == new.path && old.post_data == new.post_data && old.headers == new.headers
}

fn take_number(context: &mut Context, id: ReplicaId, number: Version) {
    let Some(replica) = context.state.replicas.get_mut(&id) else {
        return;
    };
    let (old, ready) = (replica.version, replica.is_ready());
    replica.version = number;
    if ready {
        if let Some(version) = context.version_mut(number) {
            version.ever_ready = true;
        }
        if context.state.traffic.contains(&old) {
            context.state.traffic.insert(number);
        }
    }
}

/// A running replica was asked the readiness probe of the version that wants to adopt it.
pub(crate) fn adoption_probed(
    context: &mut Context,
    id: ReplicaId,
    number: Version,
    failure: Option<&str>,
) {
    let now = context.now;
    let Some(rollout) = &mut context.state.rollout else {
        return;
    };
    if !rollout.is_in_progress() || rollout.version != number {
        return;
    }
    let Some(failures) = rollout.adopting.get_mut(&id) else {
        return;
    };
    let Some(failure) = failure else {
        rollout.adopting.remove(&id);
        rollout.progress_at = now;
        take_number(context, id, number);
        let message = format!("replica {id} already is what it asks for");
        context.tell(
            HappeningKind::ReplicasReused,
            Some(id),
            Some(number),
            message,
        );
        return;
    };
    *failures = failures.saturating_add(1);
    if *failures < ADOPTION_ATTEMPTS {
        return;
    }
    let probe = context
        .state
        .version(number)
        .map(|v| probe::sentence(&v.spec.readiness_probe));
    let probe = probe.unwrap_or_default();
    let reason = format!("replica {id}, which is running, does not pass {probe}: {failure}");
    fail_version(context, number, reason, Some(id));
}
