//! Takes events into the state: what providers saw, what probes found, what users asked for, and
//! clocks that ran out. Decides nothing about how many replicas of which version there shall be.

mod heard;

use crate::autoscale::QPS_WINDOW_SECONDS;
use crate::backoff::FORGIVE_AFTER_SECONDS;
use crate::context::Context;
use crate::event::Event;
use crate::happening::HappeningKind;
use crate::observation::{ErrorClass, Exit, Observation, Phase};
use crate::replica::Replica;
use crate::rollout::{self, end_replica};
use crate::routing::{ApiKeyHash, ReplicaId, Version};
use crate::state::ServicePhase;
use crate::status::ReplicaStatus;
use crate::{ending, probe, verify};

/// A machine that was lost younger than this is not replaced at once.
const HOT_LOOP_SECONDS: f64 = 10.0;
/// So long after the server was down no failed probe condemns a replica: that its machine was lost meanwhile may not have
/// been seen yet, and is nobody's fault.
const LOOK_AROUND_SECONDS: f64 = 5.0;

pub(crate) fn apply(context: &mut Context, event: &Event) {
    match event {
        Event::Tick => {}
        Event::Update { version } => rollout::update(context, version),
        Event::Steer { what } => rollout::steer(context, *what),
        Event::Rollback { to } => rollout::roll_back(context, *to),
        Event::CanaryFigures { figures } => rollout::canary::figures(context, figures),
        Event::Verified {
            replica,
            version,
            failure,
        } => verify::verified(context, *replica, *version, failure.as_deref()),
        Event::Down { now, purge } => down(context, *now, *purge),
        Event::TerminateReplica {
            replica,
            now,
            purge,
        } => {
            terminate_replica(context, *replica, *now, *purge);
        }
        Event::ApiKeys { keys } => api_keys(context, keys.as_deref()),
        Event::Launched { replica } => launched(context, *replica),
        Event::LaunchFailed {
            replica,
            class,
            message,
        } => {
            launch_failed(context, *replica, *class, message);
        }
        Event::Observed {
            replica,
            observation,
        } => observed(context, *replica, observation),
        Event::Probed {
            replica,
            version,
            failure,
        } => {
            probed(context, *replica, *version, failure.as_deref());
        }
        Event::Terminated { replica } => ending::terminated(context, *replica),
        Event::TerminateFailed { replica, message } => {
            ending::terminate_failed(context, *replica, message);
        }
        Event::Acknowledged {
            generation,
            in_flight,
        } => heard::acknowledged(context, *generation, in_flight),
        Event::TableRefused { generation, reason } => {
            heard::table_refused(context, *generation, reason);
        }
        Event::Traffic {
            generation,
            in_flight,
            arrivals,
        } => {
            heard::counted(context, *generation, in_flight);
            let now = context.now;
            context.state.autoscaler.collect(arrivals, now);
        }
        Event::ProxyConnected => context.state.live = crate::state::Live::default(),
        Event::Withdrawn => {
            if context.state.phase == ServicePhase::Withdrawing {
                context.state.phase = ServicePhase::Gone;
                context.actions.push(crate::Action::Forget);
            }
        }
    }
}

fn api_keys(context: &mut Context, keys: Option<&[ApiKeyHash]>) {
    if context.state.api_keys.as_deref() == keys {
        return;
    }
    context.state.api_keys = keys.map(<[ApiKeyHash]>::to_vec);
    let message = match keys.map(<[ApiKeyHash]>::len) {
        None => "the API keys are forgotten".to_owned(),
        Some(1) => "1 API key may use the endpoint".to_owned(),
        Some(count) => format!("{count} API keys may use the endpoint"),
    };
    context.tell(HappeningKind::ApiKeysChanged, None, None, message);
}

