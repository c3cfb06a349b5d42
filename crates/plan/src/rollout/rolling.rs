//! Rolling: whenever available new + live old exceeds the target, surplus old replicas drain. Also
//! what brings a service back to its trusted version after a failure.

use super::converge::{Buckets, count, end_replica, repair, scale_down_order};
use crate::context::Context;

pub(super) fn converge(context: &mut Context, buckets: &Buckets) {
    let desired = context.state.desired;
    context.state.traffic.insert(desired);
    let old = count(&buckets.old);
    let serving = buckets.available_new.saturating_add(old);
    let surplus = serving.saturating_sub(buckets.target);
    for id in scale_down_order(context, &buckets.old)
        .into_iter()
        .take(surplus as usize)
    {
        end_replica(context, id, &format!("version {desired} takes its place"));
    }
    let held = buckets.settled_new.saturating_add(old);
    let missing = buckets.floor.saturating_sub(held);
    repair(context, context.state.trusted, missing);
}
