//! Settings of the endpoint, API keys and TLS: what the routing table says of them, and that none of them costs a
//! replica.

mod support;

use plan::rollout::UpdateMode;
use plan::routing::{ApiKeyHash, RoutingTable};
use plan::{Action, Event, HappeningKind, Span, step};
use spec::{Auth, LoadBalancer, LoadBalancingPolicy, ReplicaPolicy, ServiceSpec, Tls};
use support::{Behaviour, World, spec};

fn two_ready() -> World {
    let mut world = World::up(ReplicaPolicy::fixed(2), "a", Behaviour::Good);
    world.run(20);
    world
}

fn table(world: &World) -> &RoutingTable {
    world.state.table.as_ref().expect("a table")
}

fn keys(hashes: &[&str]) -> Option<Vec<ApiKeyHash>> {
    let hash = |hash: &&str| ApiKeyHash((*hash).to_owned());
    Some(hashes.iter().map(hash).collect())
}

fn tell_keys(world: &mut World, keys: Option<Vec<ApiKeyHash>>) {
    world.tell(&Event::ApiKeys { keys });
}

/// Updates to the same content with another `service` section.
fn update(world: &mut World, change: impl FnOnce(&mut ServiceSpec)) {
    let mut next = spec(ReplicaPolicy::fixed(2));
    change(&mut next);
    world.update("a", next, UpdateMode::Rolling, Behaviour::Good);
}

fn ask_for_keys(spec: &mut ServiceSpec) {
    spec.auth = Auth::ApiKey;
}

#[test]
fn new_settings_are_in_the_table_at_once_and_start_no_replica() {
    let mut world = two_ready();
    let launched = world.launched.len();
    let settings = LoadBalancer {
        max_connections: 7,
        ..LoadBalancer::default()
    };
    let tls = Tls {
        keyfile: "/key.pem".to_owned(),
        certfile: "/cert.pem".to_owned(),
    };
    let (wanted, encrypted) = (settings.clone(), tls.clone());
    update(&mut world, |spec| {
        spec.load_balancer = settings;
        spec.load_balancing_policy = LoadBalancingPolicy::PrefixAffinity;
        spec.tls = Some(tls);
    });
    let now = table(&world);
    assert_eq!(now.load_balancer, wanted);
    assert_eq!(now.policy, LoadBalancingPolicy::PrefixAffinity);
    assert_eq!(now.tls, Some(encrypted));
    assert_eq!(now.upstreams.len(), 2);
    assert_eq!(world.launched.len(), launched);
    world.run(20);
    assert_eq!(world.launched.len(), launched);
}

#[test]
fn each_change_of_the_keys_is_one_table() {
    let mut world = two_ready();
    assert_eq!(table(&world).api_keys, None);
    for changed in [keys(&["one"]), keys(&["one", "two"]), keys(&[]), None] {
        let generation = world.state.generation();
        let event = Event::ApiKeys {
            keys: changed.clone(),
        };
        let taken = step(&world.state, world.now, &event);
        let [Action::Route { table: told }] = taken.actions.as_slice() else {
            panic!("{:?}", taken.actions);
        };
        assert_eq!(told.api_keys, changed);
        assert_eq!(told.generation, generation + 1);
        assert_eq!(told.upstreams.len(), 2);
        let kinds: Vec<HappeningKind> = taken.happenings.iter().map(|told| told.kind).collect();
        assert_eq!(kinds, [HappeningKind::ApiKeysChanged]);
        // Nobody may learn a hash from the log of events.
        assert!(!taken.happenings[0].message.contains("one"));
        world.tell(&event);
        let again = step(&world.state, world.now, &event);
        assert!(again.actions.is_empty() && again.happenings.is_empty());
    }
}

#[test]
fn a_yaml_that_asks_for_keys_lets_nobody_in_without_one() {
    let mut world = two_ready();
    update(&mut world, ask_for_keys);
    assert_eq!(table(&world).api_keys, keys(&[]));
    tell_keys(&mut world, keys(&["one"]));
    assert_eq!(table(&world).api_keys, keys(&["one"]));
    tell_keys(&mut world, None);
    assert_eq!(table(&world).api_keys, keys(&[]));
    update(&mut world, |_| {});
    assert_eq!(table(&world).api_keys, None);
}

#[test]
fn keys_that_were_made_stay_asked_for_when_the_yaml_changes() {
    let mut world = two_ready();
    tell_keys(&mut world, keys(&["one"]));
    update(&mut world, ask_for_keys);
    update(&mut world, |_| {});
    assert_eq!(table(&world).api_keys, keys(&["one"]));
    tell_keys(&mut world, keys(&[]));
    update(&mut world, |_| {});
    assert_eq!(table(&world).api_keys, keys(&[]));
}

#[test]
fn keys_outlive_a_restart_and_a_new_proxy() {
    let mut world = two_ready();
    tell_keys(&mut world, keys(&["one"]));
    let stored = serde_json::to_string(&world.state).unwrap();
    world.state = serde_json::from_str(&stored).unwrap();
    world.now = world.now + Span::from_seconds(5.0);
    world.tell(&Event::ProxyConnected);
    assert_eq!(table(&world).api_keys, keys(&["one"]));
    // A state from before there were keys is read as one without.
    let mut old: serde_json::Value = serde_json::from_str(&stored).unwrap();
    old.as_object_mut().unwrap().remove("api_keys");
    let old: plan::ServiceState = serde_json::from_value(old).unwrap();
    assert_eq!(old.api_keys, None);
}