fn down(context: &mut Context, immediately: bool, purge: bool) {
    let purge_before = match context.state.phase {
        ServicePhase::Running => {
            context.state.phase = ServicePhase::ShuttingDown {
                since: context.now,
                purge,
            };
            let message = "the service is being taken down".to_owned();
            context.tell(HappeningKind::ShuttingDown, None, None, message);
            purge
        }
        ServicePhase::ShuttingDown {
            since,
            purge: before,
        } => {
            let purge = purge || before;
            context.state.phase = ServicePhase::ShuttingDown { since, purge };
            purge
        }
        ServicePhase::Withdrawing | ServicePhase::Gone => return,
    };
    let ids: Vec<ReplicaId> = context.state.replicas.keys().copied().collect();
    for id in ids {
        end_replica(context, id, "the service is being taken down");
        ending::hurry(context, id, immediately, purge_before);
    }
}

fn terminate_replica(context: &mut Context, id: ReplicaId, immediately: bool, purge: bool) {
    end_replica(context, id, "asked for by the user");
    ending::hurry(context, id, immediately, purge);
}

fn launched(context: &mut Context, id: ReplicaId) {
    let now = context.now;
    let Some(replica) = context.state.replicas.get_mut(&id) else {
        return;
    };
    replica.launched_at.get_or_insert(now);
    if replica.is_restarting() {
        replica.restart = None;
    }
    if replica.status == ReplicaStatus::Pending {
        context.set_status(id, ReplicaStatus::Provisioning, None);
    }
}

fn launch_failed(context: &mut Context, id: ReplicaId, class: ErrorClass, message: &str) {
    let reason = format!("could not be launched: {message}");
    let replica = context.state.replicas.get(&id);
    let is_restarting = replica.is_some_and(Replica::is_restarting);
    if context.set_status(id, ReplicaStatus::FailedProvision, Some(&reason)) {
        if is_restarting {
            // Something of before may be there.
            ending::begin_now(context, id);
        } else {
            ending::released(context, id);
        }
        if class == ErrorClass::UserFault {
            rollout::own_fault(context, id);
        } else {
            back_off(context, id);
            rollout::launch_failed(context, id, class, message);
        }
    } else if context
        .state
        .replicas
        .get(&id)
        .is_some_and(|replica| replica.ending.is_some())
    {
        ending::terminated(context, id);
    }
}

/// Delays further launches of the replica's version without holding anything against it.
fn back_off(context: &mut Context, id: ReplicaId) {
    let (now, seed) = (context.now, context.state.incarnation.clone());
    let Some(replica) = context.state.replicas.get(&id) else {
        return;
    };
    let (number, lived) = (replica.version, replica.lived_seconds(now));
    if let Some(version) = context.version_mut(number) {
        version.backoff.fail(now, lived, &seed);
    }
}

fn observed(context: &mut Context, id: ReplicaId, observation: &Observation) {
    let Some(replica) = context.state.replicas.get_mut(&id) else {
        return;
    };
    if !replica.is_live() {
        let gone = match observation.phase {
            Phase::Exited(_) | Phase::Lost { .. } => true,
            Phase::Absent => replica.launched_at.is_some(),
            _ => false,
        };
        if gone {
            // Nobody is left to answer the requests that its end waits for.
            ending::nothing_to_drain(context, id);
        }
        return;
    }
    if replica.is_restarting() && !matches!(observation.phase, Phase::Lost { .. }) {
        return;
    }
    note_places(replica, observation);
    match &observation.phase {
        Phase::Absent if replica.launched_at.is_none() => {}
        Phase::Absent => lost(context, id, "it is not there any more"),
        Phase::Provisioning { detail } => {
            replica.detail.clone_from(detail);
            launched(context, id);
        }
        Phase::SettingUp { since } => {
            replica.detail = Some("running setup".to_owned());
            replica.setup_started_at.get_or_insert(*since);
            launched(context, id);
        }
        Phase::Running { since } => {
            replica.app_started_at.get_or_insert(*since);
            launched(context, id);
            context.set_status(id, ReplicaStatus::Starting, None);
        }
        Phase::Exited(exit) => {
            launched(context, id);
            exited(context, id, exit);
        }
        Phase::Lost { reason } => {
            launched(context, id);
            lost(context, id, reason);
        }
    }
}

