//! In place: a replica is drained, and its machine then runs the new version. No machine more is
//! needed, and what is on its disk stays warm.
//!
//! As many at a time as `max_unavailable` says, at least one. What fails is undone the same way; in
//! place of a replica that has ended the trusted version is launched anew.

use serde::{Deserialize, Serialize};

use super::converge::{Buckets, count, end_replica, note, repair, scale_down_order};
use super::{UpdateMode, rolling};
use crate::action::Action;
use crate::context::Context;
use crate::happening::HappeningKind;
use crate::replica::{Replica, Routed};
use crate::routing::{ReplicaId, Version};
use crate::state::{Live, ServiceState};
use crate::status::ReplicaStatus;
use crate::time::{Span, Timestamp};
use crate::verify::Verification;

/// How far the restart of a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    /// Requests in flight may keep it until then.
    pub drain_deadline: Timestamp,
    /// Whether the provider was asked; it has not answered yet.
    pub asked: bool,
}

/// Whether replicas are restarted where they are now.
pub(super) fn is_mode(state: &ServiceState) -> bool {
    state.rollout.as_ref().is_some_and(|rollout| {
        let goes_on = rollout.is_in_progress() || rollout.is_undone();
        rollout.mode == UpdateMode::InPlace && goes_on
    })
}

pub(super) fn converge(context: &mut Context, buckets: &Buckets) {
    if context.state.is_frozen() {
        return rolling::stand_still(context, buckets);
    }
    let desired = context.state.desired;
    context.state.traffic.insert(desired);
    let old = count(&buckets.old);
    let surplus = buckets
        .available_new
        .saturating_add(old)
        .saturating_sub(buckets.target);
    let order = scale_down_order(context, &buckets.old);
    let (leaves, stays) = order.split_at((surplus as usize).min(order.len()));
    for id in leaves {
        end_replica(context, *id, &format!("version {desired} takes its place"));
    }
    let restarts = |id: &&ReplicaId| {
        let replica = context.state.replicas.get(id);
        replica.is_none_or(|replica| replica.restart.is_some())
    };
    let gone = u32::try_from(stays.iter().filter(restarts).count()).unwrap_or(u32::MAX);
    let serving = buckets
        .available_new
        .saturating_add(count(stays))
        .saturating_sub(gone);
    // Not more than are wanted: what is there already takes the place of the others once it is available.
    let wanted = buckets
        .target
        .saturating_sub(count(&buckets.new))
        .saturating_sub(gone);
    let spare = serving.saturating_sub(buckets.least()).min(wanted) as usize;
    let next = stays.iter().filter(|id| !restarts(id)).take(spare).copied();
    for id in next.collect::<Vec<_>>() {
        begin(context, id, desired);
    }
    repair(context, context.state.trusted, buckets.owed(count(stays)));
}

/// The replica leaves the routing table.
fn begin(context: &mut Context, id: ReplicaId, to: Version) {
    let now = context.now;
    let Some(replica) = context.state.replicas.get(&id) else {
        return;
    };
    let from = replica.version;
    let version = context.state.version(from);
    let drain = version.map_or(0.0, |version| version.settings.drain_timeout_seconds);
    let serves = matches!(
        replica.status,
        ReplicaStatus::Ready | ReplicaStatus::NotReady
    );
    let drain_deadline = if serves {
        now + Span::from_seconds(drain)
    } else {
        now
    };
    if let Some(replica) = context.state.replicas.get_mut(&id) {
        replica.restart = Some(Restart {
            drain_deadline,
            asked: false,
        });
    }
    let message = format!("replica {id} drains and is restarted as version {to}");
    context.tell(
        HappeningKind::ReplicaRestarting,
        Some(id),
        Some(from),
        message,
    );
}

/// What is not to be restarted any more goes on as it was.
pub(super) fn call_off(context: &mut Context) {
    let (desired, restarts) = (context.state.desired, is_mode(&context.state));
    let stands_still = context.state.is_frozen();
    for replica in context.state.replicas.values_mut() {
        let is_needless = !restarts || stands_still || replica.version == desired;
        if is_needless && replica.restart.is_some_and(|restart| !restart.asked) {
            replica.restart = None;
        }
    }
}

/// Asks for the restart of every replica that no request can reach any more.
pub(crate) fn advance(context: &mut Context) {
    let (now, desired) = (context.now, context.state.desired);
    let live = &context.state.live;
    let due = context.live_where(|replica| {
        let restart = replica.restart.filter(|restart| !restart.asked);
        restart.is_some_and(|restart| has_left(replica, live, restart.drain_deadline, now))
    });
    for id in due {
        if let Some(replica) = context.state.replicas.get_mut(&id) {
            anew(replica, desired);
        }
        let reason = format!("restarted as version {desired}");
        context.set_status(id, ReplicaStatus::Provisioning, None);
        context.tell(
            HappeningKind::ReplicaRestarting,
            Some(id),
            Some(desired),
            reason,
        );
        context.actions.push(Action::RestartInPlace {
            replica: id,
            version: desired,
        });
        note(context);
    }
}

/// Promise 1 again: nothing reaches it, and nothing is in flight or the time for that is over.
fn has_left(replica: &Replica, live: &Live, deadline: Timestamp, now: Timestamp) -> bool {
    match replica.routed {
        Routed::Never => true,
        Routed::InTable => false,
        Routed::LeftIn(generation) => {
            let counted = live.counted_at >= generation;
            let idle = counted && !live.in_flight.contains_key(&replica.id);
            live.acknowledged >= generation && (idle || now >= deadline)
        }
    }
}

/// All that was learned of it was learned of another version.
fn anew(replica: &mut Replica, version: Version) {
    replica.version = version;
    replica.launched_version = version;
    replica.launched_at = None;
    replica.setup_started_at = None;
    replica.app_started_at = None;
    replica.first_ready_at = None;
    replica.first_available_at = None;
    replica.ready_since = None;
    replica.failing_since = None;
    replica.last_probe_failure = None;
    replica.detail = None;
    replica.reason = None;
    replica.verification = Verification::None;
    if let Some(restart) = &mut replica.restart {
        restart.asked = true;
    }
}
