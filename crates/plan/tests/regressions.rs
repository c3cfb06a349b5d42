//! Single steps that once went wrong, or easily could: late, doubled and senseless answers.

mod support;

use plan::observation::{ErrorClass, Observation, Phase};
use plan::rollout::UpdateMode;
use plan::routing::ReplicaId;
use plan::status::ReplicaStatus;
use plan::{Action, Event, ServicePhase, ServiceState, Span, Step, Timestamp, step};
use spec::ReplicaPolicy;
use support::{Behaviour, START, World, new_state, spec, version};

fn two_ready() -> World {
    let mut world = World::up(ReplicaPolicy::fixed(2), "a", Behaviour::Good);
    world.run(20);
    world
}

fn take(state: &mut ServiceState, now: Timestamp, event: &Event) -> Vec<Action> {
    let Step {
        state: next,
        actions,
        ..
    } = step(state, now, event);
    *state = next;
    actions
}

fn seen(replica: ReplicaId, phase: Phase) -> Event {
    let observation = Observation {
        phase,
        endpoint: Some(([10, 0, 0, 1], 8081).into()),
        infra: None,
        resources: None,
        resources_full: None,
    };
    Event::Observed {
        replica,
        observation,
    }
}

fn probed(replica: ReplicaId, version: u32, failure: Option<&str>) -> Event {
    Event::Probed {
        replica,
        version,
        failure: failure.map(str::to_owned),
    }
}

#[test]
fn a_proxy_that_is_ahead_is_told_a_newer_table_and_its_word_does_not_count() {
    let mut world = two_ready();
    let ours = world.state.generation();
    world.tell(&Event::ProxyConnected);
    let acknowledged = Event::Acknowledged {
        generation: ours + 40,
        in_flight: Vec::new(),
    };
    let actions = take(&mut world.state, world.now, &acknowledged);
    let [Action::Route { table }] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    assert_eq!(table.generation, ours + 41);
    assert_eq!(table.upstreams.len(), 2);
    assert_eq!(world.state.live.acknowledged, 0);
}

#[test]
fn counts_of_a_table_that_was_never_made_do_not_count() {
    let mut world = two_ready();
    let generation = world.state.generation() + 5;
    let in_flight = vec![(1, 3)];
    world.tell(&Event::Traffic {
        generation,
        in_flight,
        arrivals: Vec::new(),
    });
    assert!(world.state.live.counted_at < generation);
    assert!(world.state.live.in_flight.is_empty());
}

#[test]
fn a_count_that_comes_late_does_not_replace_a_newer_one() {
    let mut world = two_ready();
    let newest = world.state.generation();
    let counted = |generation, count| Event::Traffic {
        generation,
        in_flight: vec![(1, count)],
        arrivals: Vec::new(),
    };
    world.tell(&counted(newest, 2));
    world.tell(&counted(newest - 1, 0));
    assert_eq!(world.state.live.in_flight.get(&1), Some(&2));
}

#[test]
fn a_restart_takes_nothing_down_for_the_requests_it_has_forgotten() {
    let mut policy = ReplicaPolicy::fixed(1);
    policy.max_replicas = Some(3);
    policy.target_qps_per_replica = Some(spec::TargetQps::Uniform(1.0));
    policy.upscale_delay_seconds = Some(0.0);
    policy.downscale_delay_seconds = Some(0.0);
    let mut world = World::up(policy, "a", Behaviour::Good);
    world.requests_per_second = 3;
    world.run(100);
    assert_eq!(world.serving(), 3);
    world.restart();
    for _ in 0..80 {
        world.run(1);
        assert_eq!(world.serving(), 3);
    }
    world.requests_per_second = 0;
    world.run(90);
    assert_eq!(world.serving(), 1);
}

#[test]
fn a_failed_end_that_is_told_twice_is_one_attempt() {
    let mut state = two_ready().state;
    let now = START + Span::from_seconds(20.0);
    let end = Event::TerminateReplica {
        replica: 1,
        now: true,
        purge: false,
    };
    take(&mut state, now, &end);
    let acknowledged = Event::Acknowledged {
        generation: state.generation(),
        in_flight: Vec::new(),
    };
    let owed = take(&mut state, now, &acknowledged);
    assert!(matches!(
        owed.as_slice(),
        [Action::Terminate { replica: 1, .. }]
    ));
    let failed = Event::TerminateFailed {
        replica: 1,
        message: "no answer".to_owned(),
    };
    for _ in 0..5 {
        assert_eq!(take(&mut state, now, &failed), []);
    }
    let ending = state.replicas[&1].ending.as_ref();
    assert_eq!(ending.map(|ending| ending.attempts), Some(1));
}

#[test]
fn a_failed_version_stays_failed_when_one_of_its_replicas_passes_again() {
    let mut world = two_ready();
    let policy = || spec(ReplicaPolicy::fixed(2));
    world.update("b", policy(), UpdateMode::Rolling, Behaviour::Good);
    world.run(5);
    // So that replica 4 is needed, and stays.
    world.lose(1);
    world.crash(3);
    assert_eq!(world.state.desired, 1);
    assert_eq!(world.state.replicas[&4].status, ReplicaStatus::Ready);
    world.tell(&probed(4, 2, Some("busy")));
    world.tell(&probed(4, 2, None));
    assert!(world.state.versions[&2].failure.is_some());
}

#[test]
fn a_probe_of_the_old_version_says_nothing_of_a_replica_that_took_a_new_number() {
    let mut world = two_ready();
    let policy = spec(ReplicaPolicy::fixed(3));
    world.update("a", policy, UpdateMode::Rolling, Behaviour::Good);
    assert_eq!(world.state.replicas[&1].version, 2);
    world.tell(&probed(1, 1, Some("404")));
    assert_eq!(world.state.replicas[&1].status, ReplicaStatus::Ready);
}