/// Takes over where the replica is and what it has; what is not told now stays as it was.
fn note_places(replica: &mut Replica, observation: &Observation) {
    replica.detail = None;
    replica.endpoint = observation.endpoint.or(replica.endpoint);
    for (known, seen) in [
        (&mut replica.infra, &observation.infra),
        (&mut replica.resources, &observation.resources),
        (&mut replica.resources_full, &observation.resources_full),
    ] {
        if seen.is_some() {
            known.clone_from(seen);
        }
    }
}

fn exited(context: &mut Context, id: ReplicaId, exit: &Exit) {
    let reason = exit.sentence();
    if let Some(replica) = context.state.replicas.get_mut(&id) {
        replica.exit = Some(exit.without_log());
    }
    if context.set_status(id, ReplicaStatus::Failed, Some(&reason)) {
        ending::begin_now(context, id);
        rollout::own_fault(context, id);
    }
}

fn lost(context: &mut Context, id: ReplicaId, why: &str) {
    let created = context
        .state
        .replicas
        .get(&id)
        .map(|replica| replica.created_at);
    let lived = created.map_or(0.0, |created| (context.now - created).as_seconds());
    let reason = format!("lost: {why}");
    if context.set_status(id, ReplicaStatus::Preempted, Some(&reason)) {
        ending::begin_now(context, id);
        if bug!(BlamesLostMachines) {
            rollout::own_fault(context, id);
        }
        // Repaired at once, unless that would make a hot loop of machines that vanish as soon as
        // they are there.
        if lived < HOT_LOOP_SECONDS {
            back_off(context, id);
        }
    }
}

fn probed(context: &mut Context, id: ReplicaId, version: Version, failure: Option<&str>) {
    let Some(replica) = context.state.replicas.get_mut(&id) else {
        return;
    };
    if !matches!(
        replica.status,
        ReplicaStatus::Starting | ReplicaStatus::Ready | ReplicaStatus::NotReady
    ) {
        return;
    }
    if version != replica.version {
        return rollout::adoption_probed(context, id, version, failure);
    }
    let now = context.now;
    match failure {
        None => {
            replica.failing_since = None;
            replica.last_probe_failure = None;
            passed(context, id);
        }
        Some(failure) => {
            replica.failing_since.get_or_insert(now);
            replica.last_probe_failure = Some(failure.to_owned());
            let reason = format!("readiness probe failed: {failure}");
            context.set_status(id, ReplicaStatus::NotReady, Some(&reason));
            // Decided when a probe has failed, not when a clock runs out: a server that was down
            // for an hour must ask before it condemns.
            initial_delay(context, id);
            failure_threshold(context, id);
        }
    }
}

pub(crate) fn passed(context: &mut Context, id: ReplicaId) {
    if verify::holds_back(context, id) || !context.set_status(id, ReplicaStatus::Ready, None) {
        return;
    }
    let now = context.now;
    let Some(replica) = context.state.replicas.get_mut(&id) else {
        return;
    };
    replica.reason = None;
    replica.ready_since = Some(now);
    replica.first_ready_at.get_or_insert(now);
    let version = replica.version;
    context.state.first_ready_at.get_or_insert(now);
    // Where there is something to go back to, what was given up stays so.
    let is_last = version == context.state.desired
        && context
            .state
            .trusted
            .is_none_or(|trusted| trusted == version);
    if let Some(known) = context.version_mut(version) {
        known.ever_ready = true;
        if is_last {
            // Given up too early, with nothing to go back to: it has shown that it works after all.
            known.failure = None;
        }
    }
}

/// Notices what only the passing of time brings about.
pub(crate) fn clocks(context: &mut Context) {
    for id in context.live_where(|_| true) {
        unreachable(context, id);
        forgive(context, id);
    }
}

/// A replica whose address never became known cannot be probed, so its time is watched here.
fn unreachable(context: &mut Context, id: ReplicaId) {
    let now = context.now;
    if let Some(replica) = context.state.replicas.get_mut(&id)
        && replica.status == ReplicaStatus::Starting
        && replica.endpoint.is_none()
    {
        replica.failing_since.get_or_insert(now);
        replica.last_probe_failure = Some("its address is not known".to_owned());
        initial_delay(context, id);
    }
}

