use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use plan::routing::Upstream;
use spec::LoadBalancingPolicy;

use super::*;
use crate::lease::Lease;

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
        split: None,
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

/// Chooses the first replica, as a thread does that sees the table as `view`.
fn select(view: &mut Rc<View>, service: &Arc<Service>) -> Option<Lease> {
    loop {
        if view.epoch != service.epoch() {
            *view = Rc::new(service.view());
        }
        if view.published.loads.is_empty() {
            return None;
        }
        if let Some(lease) = Lease::take(view, 0) {
            return Some(lease);
        }
    }
}

fn lease(service: &Arc<Service>) -> Option<Lease> {
    select(&mut Rc::new(service.view()), service)
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
fn a_replica_has_no_more_requests_than_it_may_whatever_threads_saw_when_they_chose() {
    let service = service(&[1]);
    let mut limited = table(2, &[1]);
    limited.load_balancer.max_requests_per_replica = Some(2);
    service.swap(limited);
    let view = Rc::new(service.view());
    let taken = [(); 3].map(|()| Lease::take(&view, 0));
    assert_eq!(taken.each_ref().map(Option::is_some), [true, true, false]);
    assert_eq!(count(&service, 1), Some(2));
    drop(taken);
    assert_eq!(count(&service, 1), Some(0));
}

#[test]
fn counts_survive_a_change_of_the_table_and_a_return() {
    let service = service(&[1]);
    let lease = lease(&service).unwrap();
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
    let leases = [lease(&service).unwrap(), lease(&service).unwrap()];
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
fn a_closed_service_selects_nothing() {
    let service = service(&[1]);
    let held = lease(&service);
    service.close();
    assert!(lease(&service).is_none());
    assert!(service.is_busy());
    drop(held);
    assert!(!service.is_busy());
}

/// What an acknowledgement means: after a swap nobody is given a replica that left, but for those whom the swap counts.
#[test]
fn after_a_swap_nobody_is_given_a_replica_that_left() {
    let service = service(&[1]);
    let stop = Arc::new(AtomicBool::new(false));
    // Odd while replica 1 has left.
    let phase = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (service, stop, phase) = (service.clone(), stop.clone(), phase.clone());
            thread::spawn(move || {
                let mut view = Rc::new(service.view());
                while !stop.load(Ordering::Relaxed) {
                    let before = phase.load(Ordering::SeqCst);
                    let lease = select(&mut view, &service).unwrap();
                    let given = lease.upstream().replica_id;
                    let after = phase.load(Ordering::SeqCst);
                    let had_left = before == after && before % 2 == 1;
                    assert!(!(had_left && given == 1), "given after it left");
                }
            })
        })
        .collect();
    for round in 0..2_000 {
        service.swap(table(2 * round + 2, &[2]));
        phase.fetch_add(1, Ordering::SeqCst);
        // What is counted at replica 1 ends, and what comes beside it is taken back.
        while count(&service, 1).unwrap_or(0) > 0 {
            thread::yield_now();
        }
        phase.fetch_add(1, Ordering::SeqCst);
        service.swap(table(2 * round + 3, &[1]));
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(service.in_flight().1, [(1, 0)]);
}
