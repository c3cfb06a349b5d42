//! What a user may do with an update, and what there is to say to it. Asking twice changes nothing
//! the second time, and the answer says so. Pure views of the state; `rollout/steer.rs` acts.

use serde::{Deserialize, Serialize};

use crate::event::{Event, Steering};
use crate::replica::Replica;
use crate::rollout::{Outcome, Rollout, UpdateMode, canary};
use crate::routing::Version;
use crate::state::{ServicePhase, ServiceState};

/// What comes of steering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it changes anything; if not, things already were as asked for.
    pub changed: bool,
    /// A sentence for the person.
    pub message: String,
}

/// An answer, or why it cannot be done.
type Answered = Result<Answer, String>;

/// What a step with this `Steer` or `Rollback` comes to.
///
/// # Errors
/// A sentence for the person: it cannot be done, and the step changes nothing.
pub fn answer(state: &ServiceState, event: &Event) -> Answered {
    if state.phase != ServicePhase::Running {
        return Err(format!("Service '{}' is shutting down.", state.name));
    }
    match event {
        Event::Steer {
            what: Steering::Pause,
        } => pause(state),
        Event::Steer {
            what: Steering::Resume,
        } => Ok(resume(state)),
        Event::Steer {
            what: Steering::Promote,
        } => promote(state),
        Event::Steer {
            what: Steering::Abort,
        } => abort(state),
        Event::Rollback { to } => rollback(state, *to),
        _ => Err("This does not steer an update.".to_owned()),
    }
}

fn changes(message: String) -> Answered {
    let changed = true;
    Ok(Answer { changed, message })
}

fn unchanged(message: String) -> Answered {
    let changed = false;
    Ok(Answer { changed, message })
}

fn pause(state: &ServiceState) -> Answered {
    let Some(rollout) = state.rollout_in_progress() else {
        return Err("No update is in progress, so there is nothing to pause.".to_owned());
    };
    let version = rollout.version;
    if rollout.paused_at.is_some() {
        return unchanged(format!(
            "The update to version {version} is paused already."
        ));
    }
    changes(format!(
        "The update to version {version} is paused: it changes nothing more until it is resumed."
    ))
}

fn resume(state: &ServiceState) -> Answer {
    let rollout = state.rollout_in_progress();
    let (changed, message) = match rollout {
        Some(rollout) if rollout.paused_at.is_some() => (
            true,
            format!("The update to version {} goes on.", rollout.version),
        ),
        Some(rollout) => (
            false,
            format!("The update to version {} is not paused.", rollout.version),
        ),
        None => (false, "No update is paused.".to_owned()),
    };
    Answer { changed, message }
}

fn promote(state: &ServiceState) -> Answered {
    let Some(rollout) = &state.rollout else {
        return Err("No update is in progress, so there is nothing to promote.".to_owned());
    };
    let version = rollout.version;
    match &rollout.outcome {
        None => {}
        Some(Outcome::Succeeded { .. }) => {
            return unchanged(format!("Version {version} is fully rolled out already."));
        }
        Some(_) => {
            return Err(format!(
                "The update to version {version} is over and did not succeed; update again."
            ));
        }
    }
    if rollout.mode == UpdateMode::BlueGreen {
        let (ready, target) = (ready(state, version), state.target());
        if ready < target {
            return Err(format!(
                "Traffic cannot move yet: {ready} of {target} replicas of version {version} are ready."
            ));
        }
    }
    if let Some((progress, step, steps)) = canary::current(state) {
        let (number, weight) = (progress.step.saturating_add(1), step.weight_percent);
        if progress.since.is_none() {
            let (ready, wanted) = (ready(state, version), canary::wanted(step, state.target()));
            return Err(format!(
                "Step {number} of {steps} ({weight} % of requests) has not begun yet: {ready} of {wanted} replicas of \
                 version {version} are ready."
            ));
        }
        let next = if number < steps {
            format!("step {} follows", number + 1)
        } else {
            "the rest of the traffic follows".to_owned()
        };
        return changes(format!(
            "Step {number} of {steps} ({weight} % of requests) is over: {next}."
        ));
    }
    if rollout.hurried && rollout.paused_at.is_none() {
        return unchanged(format!("Version {version} is promoted already."));
    }
    changes(format!(
        "Version {version} is promoted: its replicas count as soon as they are ready."
    ))
}

