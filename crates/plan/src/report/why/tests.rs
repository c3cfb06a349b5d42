use super::*;
use crate::observation::Stage;
use crate::report::tests::{rollout, state};
use crate::rollout::Outcome;
use crate::rollout::canary::CanaryProgress;
use crate::state::VersionFailure;

fn replica(id: ReplicaId, status: ReplicaStatus) -> Replica {
    let mut replica = Replica::new(id, 2, Timestamp(0));
    replica.status = status;
    replica.launched_at = Some(Timestamp(0));
    replica.app_started_at = Some(Timestamp(0));
    replica
}

fn with(state: &mut ServiceState, replicas: impl IntoIterator<Item = Replica>) {
    state.replicas = replicas
        .into_iter()
        .map(|replica| (replica.id, replica))
        .collect();
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

#[test]
fn an_update_that_waits_says_for_what_and_how_long() {
    let mut state = state();
    let mut starting = replica(4, ReplicaStatus::Starting);
    starting.last_probe_failure = Some("503 Service Unavailable: warming up".to_owned());
    with(&mut state, [starting]);
    state.rollout = Some(rollout(None));
    let why = why(&state, at(12.0));
    assert_eq!(
        why.sentence,
        "Updating to version 2 (rolling): 0 of 3 new replicas ready, waiting for replica 4: starting, 12s of \
         1200s, last probe: 503 Service Unavailable: warming up"
    );
    assert_eq!((why.replica, why.version), (Some(4), 2));
    assert_eq!(
        why.last_probe_failure.as_deref(),
        Some("503 Service Unavailable: warming up")
    );
    let left: Vec<(&str, f64)> = why
        .deadlines
        .iter()
        .map(|deadline| (deadline.what.as_str(), deadline.remaining_seconds))
        .collect();
    let expected = [
        (
            "replica 4 fails unless it passes its readiness probe",
            1188.0,
        ),
        (
            "the update to version 2 fails unless it gets further",
            1788.0,
        ),
    ];
    assert_eq!(left, expected);
}

#[test]
fn a_failed_update_names_the_replica_that_showed_it() {
    let mut state = state();
    let mut failed = replica(3, ReplicaStatus::Failed);
    failed.reason = Some("run exited with code 1; last line of its log: boom".to_owned());
    failed.exit = Some(Exit {
        stage: Stage::Run,
        code: Some(1),
        signal: None,
        at: at(1.0),
        log_tail: Vec::new(),
        hint: None,
    });
    with(&mut state, [failed]);
    let reason = "replica 3: run exited with code 1; last line of its log: boom".to_owned();
    state.rollout = Some(rollout(Some(Outcome::Failed {
        at: at(1.0),
        reason: reason.clone(),
        back_to: Some(1),
        stays: false,
    })));
    if let Some(version) = state.versions.get_mut(&2) {
        version.failure = Some(VersionFailure {
            at: at(1.0),
            reason,
            replica_id: Some(3),
        });
    }
    let why = why(&state, at(12.0));
    assert_eq!(
        why.sentence,
        "Update to version 2 (rolling) failed: replica 3: run exited with code 1; last line of its log: boom; \
         version 1 goes on serving"
    );
    assert_eq!(
        why.also,
        ["Replica 3 is FAILED: run exited with code 1; last line of its log: boom"]
    );
    assert_eq!(why.replica, Some(3));
    assert_eq!(why.exit.and_then(|exit| exit.code), Some(1));
    assert!(why.deadlines.is_empty());
}

#[test]
fn no_room_is_said_with_the_providers_words() {
    let mut state = state();
    let mut failed = replica(7, ReplicaStatus::FailedProvision);
    failed.reason = Some("could not be launched: no GPU is free".to_owned());
    with(&mut state, [failed]);
    if let Some(version) = state.versions.get_mut(&2) {
        version.backoff.failures = 2;
        version.backoff.not_before = Some(at(20.0));
    }
    let why = why(&state, at(12.0));
    assert_eq!(
        why.sentence,
        "0 of 3 replicas ready, waiting for next launch in 8s after 2 failures in a row (could not be \
         launched: no GPU is free)"
    );
    assert_eq!(why.replica, Some(7));
}

#[test]
fn nothing_to_say_is_said_too() {
    let mut state = state();
    let mut ready = replica(1, ReplicaStatus::Ready);
    ready.ready_since = Some(Timestamp(0));
    ready.endpoint = Some(([10, 0, 0, 1], 8081).into());
    with(
        &mut state,
        [
            ready.clone(),
            Replica {
                id: 2,
                ..ready.clone()
            },
            Replica { id: 3, ..ready },
        ],
    );
    state.traffic.insert(2);
    let step = crate::step(&state, at(20.0), &crate::Event::Tick);
    let told = why(&step.state, at(20.0));
    assert_eq!(
        told.sentence,
        "The service is READY: 3 of 3 replicas of version 2 ready"
    );
    assert!(told.also.is_empty() && told.deadlines.is_empty() && told.replica.is_none());
    let told = why_replica(&step.state, 2, at(20.0)).unwrap();
    assert_eq!(
        told.sentence,
        "Replica 2 is READY: it serves, 0 requests in flight"
    );
    state.autoscaler.target = 0;
    state.replicas.clear();
    let told = why(&state, at(20.0)).sentence;
    assert!(
        told.ends_with("no replica of version 2 is wanted now"),
        "{told}"
    );
}

#[test]
fn each_replica_has_its_own_sentence() {
    let mut state = state();
    let mut lost = replica(1, ReplicaStatus::NotReady);
    lost.failing_since = Some(at(2.0));
    lost.reason = Some("readiness probe failed: no answer within 15s".to_owned());
    let mut draining = replica(2, ReplicaStatus::ShuttingDown);
    draining.reason = Some("version 3 takes its place".to_owned());
    draining.routed = crate::replica::Routed::LeftIn(1);
    draining.ending = Some(crate::replica::Ending {
        since: at(0.0),
        drain_deadline: at(600.0),
        terminate_asked: false,
        attempts: 0,
        retry_at: None,
        released: false,
        purge: false,
    });
    let provisioning = replica(3, ReplicaStatus::Provisioning);
    with(&mut state, [lost, draining, provisioning]);
    state.live.acknowledged = 1;
    state.live.counted_at = 1;
    state.live.in_flight.insert(2, 3);
    let told = |id| why_replica(&state, id, at(12.0)).unwrap();
    assert_eq!(
        told(1).sentence,
        "Replica 1 is NOT_READY: readiness probe failed: no answer within 15s"
    );
    assert_eq!(told(1).deadlines[0].remaining_seconds, 170.0);
    assert_eq!(
        told(2).sentence,
        "Replica 2 is SHUTTING_DOWN: version 3 takes its place; draining, 3 in flight, at most 588s more"
    );
    assert_eq!(told(2).deadlines[0].remaining_seconds, 588.0);
    assert_eq!(
        told(3).sentence,
        "Replica 3 is PROVISIONING: provisioning, 12s"
    );
    assert!(told(3).deadlines.is_empty());
    assert!(why_replica(&state, 9, at(12.0)).is_none());
}

/// A canary under trial waits as long as its step says, or for a person: no clock condemns it.
#[test]
fn a_canary_under_trial_has_no_deadline() {
    let mut state = state();
    let mut tried = rollout(None);
    state.rollout = Some(tried.clone());
    let until = |state: &ServiceState| why(state, at(12.0)).deadlines.len();
    assert_eq!(until(&state), 1, "it must get further before");
    tried.canary = Some(CanaryProgress {
        step: 0,
        since: Some(at(5.0)),
        evidence: None,
        doubt: None,
    });
    state.rollout = Some(tried);
    assert_eq!(until(&state), 0);
}
