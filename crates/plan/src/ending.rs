//! How a replica ends. Promise 1, route before stop: it is asked to stop only after the proxy has
//! acknowledged a routing table without it *and* counted no request in flight on it since, or its
//! drain deadline has passed.
//!
//! A replica whose processes are gone has nothing to drain and is cleaned up at once. An end that
//! fails is tried again a few times; then the replica is FAILED_CLEANUP, for the user to look at.

use crate::action::Action;
use crate::backoff;
use crate::context::Context;
use crate::happening::HappeningKind;
use crate::replica::{Ending, Replica, Routed};
use crate::rollout::Outcome;
use crate::routing::ReplicaId;
use crate::settings::TERMINATION_GRACE_SECONDS;
use crate::state::{Live, ServicePhase};
use crate::status::ReplicaStatus;
use crate::time::{Span, Timestamp};
use spec::update::DEFAULT_DRAIN_TIMEOUT_SECONDS;

/// How long after its drain deadline a replica waits for the proxy to say that nothing new reaches
/// it.
pub(crate) const PROXY_PATIENCE_SECONDS: f64 = 10.0;
/// Attempts to end a replica before it is given up.
pub(crate) const TERMINATION_ATTEMPTS: u32 = 3;
/// Records of failed replicas kept for the user, over all versions.
pub(crate) const FAILED_RECORDS_KEPT: usize = 10;
/// Versions kept behind the newest one, so that they can be returned to.
pub(crate) const VERSIONS_KEPT: u32 = 10;

/// Starts the end of a replica that may still be answering requests.
pub(crate) fn begin_draining(context: &mut Context, id: ReplicaId) {
    let now = context.now;
    let Some(replica) = context.state.replicas.get(&id) else {
        return;
    };
    let settings = context
        .state
        .version(replica.version)
        .map(|version| &version.settings);
    let drain = settings.map_or(DEFAULT_DRAIN_TIMEOUT_SECONDS, |settings| {
        settings.drain_timeout_seconds
    });
    begin(context, id, now + Span::from_seconds(drain));
}

/// Starts the end of a replica that answers nobody any more.
pub(crate) fn begin_now(context: &mut Context, id: ReplicaId) {
    begin(context, id, context.now);
}

fn begin(context: &mut Context, id: ReplicaId, drain_deadline: Timestamp) {
    let now = context.now;
    if let Some(rollout) = &mut context.state.rollout {
        rollout.adopting.remove(&id);
    }
    let Some(replica) = context.state.replicas.get_mut(&id) else {
        return;
    };
    replica.restart = replica.restart.filter(|restart| restart.asked);
    if replica.ending.is_none() {
        replica.ending = Some(Ending {
            since: now,
            drain_deadline,
            terminate_asked: false,
            attempts: 0,
            retry_at: None,
            released: false,
            purge: false,
        });
    }
}

/// Notes that nobody is left to answer the requests that a replica's end waits for.
pub(crate) fn nothing_to_drain(context: &mut Context, id: ReplicaId) {
    let now = context.now;
    let replica = context.state.replicas.get_mut(&id);
    if let Some(ending) = replica.and_then(|replica| replica.ending.as_mut()) {
        ending.drain_deadline = ending.drain_deadline.min(now);
    }
}

/// Notes that nothing of a replica is there.
pub(crate) fn released(context: &mut Context, id: ReplicaId) {
    begin_now(context, id);
    if let Some(ending) = context
        .state
        .replicas
        .get_mut(&id)
        .and_then(|r| r.ending.as_mut())
    {
        ending.terminate_asked = true;
        ending.released = true;
    }
}

/// The user is in a hurry, or does not care for what may be left behind.
pub(crate) fn hurry(context: &mut Context, id: ReplicaId, immediately: bool, purge: bool) {
    let now = context.now;
    let Some(replica) = context.state.replicas.get_mut(&id) else {
        return;
    };
    let failed_cleanup = replica.status == ReplicaStatus::FailedCleanup;
    let Some(ending) = &mut replica.ending else {
        return;
    };
    if immediately {
        ending.drain_deadline = ending.drain_deadline.min(now);
    }
    ending.purge |= purge;
    if failed_cleanup && !ending.released {
        // One more round of attempts.
        ending.terminate_asked = false;
        ending.attempts = 0;
        ending.retry_at = None;
    }
    if purge && ending.released {
        forget(context, id);
    }
}

/// Asks for the end of every replica that no request can reach any more, and moves the service's
/// own end on.
pub(crate) fn advance(context: &mut Context) {
    let now = context.now;
    let awake_since = context.state.awake.since.unwrap_or(now);
    let due: Vec<ReplicaId> = context
        .state
        .replicas
        .values()
        .filter(|replica| may_stop(replica, &context.state.live, awake_since, now))
        .map(|replica| replica.id)
        .collect();
    for id in due {
        if let Some(ending) = context
            .state
            .replicas
            .get_mut(&id)
            .and_then(|r| r.ending.as_mut())
        {
            ending.terminate_asked = true;
        }
        context.actions.push(Action::Terminate {
            replica: id,
            grace_seconds: TERMINATION_GRACE_SECONDS,
        });
    }
    let over = context.state.replicas.values().all(|replica| {
        replica
            .ending
            .as_ref()
            .is_some_and(|ending| ending.released)
    });
    if over && matches!(context.state.phase, ServicePhase::ShuttingDown { .. }) {
        context.state.phase = ServicePhase::Withdrawing;
        context.actions.push(Action::Withdraw);
    }
}

