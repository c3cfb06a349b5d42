//! Blue-green: traffic stays on old until as many new replicas are available as are wanted *now*;
//! then one table moves it whole. What has traffic never mixes contents that were not mixed before.

use std::collections::BTreeSet;

use super::converge::{Buckets, count, end_replica, repair, scale_down_order};
use super::warm;
use crate::Replica;
use crate::context::Context;
use crate::routing::{ReplicaId, Version};

pub(super) fn converge(context: &mut Context, buckets: &Buckets) {
    let one_is_enough = bug!(MovesTooEarly) && buckets.available_new > 0;
    let moves =
        one_is_enough || buckets.available_new >= buckets.target || old_is_dead(context, buckets);
    if moves && !context.state.is_frozen() {
        return flip(context, buckets);
    }
    // Until then the old version lives on as if there were no update: it is repaired, and follows
    // the target. Reused replicas of the new version that have traffic count with it.
    let reused = buckets.new.iter().filter(|id| {
        let replica = context.state.replicas.get(id);
        replica.is_some_and(|r| has_traffic(context, r) && r.first_ready_at.is_some())
    });
    let reused = u32::try_from(reused.count()).unwrap_or(u32::MAX);
    let serving = count(&buckets.old).saturating_add(reused);
    // While it stands still the new version takes nobody's place.
    let counted = match context.state.is_frozen() {
        true => count(&buckets.old),
        false => serving,
    };
    let surplus = counted.saturating_sub(buckets.target);
    for id in scale_down_order(context, &buckets.old)
        .into_iter()
        .take(surplus as usize)
    {
        end_replica(context, id, "fewer replicas are wanted");
    }
    let missing = buckets.owed_beside(serving);
    if missing > 0 {
        let version = repaired_with(context, buckets);
        repair(context, version, missing);
    }
}

fn has_traffic(context: &Context, replica: &Replica) -> bool {
    context.state.traffic.contains(&replica.version)
}

/// Whether users get answers of it, now or after a moment's trouble.
fn is_answering(context: &Context, id: ReplicaId) -> bool {
    let Some(replica) = context.state.replicas.get(&id) else {
        return false;
    };
    let version = context.state.version(replica.version);
    let grace = version.map_or(0.0, |version| version.settings.min_healthy_seconds);
    has_traffic(context, replica) && replica.is_answering(context.now, grace)
}

/// The version of a repair: the trusted one, unless traffic stands on others alone and one of their
/// replicas answers. Then mixing is out of the question, and it is the newest of those, if it can
/// be.
fn repaired_with(context: &mut Context, buckets: &Buckets) -> Option<Version> {
    let trusted = context.state.trusted?;
    if context.state.traffic.contains(&trusted) {
        return Some(trusted);
    }
    let answers = |id: &&ReplicaId| is_answering(context, **id);
    if buckets.new.iter().any(|id| answers(&id)) {
        return None;
    }
    let answering = buckets.old.iter().filter(answers);
    let versions = answering.filter_map(|id| context.state.replicas.get(id).map(|r| r.version));
    let Some(newest) = versions.max() else {
        // Nobody answers: the trusted version takes over the traffic.
        context.state.traffic = BTreeSet::from([trusted]);
        return Some(trusted);
    };
    let known = context.state.version(newest)?;
    known.failure.is_none().then_some(newest)
}

/// Nothing that has traffic answers any more, while something new is ready: users are better off
/// with that, however young it is. It is a move for good, so one failed probe of the old is not
/// enough.
fn old_is_dead(context: &Context, buckets: &Buckets) -> bool {
    let ready = |id: &ReplicaId| {
        let replica = context.state.replicas.get(id);
        replica.is_some_and(Replica::is_ready)
    };
    !context.state.traffic.contains(&context.state.desired)
        && buckets.new.iter().any(ready)
        && !buckets.old.iter().any(|id| is_answering(context, *id))
}

pub(super) fn flip(context: &mut Context, buckets: &Buckets) {
    let desired = context.state.desired;
    let stands = buckets.available_new >= buckets.target;
    let before = context
        .state
        .trusted
        .filter(|old| stands && *old != desired);
    if let Some(before) = before.filter(|old| context.state.traffic.contains(old)) {
        warm::keep(context, before);
    }
    context.state.traffic = BTreeSet::from([desired]);
    let leaves = |id: &&ReplicaId| {
        let replica = context.state.replicas.get(id);
        replica.is_some_and(|replica| !warm::is_warm(&context.state, replica))
    };
    let old: Vec<ReplicaId> = buckets.old.iter().filter(leaves).copied().collect();
    for id in &old {
        end_replica(context, *id, &format!("version {desired} takes its place"));
    }
}