fn abort(state: &ServiceState) -> Answered {
    let Some(rollout) = &state.rollout else {
        return Err("No update is in progress, so there is nothing to abort.".to_owned());
    };
    let version = rollout.version;
    match &rollout.outcome {
        Some(Outcome::Succeeded { .. }) => Err(format!(
            "The update to version {version} has succeeded; `sky serve rollback` goes back."
        )),
        Some(Outcome::Aborted { back_to, .. }) => unchanged(format!(
            "The update to version {version} was aborted already; version {back_to} serves."
        )),
        Some(Outcome::Failed {
            back_to: Some(back_to),
            ..
        }) => unchanged(format!(
            "The update to version {version} has failed already; version {back_to} serves."
        )),
        Some(Outcome::Superseded { by, .. }) => Err(format!(
            "The update to version {version} gave way to version {by}."
        )),
        Some(Outcome::Failed { back_to: None, .. }) | None => match abort_target(state) {
            Some(back_to) => changes(format!(
                "The update to version {version} is aborted: back to version {back_to}."
            )),
            None => Err("There is no earlier version that was good to go back to.".to_owned()),
        },
    }
}

fn rollback(state: &ServiceState, to: Option<Version>) -> Answered {
    let Some(target) = rollback_target(state, to) else {
        return Err(match to {
            None => "There is no earlier version that was good to go back to.".to_owned(),
            Some(to) => format!(
                "There is no version {to} to go back to; there are {}.",
                known_versions(state)
            ),
        });
    };
    if target == state.desired {
        return unchanged(format!("Version {target} is the desired one already."));
    }
    if is_abort(state, target) {
        return abort(state);
    }
    let hash = |number| state.version(number).map(|known| &known.task_hash);
    if hash(target) == hash(state.desired) {
        return changes(format!(
            "Back to version {target}: the replicas that run already are what it asks for."
        ));
    }
    let warm = state.warm.is_some_and(|warm| warm.version == target);
    let (ready, wanted) = (ready(state, target), state.target());
    let how = match warm {
        true if ready >= wanted => "it stands by, so traffic moves at once".to_owned(),
        true => format!(
            "{ready} of {wanted} replicas stand by; traffic moves once the others are there too"
        ),
        false => "its replicas are launched, and take over as in an update".to_owned(),
    };
    changes(format!("Back to version {target}: {how}."))
}

fn known_versions(state: &ServiceState) -> String {
    let numbers: Vec<String> = state.versions.keys().map(ToString::to_string).collect();
    numbers.join(", ")
}

/// The version that `rollback` leads to: the one asked for, or the last one before the desired one that was good.
#[must_use]
pub fn rollback_target(state: &ServiceState, to: Option<Version>) -> Option<Version> {
    if let Some(to) = to {
        return state.versions.contains_key(&to).then_some(to);
    }
    if state.rollout_in_progress().is_some() || state.is_frozen() {
        return abort_target(state);
    }
    let numbers = state.versions.keys().rev().copied();
    let mut earlier = numbers.filter(|number| *number < state.desired);
    earlier.find(|number| {
        was_good(state, *number) && state.version(*number).is_some_and(|v| v.failure.is_none())
    })
}

/// Whether a version was fully rolled out once.
pub(crate) fn was_good(state: &ServiceState, version: Version) -> bool {
    state.trusted == Some(version)
        || state
            .version(version)
            .is_some_and(|known| known.trusted_at.is_some())
}

/// Whether going back to a version is what aborting the update does.
pub(crate) fn is_abort(state: &ServiceState, to: Version) -> bool {
    let under_way = state.rollout_in_progress().is_some() || state.is_frozen();
    under_way && abort_target(state) == Some(to)
}

/// The version that aborting leads back to. An update that changes only numbers is trusted from its
/// start; then it is the one before.
pub(crate) fn abort_target(state: &ServiceState) -> Option<Version> {
    let rollout: &Rollout = state.rollout.as_ref()?;
    let other = |version: &Version| *version != rollout.version;
    let known = |version: &Version| state.versions.contains_key(version);
    state
        .trusted
        .filter(other)
        .or(rollout.from.filter(other))
        .filter(known)
}

fn ready(state: &ServiceState, version: Version) -> u32 {
    let replicas = state.replicas.values();
    let ready = replicas.filter(|r: &&Replica| r.version == version && r.is_ready());
    u32::try_from(ready.count()).unwrap_or(u32::MAX)
}