fn initial_delay(context: &mut Context, id: ReplicaId) {
    let Some(replica) = context.state.replicas.get(&id) else {
        return;
    };
    let Some(version) = context.state.version(replica.version) else {
        return;
    };
    let (Some(started), Some(_)) = (replica.app_started_at, replica.failing_since) else {
        return;
    };
    let limit = version.spec.readiness_probe.initial_delay_seconds;
    if replica.status != ReplicaStatus::Starting || (context.now - started).as_seconds() < limit {
        return;
    }
    if !context
        .state
        .awake
        .for_seconds(LOOK_AROUND_SECONDS, context.now)
    {
        return;
    }
    let seen = replica.last_probe_failure.as_deref().unwrap_or("no answer");
    let probe = probe::sentence(&version.spec.readiness_probe);
    let reason = format!("{probe} did not succeed within {limit}s of its start: {seen}");
    if context.set_status(id, ReplicaStatus::FailedInitialDelay, Some(&reason)) {
        ending::begin_now(context, id);
        rollout::own_fault(context, id);
    }
}

fn failure_threshold(context: &mut Context, id: ReplicaId) {
    let Some(replica) = context.state.replicas.get(&id) else {
        return;
    };
    let Some(version) = context.state.version(replica.version) else {
        return;
    };
    let Some(failing_since) = replica.failing_since else {
        return;
    };
    let probe = &version.spec.readiness_probe;
    let limit = probe
        .consecutive_failure_threshold_timeout
        .unwrap_or(spec::service::DEFAULT_CONSECUTIVE_FAILURE_SECONDS);
    if replica.status != ReplicaStatus::NotReady
        || (context.now - failing_since).as_seconds() < limit
    {
        return;
    }
    if !context
        .state
        .awake
        .for_seconds(LOOK_AROUND_SECONDS, context.now)
    {
        return;
    }
    let seen = replica.last_probe_failure.as_deref().unwrap_or("no answer");
    let reason = format!("{} failed for {limit}s: {seen}", probe::sentence(probe));
    if context.set_status(id, ReplicaStatus::FailedProbing, Some(&reason)) {
        // It may still be answering somebody, however slowly.
        ending::begin_draining(context, id);
        rollout::own_fault(context, id);
    }
}

/// A replica launched after the last failure that has stayed ready long enough clears the version's
/// back-off.
fn forgive(context: &mut Context, id: ReplicaId) {
    let now = context.now;
    let Some(replica) = context.state.replicas.get(&id) else {
        return;
    };
    let (created, number) = (replica.created_at, replica.version);
    if !replica.is_available(now, FORGIVE_AFTER_SECONDS) {
        return;
    }
    if let Some(version) = context.version_mut(number)
        && version
            .backoff
            .last_failure_at
            .is_some_and(|failed| created >= failed)
    {
        version.backoff.reset();
    }
}

/// Lets the autoscaler decide when its time has come.
pub(crate) fn autoscale(context: &mut Context) {
    let (now, desired) = (context.now, context.state.desired);
    let Some(policy) = context
        .state
        .version(desired)
        .map(|v| v.spec.replica_policy.clone())
    else {
        return;
    };
    let before = context.state.autoscaler.target;
    let awake = context.state.awake;
    // A service that is as young as this has forgotten nothing.
    let is_new = awake
        .since
        .is_some_and(|since| since == context.state.created_at);
    let has_window = is_new || awake.for_seconds(QPS_WINDOW_SECONDS, now);
    let autoscaler = &mut context.state.autoscaler;
    if autoscaler.decide_knowing(&policy, now, has_window) {
        let state = &context.state.autoscaler;
        let (after, rate) = (state.target, state.requests_per_second());
        let message = format!("target {before} → {after} ({rate:.2} requests/s in the last 60s)");
        context.tell(HappeningKind::TargetChanged, None, Some(desired), message);
    }
}
