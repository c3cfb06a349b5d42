use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use plan::routing::Upstream;
use spec::LoadBalancingPolicy;

use super::*;

fn table(generation: Generation, replicas: &[ReplicaId]) -> RoutingTable {
    let upstreams = replicas.iter().map(|&replica_id| Upstream {
        replica_id,
        version: 1,
        address: "127.0.0.1:8081".parse().unwrap(),
        weight: 1.0,
        ready_since: None,
    });
    RoutingTable {
        service: "svc".to_owned(),
        generation,
        listen: "127.0.0.1:30001".parse().unwrap(),
        policy: LoadBalancingPolicy::LeastLoad,
        load_balancer: spec::LoadBalancer::default(),
        tls: None,
        api_keys: None,
        upstreams: upstreams.collect(),
    }
}

fn service(replicas: &[ReplicaId]) -> Arc<Service> {
    let (failures, _) = mpsc::channel(1);
    let signals = Signals {
        drained: Arc::new(Notify::new()),
        failures,
    };
    Service::new(table(1, replicas), signals)
}

fn count(service: &Service, replica: ReplicaId) -> Option<u32> {
    service
        .in_flight()
        .1
        .into_iter()
        .find(|(id, _)| *id == replica)
        .map(|(_, count)| count)
}

#[test]
fn counts_survive_a_change_of_the_table_and_a_return() {
    let service = service(&[1]);
    let lease = service.select(&[]).unwrap();
    service.swap(table(2, &[2]));
    assert_eq!(service.in_flight(), (2, vec![(2, 0), (1, 1)]));
    assert!(lease.is_retired());
    service.swap(table(3, &[1, 2]));
    assert_eq!(service.in_flight(), (3, vec![(1, 1), (2, 0)]));
    assert!(!lease.is_retired());
    drop(lease);
    assert_eq!(count(&service, 1), Some(0));
}

#[test]
fn the_end_of_a_drain_is_signalled_once_the_last_lease_is_gone() {
    let service = service(&[1]);
    let leases = [service.select(&[]).unwrap(), service.select(&[]).unwrap()];
    service.swap(table(2, &[]));
    let drained = service.signals.drained.clone();
    let signalled = || {
        let mut waiting = std::pin::pin!(drained.notified());
        waiting.as_mut().enable()
    };
    let [first, second] = leases;
    drop(first);
    assert!(!signalled());
    drop(second);
    assert!(signalled());
    assert_eq!(service.in_flight().1, []);
}

#[test]
fn a_tried_replica_is_not_chosen_again() {
    let service = service(&[1, 2]);
    assert_eq!(service.select(&[1]).unwrap().upstream().replica_id, 2);
    assert!(service.select(&[1, 2]).is_none());
}

#[test]
fn a_closed_service_selects_nothing() {
    let service = service(&[1]);
    let lease = service.select(&[]);
    service.close();
    assert!(service.select(&[]).is_none());
    assert!(service.is_busy());
    drop(lease);
    assert!(!service.is_busy());
}

/// After a swap to a table without replica 1, its count can only fall, whatever other threads do.
#[test]
fn after_a_swap_the_count_of_a_replica_that_left_only_falls() {
    let service = service(&[1, 2]);
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (service, stop) = (service.clone(), stop.clone());
            thread::spawn(move || {
                let mut held = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    held.extend(service.select(&[]));
                    if held.len() > 8 {
                        held.clear();
                    }
                }
            })
        })
        .collect();
    for round in 0..2_000 {
        service.swap(table(2 * round + 2, &[2]));
        let mut least = count(&service, 1).unwrap_or(0);
        for _ in 0..20 {
            let now = count(&service, 1).unwrap_or(0);
            assert!(now <= least, "rose from {least} to {now} in round {round}");
            least = now;
        }
        service.swap(table(2 * round + 3, &[1, 2]));
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(service.in_flight().1, [(1, 0), (2, 0)]);
}
