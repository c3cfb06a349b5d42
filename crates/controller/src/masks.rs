//! Secrets stay out of states, events and logs: what replicas say is masked before the planner hears of it.

use plan::observation::{Observation, Phase};
use plan::{Event, ServiceState};
use spec::Masks;
use store::Store;

/// The secrets of every version that a service has in the store. One that cannot be read is told in the log; its
/// replicas are the ones whose launch needs it.
pub(crate) fn of(store: &dyn Store, state: &ServiceState) -> Masks {
    let mut masks = Masks::default();
    let launched = state
        .replicas
        .values()
        .map(|replica| replica.launched_version);
    for version in state.versions.keys().copied().chain(launched) {
        match store.version(&state.name, version) {
            Ok(Some(record)) => masks.add(&record.task),
            Ok(None) => {}
            Err(error) => {
                let service = &state.name;
                tracing::warn!(service, version, %error, "cannot read the secrets of a version");
            }
        }
    }
    masks
}

/// Masks what was seen of a replica.
pub(crate) fn observation(masks: &Masks, observation: &mut Observation) {
    match &mut observation.phase {
        Phase::Exited(exit) => {
            exit.log_tail = masks.lines(&exit.log_tail);
            exit.hint = exit.hint.as_deref().map(|hint| masks.text(hint));
        }
        Phase::Lost { reason } => *reason = masks.text(reason),
        Phase::Provisioning {
            detail: Some(detail),
        } => *detail = masks.text(detail),
        _ => {}
    }
}

/// Masks what an event quotes.
pub(crate) fn event(masks: &Masks, event: &mut Event) {
    match event {
        Event::Probed {
            failure: Some(text),
            ..
        }
        | Event::Verified {
            failure: Some(text),
            ..
        }
        | Event::LaunchFailed { message: text, .. }
        | Event::TerminateFailed { message: text, .. } => *text = masks.text(text),
        _ => {}
    }
}
