//! When a version has failed, and what follows. Never worse: nothing that serves is taken down for
//! it.

use super::converge::{count, end_replica, floor};
use super::{Outcome, UpdateMode};
use crate::Replica;
use crate::context::Context;
use crate::happening::HappeningKind;
use crate::routing::{ReplicaId, Version};
use crate::state::{ServiceState, VersionFailure};
use crate::time::{Span, Timestamp};

/// After its first available replica a rollout bears this share of its target failing, at least
/// one.
const LATE_FAILURES_SHARE: u32 = 4;

/// A replica has failed by the fault of its version.
pub(crate) fn own_fault(context: &mut Context, id: ReplicaId) {
    let (now, seed) = (context.now, context.state.incarnation.clone());
    let Some(replica) = context.state.replicas.get(&id) else {
        return;
    };
    let (number, was_available) = (replica.version, replica.first_available_at.is_some());
    let why = replica
        .reason
        .clone()
        .unwrap_or_else(|| replica.status.to_string());
    let reason = format!("replica {id}: {why}");
    let lived = replica.lived_seconds(now);
    let Some(version) = context.version_mut(number) else {
        return;
    };
    version.backoff.fail(now, lived, &seed);
    let proven = version.ever_ready;
    // Nothing is judged while the update stands still; what is wrong shows again once it goes on.
    let is_paused = context
        .state
        .rollout_in_progress()
        .is_some_and(|rollout| rollout.paused_at.is_some());
    if is_paused {
        return;
    }
    // What is trusted is launched again after a while, even when an update only changed its number.
    if number != context.state.desired || context.state.trusted == Some(number) {
        return;
    }
    let target = context.state.target();
    let given_up = match &mut context.state.rollout {
        Some(rollout) if rollout.is_in_progress() && rollout.version == number => {
            let early = rollout.most_available == 0 && !was_available;
            if !early {
                rollout.late_failures = rollout.late_failures.saturating_add(1);
            }
            early || rollout.late_failures > (target / LATE_FAILURES_SHARE).max(1)
        }
        // No rollout: a version that never worked is given up; one that did is launched again.
        _ => !proven,
    };
    if given_up {
        fail_version(context, number, reason, Some(id));
    }
}

/// When the update in progress has failed unless it gets further. `None` while it waits for a person, or tries its canary.
pub(crate) fn deadline(state: &ServiceState) -> Option<Timestamp> {
    let rollout = state.rollout_in_progress()?;
    let canary = rollout.canary.as_ref();
    let is_tried = canary.is_some_and(|canary| canary.since.is_some());
    if rollout.paused_at.is_some() || is_tried {
        return None;
    }
    let awake_since = state.awake.since.unwrap_or(rollout.progress_at);
    let settings = &state.version(rollout.version)?.settings;
    let limit = Span::from_seconds(settings.progress_deadline_seconds);
    Some(rollout.progress_at.max(awake_since) + limit)
}

/// An update that gets no further has failed.
pub(crate) fn progress_deadline(context: &mut Context) {
    let Some(deadline) = deadline(&context.state) else {
        return;
    };
    if context.now < deadline || bug!(WaitsForEver) {
        return;
    }
    let Some(rollout) = context.state.rollout_in_progress() else {
        return;
    };
    let number = rollout.version;
    let Some(version) = context.state.version(number) else {
        return;
    };
    let limit = version.settings.progress_deadline_seconds;
    let last = context
        .state
        .replicas
        .values()
        .rev()
        .find(|replica| replica.version == number);
    let seen = last.and_then(|replica| replica.reason.clone().or_else(|| replica.detail.clone()));
    let seen = seen
        .map(|seen| format!("; last seen: {seen}"))
        .unwrap_or_default();
    let reason = format!("no progress for {limit}s{seen}");
    if context.state.trusted == Some(number) || stands_alone(context, number) {
        // Only the number of replicas could not be had: the version itself is good.
        trust(context, number);
        end_rollout(context, number, reason, Some(number), false);
    } else {
        fail_version(context, number, reason, None);
    }
}

/// Whether nothing but this version is left, and as much of it is available as the one before had to give.
fn stands_alone(context: &Context, number: Version) -> bool {
    let state = &context.state;
    let others = context.live_where(|replica| replica.version != number);
    let available = context.live_where(|replica| state.is_available(replica, context.now));
    others.is_empty()
        && !available.is_empty()
        && count(&available) >= floor(context, state.target())
}

