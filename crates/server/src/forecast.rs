//! What an update would do: the planner itself, run on a copy of the service in an ideal world.
//!
//! In that world launches take as long as they were measured to take, every probe of an app that has started passes,
//! the proxy acknowledges every table at once, and no request is in flight. The target stays as it is, a canary is found
//! good, and a person promotes at once. Time passes in steps of a second; nothing outside the copy changes.

mod world;

use std::collections::BTreeSet;

use api::dry_run::{DryRun, Forecast, ForecastStep, Measured};
use plan::rollout::Outcome;
use plan::routing::ReplicaId;
use plan::{Event, Replica, ServiceState, Timestamp, VersionState, report};
use spec::StepEnd;

use world::World;

/// No autoscaler decides anything within that time.
const FROZEN_SECONDS: f64 = 1e9;
/// Longer forecasts are of no use to anybody.
const HORIZON_SECONDS: f64 = 48.0 * 3600.0;
/// Steps that are told.
const STEPS_TOLD: usize = 200;

/// What making `version` the desired one would come to.
pub(crate) fn update(state: &ServiceState, version: VersionState, now: Timestamp) -> DryRun {
    let measured = measure(state);
    let settings = version.settings.clone();
    let (number, mode) = (version.version, version.mode);
    let (version, promotions) = ideal(version);
    let mut copy = state.clone();
    copy.versions.values_mut().for_each(freeze);
    let before = occupied(&copy);
    let mut world = World::new(copy, now, measured.as_ref());
    world.happens(&Event::Update {
        version: Box::new(version),
    });
    world.run(HORIZON_SECONDS, |world| is_over(world.state(), number));
    let after = world.state();
    let runs = |id: &ReplicaId| after.replicas.get(id).filter(|replica| replica.is_live());
    let live: Vec<ReplicaId> = live(state).map(|replica| replica.id).collect();
    let restarted: BTreeSet<ReplicaId> = world.restarted().clone();
    let succeeds = ended_at(after).is_some();
    let steps = world.told().iter().take(STEPS_TOLD);
    DryRun {
        name: state.name.clone(),
        version: number,
        mode,
        reused: live
            .iter()
            .copied()
            .filter(|id| !restarted.contains(id) && runs(id).is_some_and(|r| r.version == number))
            .collect(),
        restarted: restarted.iter().copied().collect(),
        launched: world.launched(),
        stopped: live
            .iter()
            .copied()
            .filter(|id| runs(id).is_none())
            .collect(),
        replicas_now: before,
        peak_replicas: world.peak(),
        replicas_after: occupied(after),
        serving_now: world::serving(state),
        lowest_serving: world.lowest_serving(),
        // The one infra that there is, this machine, costs nothing.
        extra_cost_per_hour: 0.0,
        outcome: if succeeds {
            Forecast::Succeeds
        } else {
            let rollout = after.rollout.as_ref();
            let told = rollout.map(|rollout| report::rollout_sentence(after, rollout, world.now()));
            Forecast::Waits {
                summary: told.unwrap_or_else(|| "it does not begin".to_owned()),
            }
        },
        duration_seconds: measured
            .as_ref()
            .filter(|_| succeeds)
            .and(ended_at(after))
            .map(|at| (at - now).as_seconds()),
        promotions,
        drain_timeout_seconds: settings.drain_timeout_seconds,
        measured,
        steps: steps
            .map(|(at, happening)| ForecastStep {
                at_seconds: (*at - now).as_seconds(),
                kind: happening.kind.as_str().to_owned(),
                message: happening.message.clone(),
            })
            .collect(),
    }
}

fn live(state: &ServiceState) -> impl Iterator<Item = &Replica> {
    state.replicas.values().filter(|replica| replica.is_live())
}

/// Replicas that take room: those whose end is not complete included.
fn occupied(state: &ServiceState) -> u32 {
    let there = |replica: &&Replica| {
        let ending = replica.ending.as_ref();
        ending.is_none_or(|ending| !ending.released)
    };
    u32::try_from(state.replicas.values().filter(there).count()).unwrap_or(u32::MAX)
}

fn outcome(state: &ServiceState) -> Option<&Outcome> {
    state
        .rollout
        .as_ref()
        .and_then(|rollout| rollout.outcome.as_ref())
}

fn ended_at(state: &ServiceState) -> Option<Timestamp> {
    match outcome(state) {
        Some(Outcome::Succeeded { at }) => Some(*at),
        _ => None,
    }
}

/// Whether the update has ended and what it replaced is gone.
fn is_over(state: &ServiceState, number: u32) -> bool {
    let failed = matches!(outcome(state), Some(Outcome::Failed { .. }));
    let old = live(state).any(|replica| replica.version != number);
    let leaving = state.replicas.values().any(|replica| {
        let ending = replica.ending.as_ref();
        ending.is_some_and(|ending| !ending.released)
    });
    outcome(state).is_some() && !leaving && (failed || !old)
}

/// The version as an ideal world treats it, and how many times a person has to promote it.
fn ideal(mut version: VersionState) -> (VersionState, u32) {
    freeze(&mut version);
    let mut promotions = 0;
    let canary = &mut version.settings.canary;
    canary.analysis = None;
    for step in &mut canary.steps {
        if step.until == StepEnd::Promoted {
            step.until = StepEnd::Seconds(0.0);
            promotions += 1;
        }
    }
    let waits = version.mode == plan::rollout::UpdateMode::Canary;
    (version, if waits { promotions } else { 0 })
}

/// The target stays as it is.
fn freeze(version: &mut VersionState) {
    let policy = &mut version.spec.replica_policy;
    policy.upscale_delay_seconds = Some(FROZEN_SECONDS);
    policy.downscale_delay_seconds = Some(FROZEN_SECONDS);
}

/// How long replicas of a service took to become ready, by those that there are.
fn measure(state: &ServiceState) -> Option<Measured> {
    let times = state.replicas.values().filter_map(|replica| {
        let (launched, started) = (replica.launched_at?, replica.app_started_at?);
        let ready = replica.first_ready_at?;
        Some((
            (started - launched).as_seconds(),
            (ready - started).as_seconds(),
        ))
    });
    let (provision, start): (Vec<f64>, Vec<f64>) = times.unzip();
    Some(Measured {
        replicas: u32::try_from(start.len()).unwrap_or(u32::MAX),
        provision_seconds: median(provision)?,
        start_seconds: median(start)?,
    })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).map(|value| value.max(0.0))
}

#[cfg(test)]
mod tests;
