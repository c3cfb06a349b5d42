//! Rolling: whenever available new + live old exceeds the target, surplus old replicas drain. Also
//! what brings a service back to its trusted version after a failure.

use super::converge::{Buckets, count, end_replica, repair, scale_down_order};
use crate::context::Context;

pub(super) fn converge(context: &mut Context, buckets: &Buckets) {
    let desired = context.state.desired;
    context.state.traffic.insert(desired);
    let old = count(&buckets.old);
    if context.state.is_frozen() {
        return stand_still(context, buckets);
    }
    let new = if bug!(ReplacesTooEarly) {
        count(&buckets.new)
    } else {
        buckets.available_new
    };
    let serving = new.saturating_add(old);
    let surplus = serving.saturating_sub(buckets.least());
    for id in scale_down_order(context, &buckets.old)
        .into_iter()
        .take(surplus as usize)
    {
        end_replica(context, id, &format!("version {desired} takes its place"));
    }
    repair(context, context.state.trusted, buckets.owed(old));
}

/// The update stands still: nothing is replaced. The good version follows the target, and makes up
/// for what is lost of either.
pub(super) fn stand_still(context: &mut Context, buckets: &Buckets) {
    let old = count(&buckets.old);
    let surplus = old.saturating_sub(buckets.target);
    let order = scale_down_order(context, &buckets.old);
    for id in order.into_iter().take(surplus as usize) {
        end_replica(context, id, "fewer replicas are wanted");
    }
    let kept = old.saturating_sub(surplus);
    repair(context, context.state.trusted, buckets.owed(kept));
}
