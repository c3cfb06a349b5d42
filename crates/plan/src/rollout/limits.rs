//! How many replicas there may be while one version gives way to the next, and how few.

use spec::Surge;

use super::{Outcome, UpdateMode};
use crate::replica::Replica;
use crate::settings::UpdateSettings;
use crate::state::ServiceState;
use crate::status::ReplicaStatus;

/// The bounds of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Replicas beyond the target.
    pub(super) surge: u32,
    /// Replicas missing from the target.
    pub(super) unavailable: u32,
    /// There is not room for all of both versions, so that a replica on its way out is in the way of the next one.
    pub(super) is_scarce: bool,
}

/// What the update in progress (or the one that is being undone) allows at a target.
pub(super) fn limits(state: &ServiceState, target: u32) -> Limits {
    let whole = Limits {
        surge: target,
        unavailable: 0,
        is_scarce: false,
    };
    let Some(settings) = settings(state) else {
        return whole;
    };
    let rollout = state.rollout.as_ref();
    if rollout.is_some_and(|rollout| rollout.mode == UpdateMode::BlueGreen) {
        return whole;
    }
    let unavailable = settings.max_unavailable.rounded_down(target).min(target);
    if rollout.is_some_and(|rollout| rollout.mode == UpdateMode::InPlace) {
        return Limits {
            surge: 0,
            unavailable: unavailable.max(1),
            is_scarce: false,
        };
    }
    let no_room = rollout.and_then(|rollout| rollout.no_room.as_ref());
    let surge = match (settings.max_surge, no_room) {
        (Surge::Amount(amount), _) => amount.rounded_up(target),
        (Surge::Auto, None) => target,
        (Surge::Auto, Some(found)) => found.surge.min(target),
    };
    Limits {
        surge,
        // Shares of a small target may both come to nothing, and then nothing would ever be replaced. (The rule of
        // Kubernetes.)
        unavailable: unavailable.max(u32::from(surge == 0)),
        is_scarce: surge < target,
    }
}

/// The settings that hold: those of the update as long as old and new stand side by side.
fn settings(state: &ServiceState) -> Option<&UpdateSettings> {
    let rollout = state.rollout.as_ref()?;
    let holds = match rollout.outcome {
        None | Some(Outcome::Failed { .. } | Outcome::Aborted { .. }) => true,
        Some(Outcome::Succeeded { .. } | Outcome::Superseded { .. }) => false,
    };
    let version = state.version(rollout.version).filter(|_| holds)?;
    Some(&version.settings)
}

/// Whether a replica takes up room.
pub(super) fn takes_room(replica: &Replica, limits: Limits) -> bool {
    let is_leaving = || {
        let ending = replica.ending.as_ref();
        let is_there = !matches!(
            replica.status,
            ReplicaStatus::Preempted | ReplicaStatus::FailedCleanup
        );
        is_there && ending.is_some_and(|ending| !ending.released)
    };
    replica.is_live() || (limits.is_scarce && is_leaving())
}
