//! What replaces nothing, and what is never held against a version.

mod support;

use plan::rollout::UpdateMode;
use plan::{Event, Replica};
use spec::{
    Amount, Auth, Canary, LoadBalancingPolicy, ReplicaPolicy, ServiceSpec, Surge, TargetQps, Tls,
    Verify,
};
use support::{Behaviour, World, spec};

/// Changes of the `service` section that concern the endpoint, the numbers or the update itself.
fn changes() -> Vec<fn(&mut ServiceSpec)> {
    vec![
        |spec| {
            spec.replica_policy.max_replicas = Some(6);
            spec.replica_policy.target_qps_per_replica = Some(TargetQps::Uniform(1.0));
        },
        |spec| {
            spec.tls = Some(Tls {
                keyfile: "/key.pem".to_owned(),
                certfile: "/cert.pem".to_owned(),
            });
        },
        |spec| spec.load_balancing_policy = LoadBalancingPolicy::RoundRobin,
        |spec| spec.load_balancer.max_requests_per_replica = Some(3),
        |spec| spec.auth = Auth::ApiKey,
        |spec| {
            spec.update.max_surge = Surge::Amount(Amount::Count(0));
            spec.update.max_unavailable = Amount::Count(1);
        },
        |spec| {
            spec.update.min_healthy_seconds = 60.0;
            spec.update.undo_window_seconds = 60.0;
        },
        |spec| spec.update.canary = Some(Canary::default()),
        |spec| {
            spec.update.verify = Some(Verify {
                run: "false".to_owned(),
                timeout_seconds: 1.0,
            });
        },
    ]
}

#[test]
fn settings_of_numbers_endpoint_and_updates_replace_nothing() {
    for mode in [
        UpdateMode::Rolling,
        UpdateMode::BlueGreen,
        UpdateMode::Canary,
    ] {
        for (number, change) in changes().into_iter().enumerate() {
            let mut world = World::up(ReplicaPolicy::fixed(3), "a", Behaviour::Good);
            world.run(20);
            let (launched, tables) = (world.launched.clone(), world.tables);
            let mut next = spec(ReplicaPolicy::fixed(3));
            change(&mut next);
            world.update("a", next, mode, Behaviour::Good);
            for _ in 0..90 {
                assert_eq!(world.serving(), 3, "change {number}");
                world.run(1);
            }
            assert_eq!(world.launched, launched, "change {number}, {mode:?}");
            assert_eq!(world.replicas(Replica::is_live), vec![1, 2, 3]);
            assert_eq!(world.state.trusted, Some(2), "change {number}, {mode:?}");
            assert!(world.state.rollout_in_progress().is_none());
            assert!(world.tables <= tables + 2, "change {number}");
        }
    }
}

/// Machines that are taken away again and again are nobody's fault.
#[test]
fn lost_machines_are_never_held_against_the_version() {
    for mode in [
        UpdateMode::Rolling,
        UpdateMode::BlueGreen,
        UpdateMode::Canary,
    ] {
        let mut world = World::up(ReplicaPolicy::fixed(3), "a", Behaviour::Good);
        world.run(20);
        world.update("b", spec(ReplicaPolicy::fixed(3)), mode, Behaviour::Good);
        for _ in 0..8 {
            world.run(6);
            for id in world.replicas(|replica| replica.is_live() && replica.version == 2) {
                world.lose(id);
            }
            assert!(world.serving() >= 3, "{mode:?}");
        }
        assert_eq!(world.state.versions[&2].failure, None, "{mode:?}");
        world.run(120);
        if mode == UpdateMode::Canary {
            // Its one step lasts until it is promoted.
            let what = plan::Steering::Promote;
            world.steer(&Event::Steer { what });
            world.run(60);
        }
        assert_eq!(world.state.trusted, Some(2), "{mode:?}");
        assert_eq!(world.state.active_versions(), vec![2]);
    }
}
