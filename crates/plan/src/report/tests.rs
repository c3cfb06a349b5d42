use std::collections::BTreeMap;

use super::*;
use crate::rollout::UpdateMode;

#[test]
fn each_wait_has_its_sentence() {
    let seen = Some("connection refused".to_owned());
    let cases = [
        (
            WaitingOn::Pending { replica: 4 },
            "replica 4: launch not begun",
        ),
        (
            WaitingOn::Provisioning {
                replica: 4,
                detail: None,
                elapsed_seconds: 3.9,
            },
            "replica 4: provisioning, 3s",
        ),
        (
            WaitingOn::Provisioning {
                replica: 4,
                detail: Some("running setup".to_owned()),
                elapsed_seconds: 61.0,
            },
            "replica 4: running setup, 61s",
        ),
        (
            WaitingOn::Starting {
                replica: 4,
                elapsed_seconds: 12.7,
                limit_seconds: 1200.0,
                last_probe_failure: seen.clone(),
            },
            "replica 4: starting, 12s of 1200s",
        ),
        (
            WaitingOn::Starting {
                replica: 4,
                elapsed_seconds: 12.7,
                limit_seconds: 1200.0,
                last_probe_failure: Some("503: warming up".to_owned()),
            },
            "replica 4: starting, 12s of 1200s, last probe: 503: warming up",
        ),
        (
            WaitingOn::Settling {
                replica: 4,
                elapsed_seconds: 2.0,
                limit_seconds: 10.0,
            },
            "replica 4: ready for 2s of 10s",
        ),
        (
            WaitingOn::NotReady {
                replica: 4,
                last_probe_failure: seen,
            },
            "replica 4: not ready, connection refused",
        ),
        (
            WaitingOn::NotReady {
                replica: 4,
                last_probe_failure: None,
            },
            "replica 4: not ready, no answer",
        ),
        (
            WaitingOn::Adoption { replica: 4 },
            "replica 4: to pass the new readiness probe",
        ),
        (
            WaitingOn::Backoff {
                version: 2,
                remaining_seconds: 8.2,
                failures: 1,
                last_failure: None,
            },
            "next launch in 9s after 1 failure",
        ),
        (
            WaitingOn::Backoff {
                version: 2,
                remaining_seconds: 300.0,
                failures: 7,
                last_failure: None,
            },
            "next launch in 300s after 7 failures in a row",
        ),
        (
            WaitingOn::ProxyAcknowledgement { generation: 9 },
            "the proxy to acknowledge routing table 9",
        ),
        (
            WaitingOn::Draining {
                replica: 4,
                in_flight: 3,
                remaining_seconds: 599.5,
            },
            "replica 4: draining, 3 in flight, at most 600s more",
        ),
        (WaitingOn::Stopping { replica: 4 }, "replica 4: stopping"),
    ];
    for (wait, sentence) in cases {
        assert_eq!(wait.sentence(), sentence);
        let written = serde_json::to_string(&wait).unwrap();
        assert_eq!(serde_json::from_str::<WaitingOn>(&written).unwrap(), wait);
    }
}

pub(super) fn state() -> ServiceState {
    let spec = serde_json::json!({
        "readiness_probe": {
            "path": "/health", "initial_delay_seconds": 1200.0, "timeout_seconds": 15.0,
            "endpoint_probe_interval_seconds": 10.0, "headers": {},
        },
        "replica_policy": { "min_replicas": 3 },
        "load_balancing_policy": "least_load",
        "load_balancer": { "stream_timeout_seconds": 120.0 },
        "port": 8081,
    });
    let spec: spec::ServiceSpec = serde_json::from_value(spec).unwrap();
    let first = crate::VersionState {
        version: 2,
        settings: crate::settings::UpdateSettings::of(&spec),
        spec,
        task_hash: "a".to_owned(),
        use_spot: false,
        mode: UpdateMode::Rolling,
        accepted_at: Timestamp(0),
        ever_ready: false,
        trusted_at: None,
        failure: None,
        backoff: crate::backoff::Backoff::default(),
    };
    let listen = ([127, 0, 0, 1], 30001).into();
    ServiceState::new(
        "web".to_owned(),
        "ab".to_owned(),
        listen,
        first,
        Timestamp(0),
    )
}

