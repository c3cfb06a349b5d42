//! The undo window: after all traffic has moved, the version before it stays warm for a while, so that going back is
//! one routing table. Warm replicas are probed as before and get no traffic.

use serde::{Deserialize, Serialize};

use super::converge::{count, end_replica, scale_down_order};
use crate::context::Context;
use crate::happening::HappeningKind;
use crate::replica::Replica;
use crate::routing::Version;
use crate::state::ServiceState;
use crate::time::{Span, Timestamp};

/// A version that waits to be gone back to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warm {
    /// The version.
    pub version: Version,
    /// Until when.
    pub until: Timestamp,
}

/// Whether a replica stands by.
pub(super) fn is_warm(state: &ServiceState, replica: &Replica) -> bool {
    state
        .warm
        .is_some_and(|warm| warm.version == replica.version && warm.version != state.desired)
}

/// All traffic has left `version`: it stays warm, if the update says so.
pub(super) fn keep(context: &mut Context, version: Version) {
    let Some(rollout) = context.state.rollout_in_progress() else {
        return;
    };
    let by = rollout.version;
    let known = context.state.version(by);
    let seconds = known.map_or(0.0, |known| known.settings.undo_window_seconds);
    if seconds <= 0.0 || version == by {
        return;
    }
    let until = context.now + Span::from_seconds(seconds);
    context.state.warm = Some(Warm { version, until });
    let message = format!("version {version} stays warm for {seconds}s");
    context.tell(
        HappeningKind::UndoWindowOpened,
        None,
        Some(version),
        message,
    );
}

/// Lets warm replicas go when the window closes, and those that are more than would be wanted.
pub(super) fn advance(context: &mut Context) {
    let Some(warm) = context.state.warm else {
        return;
    };
    if warm.version == context.state.desired {
        context.state.warm = None;
        return;
    }
    let of_warm = |replica: &Replica| replica.version == warm.version;
    let standing_by = context.live_where(of_warm);
    let surplus = count(&standing_by).saturating_sub(context.state.target());
    let order = scale_down_order(context, &standing_by);
    for id in order.into_iter().take(surplus as usize) {
        end_replica(context, id, "fewer replicas are wanted");
    }
    // Asked anew: at a target of zero none is left.
    if (context.now >= warm.until && !bug!(WarmForEver)) || context.live_where(of_warm).is_empty() {
        context.state.warm = None;
        let message = format!("version {} is not kept warm any more", warm.version);
        let kind = HappeningKind::UndoWindowClosed;
        context.tell(kind, None, Some(warm.version), message);
    }
}