/// Gives up the desired version and goes back to the trusted one, if there is one.
pub(super) fn fail_version(
    context: &mut Context,
    number: Version,
    reason: String,
    replica_id: Option<ReplicaId>,
) {
    let now = context.now;
    let good = context.state.trusted.filter(|trusted| *trusted != number);
    let Some(version) = context.version_mut(number) else {
        return;
    };
    if version.failure.is_some() {
        return;
    }
    let undoes = version.settings.auto_rollback;
    version.failure = Some(VersionFailure {
        at: now,
        reason: reason.clone(),
        replica_id,
    });
    let message = format!("version {number} has failed: {reason}");
    context.tell(
        HappeningKind::VersionFailed,
        replica_id,
        Some(number),
        message,
    );
    let is_updating = context
        .state
        .rollout_in_progress()
        .is_some_and(|rollout| rollout.version == number);
    let stays = !undoes && is_updating && good.is_some();
    let back_to = good.filter(|_| !stays && !bug!(NeverUndoes));
    end_rollout(context, number, reason, back_to, stays);
    if stays {
        drop_useless(context, number);
    } else if let Some(trusted) = back_to {
        give_back(context, number, trusted);
    }
}

/// Ends the rollout of a version as failed, if it is the last one.
fn end_rollout(
    context: &mut Context,
    number: Version,
    reason: String,
    back_to: Option<Version>,
    stays: bool,
) {
    let at = context.now;
    let rollout = context.state.rollout.as_mut();
    let Some(rollout) = rollout.filter(|rollout| rollout.version == number) else {
        return;
    };
    rollout.adopting.clear();
    rollout.outcome = Some(Outcome::Failed {
        at,
        reason,
        back_to,
        stays,
    });
    let next = match (back_to, stays) {
        (Some(version), _) => format!("version {version} serves on"),
        (None, true) => "it stays as it is".to_owned(),
        (None, false) => "there is no good version to go back to".to_owned(),
    };
    let message = format!("the update to version {number} has failed; {next}");
    context.tell(HappeningKind::RolloutFailed, None, Some(number), message);
}

/// From now on repairs use this version, and failures return to it.
pub(super) fn trust(context: &mut Context, number: Version) {
    let now = context.now;
    context.state.trusted = Some(number);
    if let Some(version) = context.version_mut(number) {
        version.trusted_at.get_or_insert(now);
        version.failure = None;
    }
}

/// Where the desired version has failed and none is trusted, an earlier one that serves after all
/// is what there is to go back to.
pub(super) fn fall_back(context: &mut Context) {
    let state = &context.state;
    let failed = state.desired;
    let given_up = |number| state.version(number).is_some_and(|v| v.failure.is_some());
    if state.trusted.is_some() || !given_up(failed) {
        return;
    }
    let replicas = state.replicas.values();
    let serving = replicas.filter(|replica| {
        replica.is_ready()
            && replica.version != failed
            && state.traffic.contains(&replica.version)
            && !given_up(replica.version)
    });
    let Some(good) = serving.map(|replica| replica.version).max() else {
        return;
    };
    if let Some(Outcome::Failed { back_to, .. }) = context
        .state
        .rollout
        .as_mut()
        .and_then(|rollout| rollout.outcome.as_mut())
    {
        *back_to = Some(good);
    }
    give_back(context, failed, good);
}

/// The trusted version is desired again, and takes back what another one had got of it.
pub(super) fn give_back(context: &mut Context, failed: Version, trusted: Version) {
    trust(context, trusted);
    context.state.desired = trusted;
    if let Some(policy) = context
        .state
        .version(trusted)
        .map(|v| v.spec.replica_policy.clone())
    {
        context.state.autoscaler.adopt(&policy);
    }
    // Replicas that are what the trusted version asks for belong to it, whatever number they had
    // taken.
    let hash = |number| context.state.version(number).map(|v| &v.task_hash);
    if hash(failed) == hash(trusted) {
        for replica in context.state.replicas.values_mut() {
            if replica.is_live() && replica.version == failed {
                replica.version = trusted;
            }
        }
    }
    drop_useless(context, failed);
    let updates_whole =
        context.state.rollout.as_ref().is_some_and(|rollout| {
            rollout.version == failed && rollout.mode == UpdateMode::BlueGreen
        });
    if updates_whole && !context.state.traffic.contains(&trusted) {
        // Traffic has moved away from the trusted version: it moves back whole too, not before
        // enough of it are there, unless nobody serves meanwhile.
        let traffic = &context.state.traffic;
        let serving =
            context.live_where(|replica| replica.is_ready() && traffic.contains(&replica.version));
        if !serving.is_empty() {
            return;
        }
        context.state.traffic.clear();
    }
    context.state.traffic.insert(trusted);
}

/// Replicas of a version that is given up: those that serve nobody end at once; those that do stay
/// until they are replaced.
pub(super) fn drop_useless(context: &mut Context, failed: Version) {
    if bug!(KeepsTheUseless) {
        return;
    }
    let had_traffic = context.state.traffic.contains(&failed);
    let serves = |replica: &Replica| had_traffic && replica.is_ready();
    let useless = context.live_where(|replica| replica.version == failed && !serves(replica));
    for id in useless {
        end_replica(context, id, &format!("version {failed} is given up"));
    }
}
