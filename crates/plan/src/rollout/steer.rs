//! The user steers. What may be done, and what there is to say to it, is `steering::answer`'s; here
//! it is done.

use super::failure::{drop_useless, give_back, trust};
use super::update::{drop_superseded, reuse, supersede};
use super::{Outcome, Rollout, UpdateMode, canary};
use crate::context::Context;
use crate::event::{Event, Steering};
use crate::happening::HappeningKind;
use crate::routing::Version;
use crate::state::VersionFailure;
use crate::steering;

pub(crate) fn steer(context: &mut Context, what: Steering) {
    let event = Event::Steer { what };
    let Ok(answer) = steering::answer(&context.state, &event) else {
        return;
    };
    if !answer.changed {
        return;
    }
    match what {
        Steering::Pause => pause(context),
        Steering::Resume => resume(context),
        Steering::Promote => promote(context),
        Steering::Abort => abort(context),
    }
}

fn pause(context: &mut Context) {
    let now = context.now;
    let Some(rollout) = in_progress(context) else {
        return;
    };
    rollout.paused_at = Some(now);
    let version = rollout.version;
    let message = format!("the update to version {version} is paused");
    context.tell(HappeningKind::RolloutPaused, None, Some(version), message);
}

/// No clock of the update has run meanwhile.
fn resume(context: &mut Context) {
    let now = context.now;
    let Some(rollout) = in_progress(context) else {
        return;
    };
    let Some(paused_at) = rollout.paused_at.take() else {
        return;
    };
    canary::resume(rollout, paused_at, now);
    rollout.progress_at = now;
    let version = rollout.version;
    let message = format!("the update to version {version} goes on");
    context.tell(HappeningKind::RolloutResumed, None, Some(version), message);
}

fn promote(context: &mut Context) {
    resume(context);
    if canary::is_stepping(&context.state) {
        let version = context.state.desired;
        let message = format!("version {version} is promoted: its step is over");
        context.tell(HappeningKind::RolloutPromoted, None, Some(version), message);
        return canary::next_step(context);
    }
    let Some(rollout) = in_progress(context) else {
        return;
    };
    rollout.hurried = true;
    let version = rollout.version;
    let message = format!("version {version} is promoted: it waits no longer");
    context.tell(HappeningKind::RolloutPromoted, None, Some(version), message);
}

fn abort(context: &mut Context) {
    let at = context.now;
    let Some(back_to) = steering::abort_target(&context.state) else {
        return;
    };
    let Some(rollout) = &mut context.state.rollout else {
        return;
    };
    let number = rollout.version;
    rollout.adopting.clear();
    rollout.outcome = Some(Outcome::Aborted { at, back_to });
    let message = format!("the update to version {number} is aborted; version {back_to} serves on");
    context.tell(HappeningKind::RolloutAborted, None, Some(number), message);
    mark_undone(context, number, "its update was aborted");
    give_back(context, number, back_to);
}

/// Makes an earlier version the desired one, under its own number.
pub(crate) fn roll_back(context: &mut Context, to: Option<Version>) {
    let event = Event::Rollback { to };
    let Ok(answer) = steering::answer(&context.state, &event) else {
        return;
    };
    let Some(to) = steering::rollback_target(&context.state, to) else {
        return;
    };
    if !answer.changed {
        return;
    }
    if steering::is_abort(&context.state, to) {
        return abort(context);
    }
    let (now, left) = (context.now, context.state.desired);
    let message = format!("back to version {to}");
    context.tell(HappeningKind::RolledBack, None, Some(to), message);
    let mode = mode_back(context, to);
    // What stands by has shown that it works, however short a time it has been ready.
    let hurried = context.state.warm.is_some_and(|warm| warm.version == to);
    let was_good = steering::was_good(&context.state, to);
    let superseded = supersede(context, to);
    let from = context.state.trusted;
    if let Some(version) = context.version_mut(to) {
        version.failure = None;
        version.backoff.reset();
    }
    let Some(version) = context.state.version(to).cloned() else {
        return;
    };
    context.state.desired = to;
    context.state.autoscaler.adopt(&version.spec.replica_policy);
    if was_good {
        // It is known to work, and is what failures and repairs turn to from now on.
        trust(context, to);
        mark_undone(context, left, &format!("undone: back to version {to}"));
    }
    let adopting = reuse(context, &version);
    if let Some(old) = superseded {
        drop_superseded(context, old);
    }
    if was_good {
        // What does not serve now is not to begin to.
        drop_useless(context, left);
    }
    context.state.rollout = Some(Rollout {
        adopting,
        hurried,
        ..Rollout::new(to, mode, from, now)
    });
    if matches!(mode, UpdateMode::Rolling | UpdateMode::InPlace) {
        context.state.traffic.insert(to);
    }
}

/// The way back is the way that was come, but for the steps of a canary: nobody wants those when in
/// a hurry. What stands by warm is moved to at one go.
fn mode_back(context: &Context, to: Version) -> UpdateMode {
    if context.state.warm.is_some_and(|warm| warm.version == to) {
        return UpdateMode::BlueGreen;
    }
    let desired = context.state.version(context.state.desired);
    match desired.map(|version| version.mode) {
        Some(mode @ (UpdateMode::BlueGreen | UpdateMode::InPlace)) => mode,
        _ => UpdateMode::Rolling,
    }
}

/// It is launched no more, and served no more once the other stands, unless it is asked for by name.
fn mark_undone(context: &mut Context, number: Version, reason: &str) {
    let at = context.now;
    if let Some(version) = context.version_mut(number)
        && version.failure.is_none()
    {
        version.failure = Some(VersionFailure {
            at,
            reason: reason.to_owned(),
            replica_id: None,
        });
    }
}

fn in_progress(context: &mut Context) -> Option<&mut Rollout> {
    let rollout = context.state.rollout.as_mut();
    rollout.filter(|rollout| rollout.is_in_progress())
}
