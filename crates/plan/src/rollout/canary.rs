//! Canary: a growing share of the traffic goes to the new version, step by step; after the last
//! step the rest follows.
//!
//! A step has as many new replicas as its share of the target, at least one, and its share comes in
//! force once they are available. The old version keeps all of its replicas meanwhile, as far as
//! there is room. A step ends after its time, or when a person says so; where an analysis is asked
//! for, not before that finds nothing against the new version. What it finds worse is undone.

use serde::{Deserialize, Serialize};
use spec::{Analysis, CanaryStep, StepEnd};

use super::converge::{Buckets, count, end_replica, repair, scale_down_order};
use super::failure::fail_version;
use super::limits::limits;
use super::{Rollout, UpdateMode, blue_green, rolling};
use crate::analysis::{Evidence, Verdict, judge};
use crate::context::Context;
use crate::figures::CanaryFigures;
use crate::happening::HappeningKind;
use crate::replica::Replica;
use crate::routing::{ReplicaId, Split};
use crate::state::ServiceState;
use crate::time::Timestamp;

/// How far a canary is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CanaryProgress {
    /// The step, from 0. As many as there are: all of them are over, and the rest of the traffic
    /// follows.
    pub step: u32,
    /// Since when the step's share is in force. `None`: its replicas are not available yet.
    pub since: Option<Timestamp>,
    /// What the proxy counted, where an analysis is asked for.
    pub evidence: Option<Evidence>,
    /// What the analysis waits for, once the time of the step is over.
    pub doubt: Option<String>,
}

/// The canary under way, the step it is at, and the number of its steps. `None`: there is none, or
/// all of its steps are over.
pub(crate) fn current(state: &ServiceState) -> Option<(&CanaryProgress, CanaryStep, u32)> {
    let rollout = state.rollout.as_ref()?;
    let progress = rollout.canary.as_ref()?;
    let steps = steps(state, rollout);
    let step = steps.get(progress.step as usize).copied()?;
    Some((
        progress,
        step,
        u32::try_from(steps.len()).unwrap_or(u32::MAX),
    ))
}

fn steps<'s>(state: &'s ServiceState, rollout: &Rollout) -> &'s [CanaryStep] {
    state
        .version(rollout.version)
        .map_or(&[], |version| &version.settings.canary.steps)
}

/// New replicas that a step asks for.
pub(crate) fn wanted(step: CanaryStep, target: u32) -> u32 {
    spec::Amount::Percent(step.weight_percent)
        .rounded_up(target)
        .clamp(target.min(1), target)
}

/// Whether the update at hand is a canary whose steps are not over.
pub(super) fn is_stepping(state: &ServiceState) -> bool {
    state.rollout_in_progress().is_some() && current(state).is_some()
}

/// Takes in what the proxy counted.
pub(crate) fn figures(context: &mut Context, figures: &CanaryFigures) {
    let now = context.now;
    let Some(rollout) = &mut context.state.rollout else {
        return;
    };
    let is_under_way = rollout.is_in_progress() && rollout.version == figures.version;
    if let Some(canary) = rollout.canary.as_mut().filter(|_| is_under_way)
        && canary.since.is_some()
        && let Some(evidence) = &mut canary.evidence
    {
        evidence.take(figures, now);
    }
}

/// Goes from step to step as far as it can now. Says whether that changed anything.
pub(crate) fn advance(context: &mut Context) -> bool {
    let before = context.state.rollout.clone();
    go_on(context);
    context.state.rollout != before
}

fn go_on(context: &mut Context) {
    if !is_stepping(&context.state) || context.state.is_frozen() {
        return;
    }
    skip_what_cannot_be_compared(context);
    while let Some((progress, step, _)) = current(&context.state) {
        let goes_on = match progress.since {
            None => begin(context, step),
            Some(since) => end(context, step, since),
        };
        if !goes_on {
            return;
        }
    }
}

