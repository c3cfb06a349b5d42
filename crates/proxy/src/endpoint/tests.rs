use std::time::Instant;

use plan::routing::{RoutingTable, Split, Upstream};
use tokio::sync::{Notify, mpsc};

use super::*;
use crate::log::LogWriter;
use crate::paths::ProxyPaths;
use crate::routing::Signals;

const LIMIT: u32 = 2;

/// Replicas 1 to `old` of version 1, then `new` of version 2, which has a share where that is given.
fn table(old: u32, new: u32, weight_percent: Option<f64>) -> RoutingTable {
    let upstream = |replica_id| Upstream {
        replica_id,
        version: if replica_id <= old { 1 } else { 2 },
        address: "127.0.0.1:1".parse().unwrap(),
        weight: 1.0,
        ready_since: None,
    };
    RoutingTable {
        service: "svc".to_owned(),
        generation: 1,
        listen: "127.0.0.1:2".parse().unwrap(),
        policy: LoadBalancingPolicy::LeastLoad,
        load_balancer: spec::LoadBalancer {
            max_requests_per_replica: Some(LIMIT),
            ..spec::LoadBalancer::default()
        },
        tls: None,
        api_keys: None,
        split: weight_percent.map(|weight_percent| Split {
            version: 2,
            weight_percent,
            header: None,
            cookie: None,
        }),
        upstreams: (1..=old + new).map(upstream).collect(),
    }
}

fn with_endpoint(table: RoutingTable, test: impl FnOnce(&Rc<Endpoint>)) {
    let home = tempfile::tempdir().unwrap();
    let paths = ProxyPaths {
        home: home.path().to_owned(),
    };
    paths.prepare().unwrap();
    let (writer, logs) = LogWriter::start(paths).unwrap();
    let signals = Signals {
        drained: Arc::new(Notify::new()),
        failures: mpsc::channel(1).0,
    };
    let endpoint = Endpoint::new(Service::new(table, signals), logs, TaskTracker::new());
    test(&endpoint);
    drop(endpoint);
    writer.finish();
}

fn select(endpoint: &Endpoint, side: Side) -> Option<Lease> {
    let affinity = Affinity::None;
    endpoint.select(&[], Wish { side, affinity })
}

fn replica(lease: Option<&Lease>) -> Option<ReplicaId> {
    lease.map(|lease| lease.upstream().replica_id)
}

/// Has a replica fail until it is ejected.
fn eject(endpoint: &Endpoint, side: Side) {
    for _ in 0..50 {
        let lease = select(endpoint, side).unwrap();
        lease.failed("a test says so");
    }
}

#[test]
fn a_request_goes_to_its_side_and_only_then_to_the_other() {
    with_endpoint(table(1, 1, Some(50.0)), |endpoint| {
        for side in [Side::New, Side::Wished, Side::Old, Side::Whole] {
            let expected = matches!(side, Side::New | Side::Wished);
            let lease = select(endpoint, side);
            assert_eq!(replica(lease.as_ref()), Some(1 + u32::from(expected)));
        }
        let affinity = Affinity::None;
        let side = Side::New;
        let other = endpoint.select(&[2], Wish { side, affinity });
        assert_eq!(replica(other.as_ref()), Some(1), "after a failure");
        assert!(endpoint.select(&[1, 2], Wish { side, affinity }).is_none());
    });
}

#[test]
fn a_full_side_leaves_to_the_other_but_for_wishes() {
    with_endpoint(table(1, 1, Some(50.0)), |endpoint| {
        let mut held: Vec<_> = (0..LIMIT).map(|_| select(endpoint, Side::New)).collect();
        assert!(select(endpoint, Side::Wished).is_none());
        held.extend((0..LIMIT).map(|_| select(endpoint, Side::New)));
        assert_eq!(replica(held.last().unwrap().as_ref()), Some(1));
        assert!(select(endpoint, Side::New).is_none(), "all are full");
        assert!(select(endpoint, Side::Old).is_none(), "all are full");
    });
}

#[test]
fn what_is_ejected_comes_last_but_for_wishes() {
    with_endpoint(table(1, 1, Some(50.0)), |endpoint| {
        eject(endpoint, Side::Wished);
        let view = endpoint.view();
        assert_eq!(view.published.ejected(coarse_now()), 1);
        assert_eq!(replica(select(endpoint, Side::New).as_ref()), Some(1));
        assert_eq!(replica(select(endpoint, Side::Wished).as_ref()), Some(2));
    });
}

#[test]
fn without_a_split_there_are_no_sides() {
    with_endpoint(table(1, 1, None), |endpoint| {
        assert_eq!(endpoint.side(true, Some(3)), Side::Whole);
        assert_eq!(endpoint.side(false, None), Side::Whole);
    });
    with_endpoint(table(1, 1, Some(0.0)), |endpoint| {
        assert_eq!(endpoint.side(true, Some(3)), Side::Wished);
        assert_eq!(endpoint.side(false, None), Side::Old);
        assert_eq!(endpoint.side(false, Some(3)), Side::Old);
    });
}

/// `cargo test --release -p proxy --lib -- --ignored --nocapture endpoint::tests::cost`
#[test]
#[ignore = "a measurement: cargo test --release -p proxy --lib -- --ignored --nocapture endpoint::tests::cost"]
fn cost_of_a_split() {
    const ROUNDS: u32 = 200_000;
    for (old, new) in [(2, 1), (100, 5)] {
        for weight in [None, Some(5.0), Some(50.0)] {
            with_endpoint(table(old, new, weight), |endpoint| {
                let mut best = Duration::MAX;
                for _ in 0..20 {
                    let begun = Instant::now();
                    for _ in 0..ROUNDS {
                        let side = endpoint.side(false, None);
                        drop(std::hint::black_box(select(endpoint, side)));
                    }
                    best = best.min(begun.elapsed());
                }
                let best = best / ROUNDS;
                println!("{old} and {new} replicas, weight {weight:?}: {best:?} a selection");
            });
        }
    }
}
