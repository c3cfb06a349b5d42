use plan::rollout::UpdateMode;
use plan::settings::UpdateSettings;

use super::*;

const BEGUN: Timestamp = Timestamp(1_700_000_000_000_000);

fn version(number: u32, hash: &str, replicas: u32, mode: UpdateMode) -> VersionState {
    let spec = serde_json::json!({
        "readiness_probe": {
            "path": "/health", "initial_delay_seconds": 1200.0, "timeout_seconds": 15.0,
            "endpoint_probe_interval_seconds": 10.0, "headers": {},
        },
        "replica_policy": { "min_replicas": replicas },
        "load_balancing_policy": "least_load",
        "load_balancer": { "stream_timeout_seconds": 120.0 },
        "port": 8081,
    });
    let spec: spec::ServiceSpec = serde_json::from_value(spec).unwrap();
    VersionState {
        version: number,
        settings: UpdateSettings::of(&spec),
        spec,
        task_hash: hash.to_owned(),
        use_spot: false,
        mode,
        accepted_at: BEGUN,
        ever_ready: false,
        trusted_at: None,
        failure: None,
        backoff: plan::backoff::Backoff::default(),
    }
}

/// A service whose replicas took 20 s to be provisioned and 10 s to answer.
fn service(replicas: u32) -> (ServiceState, Timestamp) {
    let first = version(1, "a", replicas, UpdateMode::Rolling);
    let listen = ([127, 0, 0, 1], 30001).into();
    let state = ServiceState::new("web".to_owned(), "ab".to_owned(), listen, first, BEGUN);
    let measured = Measured {
        replicas: 0,
        provision_seconds: 20.0,
        start_seconds: 10.0,
    };
    let mut world = World::new(state, BEGUN, Some(&measured));
    assert!(world.run(3600.0, |world| world.state().trusted == Some(1)));
    (world.state().clone(), world.now())
}

#[test]
fn changing_only_the_number_launches_the_difference() {
    let (state, now) = service(2);
    let run = update(&state, version(2, "a", 3, UpdateMode::Rolling), now);
    assert_eq!(
        (run.version, run.reused.as_slice(), run.launched),
        (2, &[1, 2][..], 1)
    );
    assert!(run.stopped.is_empty() && run.restarted.is_empty());
    assert_eq!(
        (run.replicas_now, run.peak_replicas, run.replicas_after),
        (2, 3, 3)
    );
    assert_eq!(run.outcome, Forecast::Succeeds);
    let fewer = update(&state, version(2, "a", 1, UpdateMode::Rolling), now);
    assert_eq!(
        (fewer.launched, fewer.stopped.len(), fewer.replicas_after),
        (0, 1, 1)
    );
}

#[test]
fn a_new_content_replaces_everything_without_less_capacity() {
    let (state, now) = service(2);
    for mode in [UpdateMode::Rolling, UpdateMode::BlueGreen] {
        let run = update(&state, version(2, "b", 2, mode), now);
        assert_eq!(
            (run.launched, run.stopped.as_slice()),
            (2, &[1, 2][..]),
            "{mode:?}"
        );
        assert!(run.reused.is_empty());
        assert_eq!(
            (run.replicas_now, run.peak_replicas, run.replicas_after),
            (2, 4, 2)
        );
        assert_eq!((run.serving_now, run.lowest_serving), (2, 2));
        assert_eq!(run.outcome, Forecast::Succeeds);
        // 20 s + 10 s as measured, and 10 s until they count as available.
        let seconds = run.duration_seconds.unwrap();
        assert!((39.0..=43.0).contains(&seconds), "{seconds}");
        let measured = run.measured.unwrap();
        assert_eq!(measured.replicas, 2);
        assert!((measured.provision_seconds - 20.0).abs() < 0.01);
        assert!((measured.start_seconds - 10.0).abs() < 1.01);
        assert_eq!(run.steps.first().unwrap().kind, "version_accepted");
        let last = run
            .steps
            .iter()
            .rev()
            .find(|step| step.kind == "rollout_succeeded");
        assert_eq!(last.unwrap().at_seconds, seconds);
    }
}

#[test]
fn a_canary_takes_the_time_of_its_steps_and_waits_for_people() {
    let (state, now) = service(2);
    let mut next = version(2, "b", 2, UpdateMode::Canary);
    let step = |weight_percent, until| spec::CanaryStep {
        weight_percent,
        until,
    };
    next.settings.canary.steps = vec![
        step(5.0, StepEnd::Seconds(300.0)),
        step(50.0, StepEnd::Promoted),
    ];
    next.settings.canary.analysis = Some(spec::Analysis::default());
    let run = update(&state, next, now);
    assert_eq!(run.outcome, Forecast::Succeeds, "{:?}", run.steps);
    assert_eq!((run.promotions, run.replicas_after), (1, 2));
    assert!(run.lowest_serving >= 2, "{run:?}");
    let seconds = run.duration_seconds.unwrap();
    assert!((330.0..500.0).contains(&seconds), "{seconds}");
}

#[test]
fn in_place_restarts_one_after_the_other_and_launches_none() {
    let (state, now) = service(2);
    let run = update(&state, version(2, "b", 2, UpdateMode::InPlace), now);
    assert_eq!(run.outcome, Forecast::Succeeds, "{:?}", run.steps);
    assert_eq!((run.restarted.as_slice(), run.launched), (&[1, 2][..], 0));
    assert!(run.reused.is_empty() && run.stopped.is_empty(), "{run:?}");
    assert_eq!((run.peak_replicas, run.replicas_after), (2, 2));
    assert_eq!((run.serving_now, run.lowest_serving), (2, 1));
}

#[test]
fn nothing_is_promised_that_was_never_measured() {
    let first = version(1, "a", 2, UpdateMode::Rolling);
    let listen = ([127, 0, 0, 1], 30001).into();
    let state = ServiceState::new("web".to_owned(), "ab".to_owned(), listen, first, BEGUN);
    let state = plan::step(&state, BEGUN, &Event::Tick).state;
    let run = update(&state, version(2, "b", 2, UpdateMode::Rolling), BEGUN);
    assert_eq!((run.duration_seconds, run.measured), (None, None));
    assert_eq!((run.launched, run.outcome), (2, Forecast::Succeeds));
}

#[test]
fn a_target_that_follows_traffic_stays_as_it_is() {
    let (mut state, now) = service(2);
    let mut next = version(2, "b", 1, UpdateMode::Rolling);
    let policy = &mut next.spec.replica_policy;
    policy.max_replicas = Some(5);
    policy.target_qps_per_replica = Some(spec::TargetQps::Uniform(1.0));
    state.autoscaler.target = 2;
    let run = update(&state, next, now);
    assert_eq!((run.launched, run.replicas_after), (2, 2));
}