/// With nothing old left, or where only numbers change, there is nothing to try.
fn skip_what_cannot_be_compared(context: &mut Context) {
    let state = &context.state;
    let desired = state.desired;
    let old = context.live_where(|replica| {
        replica.version != desired && state.traffic.contains(&replica.version)
    });
    if !old.is_empty() && state.trusted != Some(desired) {
        return;
    }
    let steps = state
        .rollout
        .as_ref()
        .map_or(0, |rollout| steps(state, rollout).len());
    if let Some(canary) = in_progress(context) {
        canary.step = u32::try_from(steps).unwrap_or(u32::MAX);
        canary.since = None;
    }
}

/// Puts the share of a step in force, if its replicas are available. Says whether it did.
fn begin(context: &mut Context, step: CanaryStep) -> bool {
    let (now, state) = (context.now, &context.state);
    let desired = state.desired;
    let available = context
        .live_where(|replica| replica.version == desired && state.is_available(replica, now));
    let target = state.target();
    let available = count(&available);
    if available < wanted(step, target) {
        if available >= placeable(state, target) {
            // Where no more can be placed before an old replica leaves, they serve as many requests as are theirs.
            context.state.traffic.insert(desired);
        }
        return false;
    }
    let analysis = analysis(state).map(|analysis| analysis.max_error_increase);
    context.state.traffic.insert(desired);
    let Some(rollout) = &mut context.state.rollout else {
        return false;
    };
    rollout.progress_at = now;
    let Some(canary) = &mut rollout.canary else {
        return false;
    };
    canary.since = Some(now);
    match &mut canary.evidence {
        Some(evidence) => evidence.next_step(),
        none => *none = analysis.map(|increase| Evidence::new(desired, increase)),
    }
    let (number, weight) = (canary.step.saturating_add(1), step.weight_percent);
    let message = format!("canary step {number}: {weight} % of requests go to version {desired}");
    context.tell(HappeningKind::CanaryStep, None, Some(desired), message);
    true
}

/// New replicas that there can be before any of them serves: what leaves to make room for more must be made up for by those
/// that have traffic.
fn placeable(state: &ServiceState, target: u32) -> u32 {
    let limits = limits(state, target);
    limits.surge.saturating_add(limits.unavailable).max(1)
}

/// Ends a step whose time has come, or the canary whose version is worse. Says whether the next
/// step has its turn.
fn end(context: &mut Context, step: CanaryStep, since: Timestamp) -> bool {
    let state = &context.state;
    let lasted = (context.now - since).as_seconds();
    let is_over = match step.until {
        StepEnd::Seconds(seconds) => lasted >= seconds,
        StepEnd::Promoted => false,
    };
    let doubt = match verdict(state) {
        Verdict::Undo { reason } => {
            let version = state.desired;
            let reason = format!(
                "as a canary with {} % of requests, {reason}",
                step.weight_percent
            );
            fail_version(context, version, reason, None);
            return false;
        }
        Verdict::Wait { reason } => Some(reason).filter(|_| is_over),
        Verdict::Promote => None,
    };
    let ends = is_over && doubt.is_none();
    if let Some(canary) = in_progress(context) {
        canary.doubt = doubt;
    }
    if ends {
        next_step(context);
    }
    ends
}

/// The step is over.
pub(super) fn next_step(context: &mut Context) {
    let now = context.now;
    if let Some(rollout) = &mut context.state.rollout
        && let Some(canary) = &mut rollout.canary
    {
        canary.step = canary.step.saturating_add(1);
        canary.since = None;
        canary.doubt = None;
        rollout.progress_at = now;
    }
}

fn verdict(state: &ServiceState) -> Verdict {
    let evidence = current(state).and_then(|(progress, ..)| progress.evidence.as_ref());
    match (evidence, analysis(state)) {
        (Some(evidence), Some(analysis)) => judge(evidence, analysis),
        _ => Verdict::Promote,
    }
}

fn analysis(state: &ServiceState) -> Option<&Analysis> {
    let version = state.version(state.desired)?;
    version.settings.canary.analysis.as_ref()
}

fn in_progress(context: &mut Context) -> Option<&mut CanaryProgress> {
    let rollout = context.state.rollout.as_mut();
    rollout
        .filter(|rollout| rollout.is_in_progress())?
        .canary
        .as_mut()
}

