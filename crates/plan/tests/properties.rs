//! Properties over generated histories: updates of both modes, failures of all kinds, lost machines, late
//! acknowledgements, requests in flight, users, restarts of the server. What must hold after every step is checked by
//! the world itself (`support`); here is what must hold over a whole history.

mod support;

use plan::rollout::UpdateMode;
use plan::{Event, ServicePhase};
use proptest::prelude::*;
use spec::{ReplicaPolicy, TargetQps};
use support::{Behaviour, World, spec};

#[derive(Clone, Debug)]
enum Deed {
    Run(i64),
    Update {
        content: u8,
        replicas: u32,
        blue_green: bool,
        behaviour: Behaviour,
        probe: bool,
    },
    Lose(usize),
    Crash(usize),
    Hold(usize),
    ReleaseAll,
    Stall(bool),
    Restart,
    EndOne(usize),
    Requests(u32),
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        4 => Just(Behaviour::Good),
        1 => Just(Behaviour::SetupFails),
        1 => Just(Behaviour::Exits),
        1 => Just(Behaviour::NeverReady),
        1 => (1i64..30).prop_map(Behaviour::Dies),
        1 => Just(Behaviour::Refused),
        1 => Just(Behaviour::NoRoom),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (1i64..40).prop_map(Deed::Run),
        3 => (0u8..4, 1u32..5, any::<bool>(), behaviour(), prop::bool::weighted(0.1)).prop_map(
            |(content, replicas, blue_green, behaviour, probe)| Deed::Update {
                content, replicas, blue_green, behaviour, probe,
            }
        ),
        1 => any::<prop::sample::Index>().prop_map(|n| Deed::Lose(n.index(1000))),
        1 => any::<prop::sample::Index>().prop_map(|n| Deed::Crash(n.index(1000))),
        2 => any::<prop::sample::Index>().prop_map(|n| Deed::Hold(n.index(1000))),
        1 => Just(Deed::ReleaseAll),
        1 => any::<bool>().prop_map(Deed::Stall),
        1 => Just(Deed::Restart),
        1 => any::<prop::sample::Index>().prop_map(|n| Deed::EndOne(n.index(1000))),
        1 => (0u32..4).prop_map(Deed::Requests),
    ]
}

/// What a version does is decided by its content, so that equal contents behave alike.
fn content(number: u8, behaviour: Behaviour) -> String {
    format!("{number}-{behaviour:?}")
}

fn policy(replicas: u32, scales: bool) -> ReplicaPolicy {
    let mut policy = ReplicaPolicy::fixed(replicas);
    if scales {
        policy.max_replicas = Some(replicas + 2);
        policy.target_qps_per_replica = Some(TargetQps::Uniform(1.0));
        policy.upscale_delay_seconds = Some(20.0);
        policy.downscale_delay_seconds = Some(40.0);
    }
    policy
}

fn pick(world: &World, number: usize) -> Option<u32> {
    let live = world.replicas(plan::Replica::is_live);
    live.get(number % live.len().max(1)).copied()
}

