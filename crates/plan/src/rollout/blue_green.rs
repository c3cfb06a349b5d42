//! Blue-green: traffic stays on old until as many new replicas are available as are wanted *now*; then one table
//! moves it whole.

use std::collections::BTreeSet;

use super::converge::{Buckets, count, end_replica, repair, repair_with, scale_down_order};
use crate::context::Context;

pub(super) fn converge(context: &mut Context, buckets: &Buckets) {
    if buckets.available_new >= buckets.target || old_is_dead(context, buckets) {
        return flip(context, buckets);
    }
    // Until then the old version lives on as if there were no update: it is repaired, and follows the target.
    let old = count(&buckets.old);
    let reused = buckets
        .new
        .iter()
        .filter(|id| is_routed(context, **id))
        .count();
    let serving = old.saturating_add(u32::try_from(reused).unwrap_or(u32::MAX));
    let surplus = serving.saturating_sub(buckets.target);
    for id in scale_down_order(context, &buckets.old)
        .into_iter()
        .take(surplus as usize)
    {
        end_replica(context, id, "fewer replicas are wanted");
    }
    let missing = buckets.floor.saturating_sub(serving);
    match served(context, &buckets.old) {
        Some(version) => repair_with(context, version, missing),
        None => repair(context, missing),
    }
}

/// The version that has traffic while the trusted one has none: a repair must not mix in another one.
fn served(context: &Context, old: &[crate::routing::ReplicaId]) -> Option<crate::routing::Version> {
    let replicas = old.iter().filter_map(|id| context.state.replicas.get(id));
    let mut versions: Vec<_> = replicas.map(|replica| replica.version).collect();
    versions.sort_unstable();
    let newest = versions.last().copied()?;
    let trusted = context.state.trusted;
    let launchable = context
        .state
        .version(newest)
        .is_some_and(|version| version.failure.is_none());
    (launchable && !versions.iter().any(|version| Some(*version) == trusted)).then_some(newest)
}

/// Whether the new replica answers users already, because it was reused.
fn is_routed(context: &Context, id: crate::routing::ReplicaId) -> bool {
    let replica = context.state.replicas.get(&id);
    replica.is_some_and(|replica| context.state.traffic.contains(&replica.version))
}

/// Nothing that has traffic is ready any more, while something new is: users are better off with that, however
/// young it is.
fn old_is_dead(context: &Context, buckets: &Buckets) -> bool {
    let ready = |id: &crate::routing::ReplicaId| {
        context
            .state
            .replicas
            .get(id)
            .is_some_and(crate::Replica::is_ready)
    };
    buckets.new.iter().any(ready)
        && !buckets.old.iter().any(ready)
        && !context.state.traffic.contains(&context.state.desired)
}

fn flip(context: &mut Context, buckets: &Buckets) {
    let desired = context.state.desired;
    context.state.traffic = BTreeSet::from([desired]);
    for id in &buckets.old {
        end_replica(context, *id, &format!("version {desired} takes its place"));
    }
}
