//! `max_surge: auto`: as many replicas more as there is room for; where there is none, replicas are
//! replaced within what there is.
//!
//! What room there is nobody can be asked; it shows. A launch that fails for want of capacity or
//! quota shows that there is room for those that are there and no more. New replicas of which none
//! gets a machine for a while show the same.

use spec::Surge;

use super::NoRoom;
use super::converge::Buckets;
use crate::context::Context;
use crate::happening::HappeningKind;
use crate::observation::ErrorClass;
use crate::routing::ReplicaId;

/// Seconds without any placement after which there is held to be no room.
const PLACEMENT_PATIENCE_SECONDS: f64 = 300.0;

/// A launch failed: if for want of room, the update makes do with less.
pub(crate) fn launch_failed(context: &mut Context, id: ReplicaId, class: ErrorClass, seen: &str) {
    let state = &context.state;
    let is_new = state.replicas.get(&id).is_some_and(|replica| {
        Some(replica.version) == state.rollout_in_progress().map(|r| r.version)
    });
    if !is_new || !matches!(class, ErrorClass::NoCapacity | ErrorClass::Quota) {
        return;
    }
    let there = context.live_where(|_| true).len();
    let there = u32::try_from(there).unwrap_or(u32::MAX);
    let surge = there.saturating_sub(context.state.target());
    make_do(context, surge, seen);
}

/// New replicas wait for machines, and none has got one for a while.
pub(super) fn notice_standstill(context: &mut Context, buckets: &Buckets) {
    let (now, state) = (context.now, &context.state);
    let Some(rollout) = state.rollout_in_progress() else {
        return;
    };
    if rollout.no_room.is_some() || rollout.paused_at.is_some() || buckets.old.is_empty() {
        return;
    }
    let Some(version) = state.version(rollout.version) else {
        return;
    };
    let waits = |id: &ReplicaId| {
        let replica = state.replicas.get(id);
        // Not further than provisioning.
        replica.is_some_and(|replica| replica.progress_rank(now, 0.0) <= 1)
    };
    if buckets.new.is_empty() || !buckets.new.iter().all(waits) {
        return;
    }
    let deadline = version.settings.progress_deadline_seconds;
    let patience = PLACEMENT_PATIENCE_SECONDS.min(deadline / 2.0);
    let lasts = (now - rollout.progress_at).as_seconds() >= patience;
    if lasts && state.awake.for_seconds(patience, now) {
        make_do(context, 0, &format!("nothing was placed for {patience}s"));
    }
}

fn make_do(context: &mut Context, surge: u32, seen: &str) {
    let now = context.now;
    let state = &mut context.state;
    let Some(rollout) = state.rollout.as_mut().filter(|r| r.is_in_progress()) else {
        return;
    };
    let is_auto = state
        .versions
        .get(&rollout.version)
        .is_some_and(|version| version.settings.max_surge == Surge::Auto);
    let known = rollout.no_room.as_ref().map(|found| found.surge);
    if !is_auto || known.is_some_and(|known| known <= surge) {
        return;
    }
    rollout.no_room = Some(NoRoom {
        surge,
        seen: seen.to_owned(),
    });
    // Another way is tried, so time begins anew.
    rollout.progress_at = now;
    let version = rollout.version;
    let message = format!("{}: {seen}", NoRoom::sentence(surge));
    context.tell(HappeningKind::NoRoomToSurge, None, Some(version), message);
}

impl NoRoom {
    /// What is done about it.
    pub(crate) fn sentence(surge: u32) -> String {
        match surge {
            0 => "no room for more replicas, so old ones make room first".to_owned(),
            1 => "room for 1 more replica only, so they are replaced one at a time".to_owned(),
            _ => format!(
                "room for {surge} more replicas only, so they are replaced {surge} at a time"
            ),
        }
    }
}