/// No clock of the step has run since `paused_at`.
pub(super) fn resume(rollout: &mut Rollout, paused_at: Timestamp, now: Timestamp) {
    if let Some(canary) = &mut rollout.canary
        && let Some(since) = canary.since
    {
        canary.since = Some(since + (now - paused_at));
    }
}

pub(super) fn converge(context: &mut Context, buckets: &Buckets) {
    if context.state.is_frozen() {
        return rolling::stand_still(context, buckets);
    }
    if !is_stepping(&context.state) && buckets.available_new >= buckets.target {
        return blue_green::flip(context, buckets);
    }
    serve_if_nobody_else_does(context, buckets);
    let old = count(&buckets.old);
    // Old replicas leave only to make room, or because fewer are wanted.
    let kept = buckets
        .target
        .min(buckets.ceiling().saturating_sub(buckets.wanted_new));
    // Those without traffic serve nobody.
    let desired = context.state.desired;
    let serving_new = match context.state.traffic.contains(&desired) {
        true => buckets.available_new,
        false => 0,
    };
    let spare = serving_new
        .saturating_add(old)
        .saturating_sub(buckets.least());
    let surplus = old.saturating_sub(kept).min(spare);
    for id in scale_down_order(context, &buckets.old)
        .into_iter()
        .take(surplus as usize)
    {
        end_replica(context, id, "it makes room for the canary");
    }
    let old = old.saturating_sub(surplus);
    // The old version bears nearly all of the traffic, so what is lost of it is made up for whatever
    // the new one has.
    let missing = kept
        .min(buckets.least_owed())
        .saturating_sub(old)
        .min(buckets.room());
    repair(
        context,
        context.state.trusted,
        missing.max(buckets.owed(old)),
    );
}

/// Whatever its share: where the old version gives no answers, the new one does.
fn serve_if_nobody_else_does(context: &mut Context, buckets: &Buckets) {
    let ready = |id: &ReplicaId| {
        let replica = context.state.replicas.get(id);
        replica.is_some_and(Replica::is_ready)
    };
    if !buckets.old.iter().any(ready) && buckets.new.iter().any(ready) {
        context.state.traffic.insert(context.state.desired);
    }
}

/// How the table shares requests out; what is undone keeps no more than the old version cannot bear
/// yet. `new` of `all` upstreams are of its version.
pub(crate) fn split(state: &ServiceState, new: usize, all: usize) -> Option<Split> {
    let rollout = state.rollout.as_ref()?;
    let progress = rollout.canary.as_ref()?;
    let is_mixed = state.traffic.contains(&rollout.version) && new < all;
    let goes_on = rollout.is_in_progress() || rollout.is_undone() || rollout.has_stopped();
    if rollout.mode != UpdateMode::Canary || !is_mixed || !goes_on {
        return None;
    }
    let steps = steps(state, rollout);
    let weight = |step: usize| steps.get(step).map(|step| step.weight_percent);
    let at = progress.step as usize;
    let before = at.checked_sub(1).and_then(weight).unwrap_or(0.0);
    let weight_percent = match (progress.since, weight(at)) {
        (Some(_), Some(weight)) => weight,
        (None, Some(weight)) if before == 0.0 => share_percent(new, all).min(weight),
        (None, Some(_)) => before,
        // All steps are over: its share grows with its replicas.
        (_, None) => before.max(share_percent(new, all)),
    };
    let weight_percent = if rollout.is_undone() {
        let (old, target) = (all.saturating_sub(new), state.target() as usize);
        weight_percent.min(share_percent(target.saturating_sub(old), target))
    } else {
        weight_percent
    };
    let canary = &state.version(rollout.version)?.settings.canary;
    Some(Split {
        version: rollout.version,
        weight_percent,
        header: canary.header.clone(),
        cookie: canary.cookie.clone(),
    })
}

fn share_percent(new: usize, all: usize) -> f64 {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let share = 100.0 * number(new) / number(all).max(1.0);
    (share * 100.0).round() / 100.0
}