#[test]
fn an_update_of_a_service_that_is_shutting_down_changes_nothing() {
    let mut world = two_ready();
    world.in_flight.insert(1, 1);
    world.tell(&Event::Down {
        now: false,
        purge: false,
    });
    let before = world.state.clone();
    let policy = spec(ReplicaPolicy::fixed(3));
    world.update("b", policy, UpdateMode::BlueGreen, Behaviour::Good);
    assert_eq!(world.state.versions, before.versions);
    assert_eq!(world.state.desired, 1);
    assert!(matches!(
        world.state.phase,
        ServicePhase::ShuttingDown { .. }
    ));
}

#[test]
fn a_launch_that_fails_after_the_user_ended_it_leaves_nothing() {
    let mut state = new_state(ReplicaPolicy::fixed(1), "a");
    take(&mut state, START, &Event::Tick);
    let end = Event::TerminateReplica {
        replica: 1,
        now: false,
        purge: false,
    };
    let owed = take(&mut state, START, &end);
    assert!(matches!(
        owed.as_slice(),
        [
            Action::Launch { replica: 2, .. },
            Action::Terminate { replica: 1, .. }
        ]
    ));
    let failed = Event::LaunchFailed {
        replica: 1,
        class: ErrorClass::UserFault,
        message: "no such image".to_owned(),
    };
    take(&mut state, START, &failed);
    assert!(!state.replicas.contains_key(&1));
    // It was wanted no more, so it says nothing of the version.
    assert!(state.versions[&1].failure.is_none());
    // The answer to the end comes late, and twice.
    for _ in 0..2 {
        assert_eq!(
            take(&mut state, START, &Event::Terminated { replica: 1 }),
            []
        );
    }
}

#[test]
fn what_is_seen_of_a_replica_that_is_ending_does_not_bring_it_back() {
    let mut world = two_ready();
    world.in_flight.insert(1, 1);
    world.tell(&Event::TerminateReplica {
        replica: 1,
        now: false,
        purge: false,
    });
    for event in [
        seen(1, Phase::Running { since: START }),
        probed(1, 1, None),
        Event::Launched { replica: 1 },
    ] {
        world.tell(&event);
        assert_eq!(world.state.replicas[&1].status, ReplicaStatus::ShuttingDown);
    }
}

#[test]
fn a_machine_that_is_lost_before_its_launch_was_answered_is_replaced() {
    let mut state = new_state(ReplicaPolicy::fixed(1), "a");
    take(&mut state, START, &Event::Tick);
    let reason = "taken away".to_owned();
    let owed = take(&mut state, START, &seen(1, Phase::Lost { reason }));
    assert_eq!(state.replicas[&1].status, ReplicaStatus::Preempted);
    assert!(matches!(
        owed.as_slice(),
        [Action::Terminate { replica: 1, .. }]
    ));
    let later = START + Span::from_seconds(5.0);
    let owed = take(&mut state, later, &Event::Tick);
    assert!(matches!(
        owed.as_slice(),
        [Action::Launch { replica: 2, .. }]
    ));
}

#[test]
fn an_app_whose_address_never_becomes_known_fails_in_time() {
    let mut state = new_state(ReplicaPolicy::fixed(1), "a");
    take(&mut state, START, &Event::Tick);
    let observation = Observation {
        phase: Phase::Running { since: START },
        endpoint: None,
        infra: None,
        resources: None,
        resources_full: None,
    };
    let running = Event::Observed {
        replica: 1,
        observation,
    };
    take(&mut state, START, &running);
    for second in 1..=60 {
        take(&mut state, START + Span(second * 1_000_000), &Event::Tick);
    }
    let replica = &state.replicas[&1];
    assert_eq!(replica.status, ReplicaStatus::FailedInitialDelay);
    let reason = replica.reason.as_deref().unwrap_or_default();
    assert!(reason.ends_with("its address is not known"), "{reason}");
}

#[test]
fn numbers_that_run_out_end_launches_and_nothing_else() {
    let mut state = new_state(ReplicaPolicy::fixed(3), "a");
    state.next_replica_id = ReplicaId::MAX - 1;
    let owed = take(&mut state, START, &Event::Tick);
    assert_eq!(owed.len(), 2, "{owed:?}");
}

#[test]
fn a_state_of_an_earlier_program_is_read() {
    // Fields that came later may be missing.
    let mut world = two_ready();
    let policy = spec(ReplicaPolicy::fixed(2));
    world.update("b", policy, UpdateMode::Rolling, Behaviour::Good);
    let mut stored = serde_json::to_value(&world.state).unwrap();
    for replica in stored["replicas"].as_object_mut().unwrap().values_mut() {
        let replica = replica.as_object_mut().unwrap();
        replica.remove("setup_started_at");
        replica.remove("first_available_at");
    }
    stored["rollout"]
        .as_object_mut()
        .unwrap()
        .remove("furthest");
    let restored: ServiceState = serde_json::from_value(stored).unwrap();
    assert_eq!(restored.replicas.len(), 4);
}

#[test]
fn a_number_that_was_used_is_no_update() {
    let mut state = two_ready().state;
    let again = version(
        1,
        "b",
        spec(ReplicaPolicy::fixed(5)),
        UpdateMode::Rolling,
        START,
    );
    let event = Event::Update {
        version: Box::new(again),
    };
    let before = state.versions.clone();
    take(&mut state, START, &event);
    assert_eq!(state.versions, before);
}
