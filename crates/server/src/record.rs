//! Planner state → what the API shows of a service. A pure view.

use api::{ReplicaRecord, RolloutRecord, RolloutState, ServiceRecord};
use plan::replica::Replica;
use plan::report;
use plan::rollout::{Outcome, Rollout};
use plan::status::ReplicaStatus;
use plan::{ServiceState, Timestamp, VersionState};

/// The record of a service at `now`.
pub(crate) fn service(
    state: &ServiceState,
    revision: u64,
    requested_resources: String,
    now: Timestamp,
) -> ServiceRecord {
    let newest = state.version(state.newest());
    let shown = newest.or_else(|| state.version(state.desired));
    let replicas: Vec<ReplicaRecord> = state
        .replicas
        .values()
        .map(|known| replica(state, known, now))
        .collect();
    let count = |wanted: fn(ReplicaStatus) -> bool| {
        let count = replicas
            .iter()
            .filter(|replica| wanted(replica.status))
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    ServiceRecord {
        name: state.name.clone(),
        revision,
        version: state.newest(),
        desired_version: state.desired,
        active_versions: state.active_versions(),
        status: report::service_status(state),
        message: report::service_message(state, now),
        uptime_since: state.first_ready_at.map(Timestamp::as_seconds),
        created_at: state.created_at.as_seconds(),
        endpoint: Some(endpoint(state)),
        endpoint_ready: state.table.is_some() && state.live.acknowledged >= state.generation(),
        endpoint_error: state.endpoint_error.clone(),
        target_replicas: state.target(),
        ready_replicas: count(|status| status == ReplicaStatus::Ready),
        total_replicas: count(|status| !status.is_failed()),
        policy: shown.map(policy).unwrap_or_default(),
        load_balancing_policy: shown.map(balancing).unwrap_or_default(),
        requested_resources,
        tls_encrypted: shown.is_some_and(|version| version.spec.tls.is_some()),
        rollout: state
            .rollout
            .as_ref()
            .map(|known| rollout(state, known, now)),
        replicas,
    }
}

/// Where users reach the service. An endpoint that listens everywhere is shown as this machine.
pub(crate) fn endpoint(state: &ServiceState) -> String {
    let listen = state.listen;
    if listen.ip().is_unspecified() {
        format!("127.0.0.1:{}", listen.port())
    } else {
        listen.to_string()
    }
}

fn policy(version: &VersionState) -> String {
    version.spec.autoscaling_policy_string()
}

fn balancing(version: &VersionState) -> String {
    let value = serde_json::to_value(version.spec.load_balancing_policy);
    value
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn rollout(state: &ServiceState, rollout: &Rollout, now: Timestamp) -> RolloutRecord {
    let (progress, ended_at) = match &rollout.outcome {
        None => (RolloutState::InProgress, None),
        Some(Outcome::Succeeded { at }) => (RolloutState::Succeeded, Some(*at)),
        Some(Outcome::Failed { at, .. }) => (RolloutState::Failed, Some(*at)),
        Some(Outcome::Aborted { at, .. }) => (RolloutState::Aborted, Some(*at)),
        Some(Outcome::Superseded { at, .. }) => (RolloutState::Superseded, Some(*at)),
    };
    let waiting_on = if rollout.is_in_progress() {
        report::waiting_on(state, rollout.version, now)
    } else {
        Vec::new()
    };
    RolloutRecord {
        version: rollout.version,
        mode: rollout.mode,
        state: progress,
        summary: report::rollout_sentence(state, rollout, now),
        available_replicas: report::available(state, rollout.version, now),
        wanted_replicas: state.target(),
        started_at: rollout.started_at.as_seconds(),
        ended_at: ended_at.map(Timestamp::as_seconds),
        paused: rollout.is_in_progress() && rollout.paused_at.is_some(),
        undo_until: state.warm.map(|warm| warm.until.as_seconds()),
        waiting_on: waiting_on
            .iter()
            .filter_map(|reason| serde_json::to_value(reason).ok())
            .collect(),
    }
}

fn replica(state: &ServiceState, replica: &Replica, now: Timestamp) -> ReplicaRecord {
    let ending = report::ending_waits_on(state, replica, now).map(|wait| wait.sentence());
    ReplicaRecord {
        replica_id: replica.id,
        version: replica.version,
        status: replica.status,
        status_detail: replica
            .detail
            .clone()
            .filter(|_| replica.status == ReplicaStatus::Provisioning),
        reason: replica.reason.clone().or(ending),
        // An endpoint is shown once the app has been seen to answer there.
        endpoint: replica
            .endpoint
            .filter(|_| replica.first_ready_at.is_some())
            .map(|address| format!("http://{address}")),
        launched_at: replica.launched_at.map(Timestamp::as_seconds),
        ready_since: replica.ready_since.map(Timestamp::as_seconds),
        infra: replica.infra.clone(),
        resources: replica.resources.clone(),
        resources_full: replica.resources_full.clone(),
        is_spot: state
            .version(replica.launched_version)
            .is_some_and(|version| version.use_spot),
        in_flight: state.live.in_flight.get(&replica.id).copied(),
    }
}