pub(super) fn rollout(outcome: Option<Outcome>) -> Rollout {
    Rollout {
        outcome,
        ..Rollout::new(2, UpdateMode::Rolling, Some(1), Timestamp(0))
    }
}

#[test]
fn an_update_tells_how_far_it_is_and_what_it_waits_for() {
    let mut state = state();
    let mut ready = Replica::new(3, 2, Timestamp(0));
    ready.status = ReplicaStatus::Ready;
    ready.ready_since = Some(Timestamp(0));
    let mut starting = Replica::new(4, 2, Timestamp(0));
    starting.status = ReplicaStatus::Starting;
    starting.app_started_at = Some(Timestamp(0));
    state.replicas = BTreeMap::from([(3, ready), (4, starting)]);
    state.rollout = Some(rollout(None));
    let now = Timestamp::from_seconds(12.0);
    assert_eq!(
        rollout_sentence(&state, &rollout(None), now),
        "Updating to version 2 (rolling): 1 of 3 new replicas ready, waiting for \
         replica 4: starting, 12s of 1200s"
    );
    state.replicas.clear();
    assert_eq!(
        rollout_sentence(&state, &rollout(None), now),
        "Updating to version 2 (rolling): 0 of 3 new replicas ready, waiting for \
         old replicas to leave"
    );
}

#[test]
fn an_update_tells_how_it_ended() {
    let (state, at) = (state(), Timestamp(0));
    let failed = |back_to| Outcome::Failed {
        at,
        reason: "replica 3: run exited with code 3".to_owned(),
        back_to,
        stays: false,
    };
    let cases = [
        (Outcome::Succeeded { at }, "Updated to version 2 (rolling)"),
        (
            failed(Some(1)),
            "Update to version 2 (rolling) failed: replica 3: run exited with code 3; version \
             1 goes on serving",
        ),
        (
            failed(None),
            "Update to version 2 (rolling) failed: replica 3: run exited with code 3; there \
             was no good version to go back to",
        ),
        (
            Outcome::Failed {
                at,
                reason: "replica 3: run exited with code 3".to_owned(),
                back_to: None,
                stays: true,
            },
            "Update to version 2 (rolling) failed: replica 3: run exited with code 3; it stays as it is \
             (auto_rollback: false): `sky serve abort web` goes back, `sky serve update web` replaces it",
        ),
        (
            Outcome::Aborted { at, back_to: 1 },
            "Update to version 2 (rolling) was aborted; version 1 goes on serving",
        ),
        (
            Outcome::Superseded { at, by: 3 },
            "Update to version 2 (rolling) was superseded by version 3",
        ),
    ];
    for (outcome, sentence) in cases {
        let rollout = rollout(Some(outcome));
        assert_eq!(rollout_sentence(&state, &rollout, at), sentence);
        let written = serde_json::to_string(&rollout).unwrap();
        assert_eq!(serde_json::from_str::<Rollout>(&written).unwrap(), rollout);
    }
}

#[test]
fn a_service_is_ready_only_if_somebody_answers_at_its_endpoint() {
    let mut state = state();
    assert_eq!(service_status(&state), ServiceStatus::ControllerInit);
    let step = crate::step(&state, Timestamp(0), &crate::Event::Tick);
    assert_eq!(service_status(&step.state), ServiceStatus::ReplicaInit);
    state = step.state;
    // Ready, but of a version that has no traffic yet.
    for replica in state.replicas.values_mut() {
        replica.status = ReplicaStatus::Ready;
    }
    assert_eq!(service_status(&state), ServiceStatus::ReplicaInit);
}
