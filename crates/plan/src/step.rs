//! The only entrance: one event, one step.

use crate::action::Action;
use crate::context::Context;
use crate::event::Event;
use crate::happening::Happening;
use crate::state::{ServicePhase, ServiceState};
use crate::time::Timestamp;
use crate::{ending, lifecycle, rollout, route};

/// What follows from an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The service as it is from now on.
    pub state: ServiceState,
    /// What must be done, in order. Owed from the moment the step is committed.
    pub actions: Vec<Action>,
    /// What is worth telling.
    pub happenings: Vec<Happening>,
}

/// Decides what follows from `event` at `now`.
///
/// In order: the event is taken into the state; clocks that ran out are noticed; the autoscaler
/// decides; the rollout launches and drains; one routing table is made of the result; replicas that
/// no request can reach any more are ended. Every part sees what the parts before it decided, so
/// that one step is enough: stepping again with `Tick` at the same instant changes nothing.
#[must_use]
pub fn step(state: &ServiceState, now: Timestamp, event: &Event) -> Step {
    let mut context = Context::new(state.clone(), now);
    context.state.awake.note(now);
    if context.state.phase != ServicePhase::Gone {
        lifecycle::apply(&mut context, event);
        lifecycle::clocks(&mut context);
        if context.state.phase == ServicePhase::Running {
            lifecycle::autoscale(&mut context);
            rollout::progress_deadline(&mut context);
            rollout::canary::advance(&mut context);
            rollout::converge(&mut context);
            // What has gone may have been what the canary was compared with.
            if rollout::canary::advance(&mut context) {
                rollout::converge(&mut context);
            }
        }
        route::route(&mut context);
        ending::advance(&mut context);
        rollout::restart::advance(&mut context);
        ending::prune(&mut context);
    }
    context.into_step()
}
