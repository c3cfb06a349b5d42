//! When a version has failed, and what follows. Never worse: nothing that serves is taken down for it.

use super::converge::end_replica;
use super::{Outcome, UpdateMode};
use crate::context::Context;
use crate::happening::HappeningKind;
use crate::routing::{ReplicaId, Version};
use crate::state::VersionFailure;

/// After its first available replica a rollout bears this share of its target failing, at least one.
const LATE_FAILURES_SHARE: u32 = 4;

/// A replica has failed by the fault of its version. `was_available`: it had been ready long enough to count.
pub(crate) fn own_fault(context: &mut Context, id: ReplicaId, was_available: bool) {
    let (now, seed) = (context.now, context.state.incarnation.clone());
    let Some(replica) = context.state.replicas.get(&id) else {
        return;
    };
    let (number, ever) = (replica.version, replica.first_ready_at.is_some());
    let why = replica
        .reason
        .clone()
        .unwrap_or_else(|| replica.status.to_string());
    let reason = format!("replica {id}: {why}");
    let lived = (now - replica.created_at).as_seconds();
    let Some(version) = context.version_mut(number) else {
        return;
    };
    version.backoff.fail(now, lived, &seed);
    let proven = version.ever_ready;
    if number != context.state.desired {
        return;
    }
    let target = context.state.target();
    let in_progress = match &mut context.state.rollout {
        Some(rollout) if rollout.is_in_progress() && rollout.version == number => {
            let early = rollout.most_available == 0 && !was_available;
            if !early {
                rollout.late_failures += 1;
            }
            Some(early || rollout.late_failures > (target / LATE_FAILURES_SHARE).max(1))
        }
        _ => None,
    };
    match in_progress {
        Some(true) => fail_version(context, number, reason, Some(id)),
        Some(false) => {}
        // No rollout: a version that never worked is given up; one that did is launched again after a while.
        None if !proven && !ever => fail_version(context, number, reason, Some(id)),
        None => {}
    }
}

/// An update that gets no further has failed.
pub(crate) fn progress_deadline(context: &mut Context) {
    let Some(rollout) = context.state.rollout_in_progress() else {
        return;
    };
    let (number, progress_at) = (rollout.version, rollout.progress_at);
    let Some(version) = context.state.version(number) else {
        return;
    };
    let limit = version.settings.progress_deadline_seconds;
    if (context.now - progress_at).as_seconds() < limit {
        return;
    }
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
    fail_version(
        context,
        number,
        format!("no progress for {limit}s{seen}"),
        None,
    );
}

/// Gives up the desired version and goes back to the trusted one, if there is one.
pub(super) fn fail_version(
    context: &mut Context,
    number: Version,
    reason: String,
    replica_id: Option<ReplicaId>,
) {
    let now = context.now;
    let back_to = context.state.trusted.filter(|trusted| *trusted != number);
    if let Some(version) = context.version_mut(number) {
        version.failure = Some(VersionFailure {
            at: now,
            reason: reason.clone(),
            replica_id,
        });
    }
    let message = format!("version {number} has failed: {reason}");
    context.tell(
        HappeningKind::VersionFailed,
        replica_id,
        Some(number),
        message,
    );
    if let Some(rollout) = &mut context.state.rollout
        && rollout.version == number
    {
        rollout.adopting.clear();
        rollout.outcome = Some(Outcome::Failed {
            at: now,
            reason,
            back_to,
        });
        let next = back_to.map_or(
            "there is no good version to go back to".to_owned(),
            |version| format!("version {version} is desired again"),
        );
        let message = format!("the update to version {number} has failed; {next}");
        context.tell(HappeningKind::RolloutFailed, None, Some(number), message);
    }
    if let Some(trusted) = back_to {
        go_back(context, number, trusted);
    }
}

fn go_back(context: &mut Context, failed: Version, trusted: Version) {
    let had_traffic = context.state.traffic.contains(&failed);
    context.state.desired = trusted;
    // A blue-green update whose traffic has moved is undone in one move too: not before enough are there.
    let moves_whole =
        context.state.rollout.as_ref().is_some_and(|rollout| {
            rollout.version == failed && rollout.mode == UpdateMode::BlueGreen
        });
    if !(moves_whole && had_traffic) {
        context.state.traffic.insert(trusted);
    }
    if let Some(policy) = context
        .state
        .version(trusted)
        .map(|v| v.spec.replica_policy.clone())
    {
        context.state.autoscaler.adopt(&policy);
    }
    // Replicas that are what the trusted version asks for belong to it, whatever number they had taken.
    let hash = context
        .state
        .version(trusted)
        .map(|version| version.task_hash.clone());
    let same: Vec<ReplicaId> = context.live_where(|replica| {
        let version = context.state.version(replica.version);
        replica.version == failed && version.map(|version| &version.task_hash) == hash.as_ref()
    });
    for id in same {
        if let Some(replica) = context.state.replicas.get_mut(&id) {
            replica.version = trusted;
        }
    }
    // Those that serve nobody end at once; those that do stay until they are replaced.
    let useless = context
        .live_where(|replica| replica.version == failed && !(had_traffic && replica.is_ready()));
    for id in useless {
        end_replica(context, id, &format!("version {failed} has failed"));
    }
}