fn perform(world: &mut World, deed: &Deed, scales: bool) {
    match deed {
        Deed::Run(seconds) => world.run(*seconds),
        Deed::Update {
            content: number,
            replicas,
            blue_green,
            behaviour,
            probe,
        } => {
            let mode = if *blue_green {
                UpdateMode::BlueGreen
            } else {
                UpdateMode::Rolling
            };
            let mut spec = spec(policy(*replicas, scales));
            if *probe {
                spec.readiness_probe.path = "/wrong".to_owned();
            }
            world.update(&content(*number, *behaviour), spec, mode, *behaviour);
        }
        Deed::Lose(number) => {
            if let Some(id) = pick(world, *number) {
                world.lose(id);
            }
        }
        Deed::Crash(number) => {
            if let Some(id) = pick(world, *number) {
                world.crash(id);
            }
        }
        Deed::Hold(number) => {
            let routed = world.replicas(|r| r.is_ready() && r.ending.is_none());
            if let Some(id) = routed.get(number % routed.len().max(1)) {
                world.in_flight.insert(*id, 1);
            }
        }
        Deed::ReleaseAll => world.in_flight.clear(),
        Deed::Stall(stalls) => world.proxy_stalls = *stalls,
        Deed::Restart => world.restart(),
        Deed::EndOne(number) => {
            if let Some(replica) = pick(world, *number) {
                world.tell(&Event::TerminateReplica {
                    replica,
                    now: false,
                    purge: false,
                });
            }
        }
        Deed::Requests(rate) => world.requests_per_second = *rate,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, once it stops the service gets where it is going, and can be taken down to the last trace.
    #[test]
    fn every_history_ends_well(
        replicas in 1u32..4,
        scales in any::<bool>(),
        deeds in prop::collection::vec(deed(), 1..25),
    ) {
        let mut world = World::up(policy(replicas, scales), &content(0, Behaviour::Good), Behaviour::Good);
        world.run(20);
        for deed in &deeds {
            perform(&mut world, deed, scales);
        }
        world.proxy_stalls = false;
        world.in_flight.clear();
        world.requests_per_second = 0;
        // Longer than every deadline together.
        world.run(900);
        prop_assert!(world.state.rollout_in_progress().is_none(), "{:#?}", world.state.rollout);
        let desired = world.state.desired;
        let trusted = world.state.trusted;
        let failed = world.state.versions[&desired].failure.is_some();
        prop_assert!(!failed || trusted.is_none(), "it stays with a failed version");
        if world.behaviours[&desired] == Behaviour::Good && !failed {
            let target = world.state.target() as usize;
            prop_assert_eq!(world.serving(), target, "{:#?}", world.state);
            prop_assert_eq!(world.replicas(plan::Replica::is_live).len(), target);
        }
        world.tell(&Event::Down { now: false, purge: false });
        world.run(10);
        prop_assert_eq!(world.state.phase, ServicePhase::Gone);
        prop_assert_eq!(world.forgotten, 1);
    }

    /// Never worse: where the old version is healthy and no machine is lost, a bad new version of either mode never
    /// takes the number of replicas that answer users below what the old version had, or the new one asks for.
    #[test]
    fn a_bad_version_costs_no_capacity(
        replicas in 1u32..5,
        wanted in 1u32..6,
        blue_green in any::<bool>(),
        behaviour in behaviour(),
        stalls in prop::collection::vec(any::<bool>(), 0..20),
    ) {
        let mut world = World::up(policy(replicas, false), "old", Behaviour::Good);
        world.run(20);
        let floor = replicas.min(wanted) as usize;
        let mode = if blue_green { UpdateMode::BlueGreen } else { UpdateMode::Rolling };
        world.update("new", spec(policy(wanted, false)), mode, behaviour);
        let early = !matches!(behaviour, Behaviour::Good) && !matches!(behaviour, Behaviour::Dies(n) if n >= 10);
        for second in 0..900 {
            if let Some(stalled) = stalls.get(second % stalls.len().max(1)) {
                world.proxy_stalls = *stalled;
            }
            world.run(1);
            let serving = world.serving();
            if early || behaviour == Behaviour::Good {
                prop_assert!(serving >= floor, "{serving} of {floor} serve after {second}s");
            }
            let live = world.replicas(plan::Replica::is_live).len();
            prop_assert!(live <= replicas.max(wanted) as usize * 2, "{live} live replicas");
            if early {
                prop_assert_eq!(world.state.trusted, Some(1));
            }
        }
        if early {
            prop_assert_eq!(world.state.desired, 1);
            prop_assert_eq!(world.state.active_versions(), vec![1]);
        }
    }

    /// Blue-green never routes two contents at once.
    #[test]
    fn blue_green_never_mixes(
        updates in prop::collection::vec((0u8..3, 1u32..4, behaviour(), 1i64..30), 1..6),
        restarts in prop::collection::vec(any::<bool>(), 6),
    ) {
        let mut world = World::up(policy(2, false), &content(0, Behaviour::Good), Behaviour::Good);
        world.run(20);
        for ((number, replicas, behaviour, seconds), restart) in updates.iter().zip(restarts) {
            let content = content(*number, *behaviour);
            world.update(&content, spec(policy(*replicas, false)), UpdateMode::BlueGreen, *behaviour);
            world.run(*seconds);
            if restart {
                world.restart();
            }
        }
        world.run(60);
        for table in &world.tables {
            let mut contents: Vec<&str> = table
                .upstreams
                .iter()
                .filter_map(|upstream| world.state.versions.get(&upstream.version))
                .map(|version| version.task_hash.as_str())
                .collect();
            contents.dedup();
            prop_assert!(contents.len() <= 1, "{contents:?} in table {}", table.generation);
        }
    }
}