/// Promise 1 in one place.
fn may_stop(replica: &Replica, live: &Live, awake_since: Timestamp, now: Timestamp) -> bool {
    let Some(ending) = &replica.ending else {
        return false;
    };
    if ending.terminate_asked || ending.retry_at.is_some_and(|instant| now < instant) {
        return false;
    }
    let (left, drained) = match replica.routed {
        Routed::Never => (true, true),
        Routed::InTable => (false, false),
        Routed::LeftIn(generation) => {
            let counted = live.counted_at >= generation || bug!(StopsUnacknowledged);
            let idle = counted && !live.in_flight.contains_key(&replica.id);
            (
                live.acknowledged >= generation || bug!(StopsUnacknowledged),
                idle,
            )
        }
    };
    // Even in a hurry: what still reaches it would fail. Only a proxy that does not answer is not
    // waited for. While the server was down nobody could hear it answer.
    let unheard_since = ending.drain_deadline.max(awake_since);
    let unanswered = unheard_since + Span::from_seconds(PROXY_PATIENCE_SECONDS);
    left && (drained || now >= ending.drain_deadline || bug!(StopsBusy)) || now >= unanswered
}

pub(crate) fn terminated(context: &mut Context, id: ReplicaId) {
    let Some(replica) = context.state.replicas.get_mut(&id) else {
        return;
    };
    let Some(ending) = &mut replica.ending else {
        return;
    };
    ending.released = true;
    let keep = replica.status.is_failed()
        && replica.status != ReplicaStatus::FailedCleanup
        && !ending.purge;
    if keep {
        let version = replica.version;
        let message = format!("replica {id} is cleaned up; its record and log are kept");
        context.tell(HappeningKind::ReplicaGone, Some(id), Some(version), message);
    } else {
        forget(context, id);
    }
}

pub(crate) fn terminate_failed(context: &mut Context, id: ReplicaId, message: &str) {
    let (now, seed) = (context.now, context.state.incarnation.clone());
    let Some(ending) = context
        .state
        .replicas
        .get_mut(&id)
        .and_then(|r| r.ending.as_mut())
    else {
        return;
    };
    if !ending.terminate_asked || ending.released {
        return;
    }
    ending.attempts = ending.attempts.saturating_add(1);
    if ending.attempts < TERMINATION_ATTEMPTS {
        ending.terminate_asked = false;
        ending.retry_at = Some(now + backoff::delay(ending.attempts + 1, &seed));
        return;
    }
    if ending.purge || bug!(ForgetsWhatIsLeft) {
        let version = context
            .state
            .replicas
            .get(&id)
            .map(|replica| replica.version);
        let message = format!("replica {id} is forgotten; something may be left: {message}");
        context.tell(HappeningKind::ReplicaGone, Some(id), version, message);
        context.state.replicas.remove(&id);
        context.state.live.in_flight.remove(&id);
        return;
    }
    let reason = format!("could not be ended: {message}");
    context.set_status(id, ReplicaStatus::FailedCleanup, Some(&reason));
}

fn forget(context: &mut Context, id: ReplicaId) {
    let Some(replica) = context.state.replicas.remove(&id) else {
        return;
    };
    context.state.live.in_flight.remove(&id);
    let message = format!("replica {id} is gone");
    context.tell(
        HappeningKind::ReplicaGone,
        Some(id),
        Some(replica.version),
        message,
    );
}

/// Bounds what is kept: records of failed replicas, and versions that nothing can return to.
pub(crate) fn prune(context: &mut Context) {
    for id in surplus_records(context) {
        forget(context, id);
    }
    let state = &context.state;
    let newest = state.newest();
    let unused: Vec<u32> = state
        .versions
        .keys()
        .copied()
        .filter(|version| {
            version.saturating_add(VERSIONS_KEPT) < newest
                && *version != state.desired
                && Some(*version) != state.trusted
                && !state.replicas.values().any(|replica| {
                    replica.version == *version || replica.launched_version == *version
                })
        })
        .collect();
    for version in unused {
        context.state.versions.remove(&version);
        context.state.traffic.remove(&version);
        context.actions.push(Action::CollectVersion { version });
    }
}

/// Records of failed replicas that need not be kept: those of other versions once an update has
/// ended well (they explain nothing any more), and the oldest beyond the limit.
fn surplus_records(context: &Context) -> Vec<ReplicaId> {
    let state = &context.state;
    let updated = state
        .rollout
        .as_ref()
        .is_some_and(|rollout| matches!(rollout.outcome, Some(Outcome::Succeeded { .. })));
    let released = |replica: &&Replica| {
        let ending = replica.ending.as_ref();
        replica.status != ReplicaStatus::FailedCleanup && ending.is_some_and(|e| e.released)
    };
    let records: Vec<&Replica> = state.replicas.values().filter(released).collect();
    let (outdated, kept): (Vec<&Replica>, Vec<&Replica>) = records
        .into_iter()
        .partition(|replica| updated && replica.version != state.desired);
    let beyond = kept.len().saturating_sub(FAILED_RECORDS_KEPT);
    let surplus = outdated.into_iter().chain(kept.into_iter().take(beyond));
    surplus.map(|replica| replica.id).collect()
}
