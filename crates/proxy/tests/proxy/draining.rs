//! Promise 1, "route before stop": after the acknowledgement of a table without a replica, its
//! requests only end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use plan::routing::ProxyReport;

use crate::support::client::{Client, get};
use crate::support::controller::{Controller, count_of};
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::{eventually, numbered_table, table};

#[test]
fn a_stream_goes_on_after_its_replica_left_and_its_end_is_reported() {
    let stop = Arc::new(AtomicBool::new(false));
    let old = {
        let stop = Arc::clone(&stop);
        Replica::start(move |exchange| {
            exchange.begin_chunks();
            while !stop.load(Ordering::SeqCst) {
                exchange.send_chunk("tick");
                thread::sleep(Duration::from_millis(10));
            }
            exchange.send("0\r\n\r\n");
            Then::Keep
        })
    };
    let new = Replica::named("new");
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[old.address]);
    let mut client = Client::connect(endpoint);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    let flipped = numbered_table(endpoint, 2, [(2, new.address)]);
    let (_, in_flight) = controller.apply(flipped);
    assert_eq!(count_of(&in_flight, 1), 1);
    for _ in 0..20 {
        assert_eq!(client.chunk().unwrap(), "tick");
        assert_eq!(get(endpoint).text(), "new");
    }
    stop.store(true, Ordering::SeqCst);
    while !client.chunk().unwrap().is_empty() {}
    controller.until_in_flight(1, 0);
    assert_eq!(
        client.get("/").text(),
        "new",
        "the client's connection is not tied to the replica"
    );
    assert_eq!(old.requests(), 1);
}

#[test]
fn idle_connections_to_a_replica_that_left_are_closed() {
    let ended = Arc::new(AtomicUsize::new(0));
    let old = {
        let ended = Arc::clone(&ended);
        Replica::start(move |exchange| {
            exchange.answer("old");
            exchange.wait_for_end();
            ended.fetch_add(1, Ordering::SeqCst);
            Then::Close
        })
    };
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[old.address]);
    get(endpoint);
    controller.acknowledged(table(endpoint, 2, []));
    eventually("the idle connection to be closed", || {
        ended.load(Ordering::SeqCst) == old.connections()
    });
}

/// Clients that ask without a pause until told to stop; each answer must be whole and right.
fn load(endpoint: SocketAddr, stop: &Arc<AtomicBool>) -> Vec<thread::JoinHandle<usize>> {
    let client = |kept: bool| {
        let stop = Arc::clone(stop);
        move || {
            let mut client = Client::connect(endpoint);
            let mut answers = 0;
            while !stop.load(Ordering::Relaxed) {
                let answer = client.get("/");
                assert!(answer.status == 200 && answer.body.complete, "{answer:?}");
                answers += 1;
                if !kept {
                    client = Client::connect(endpoint);
                }
            }
            answers
        }
    };
    (0..4)
        .map(|number| thread::spawn(client(number % 2 == 0)))
        .collect()
}

/// Reads reports until the replica has nothing in flight; its count must never rise.
fn drained(controller: &mut Controller, in_flight: u32) {
    let mut least = in_flight;
    while least > 0 {
        let report = controller.next();
        if let ProxyReport::Traffic { in_flight, .. } = report {
            let now = count_of(&in_flight, 1);
            assert!(now <= least, "in flight rose from {least} to {now}");
            least = now;
        }
    }
}

#[test]
fn under_load_no_request_reaches_a_replica_after_it_has_drained() {
    let leaving = Replica::start(|exchange| {
        thread::sleep(Duration::from_millis(2));
        exchange.answer("leaving")
    });
    let staying = Replica::named("staying");
    let (both, one) = (
        [(1, leaving.address), (2, staying.address)],
        [(2, staying.address)],
    );
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[leaving.address, staying.address]);
    let stop = Arc::new(AtomicBool::new(false));
    let clients = load(endpoint, &stop);
    for round in 1..=60 {
        let used = leaving.requests();
        eventually("the replica to be used", || leaving.requests() > used);
        let (_, in_flight) = controller.apply(numbered_table(endpoint, 2 * round, one));
        drained(&mut controller, count_of(&in_flight, 1));
        let seen = leaving.requests();
        thread::sleep(Duration::from_millis(5));
        assert_eq!(
            leaving.requests(),
            seen,
            "a request after the drain, round {round}"
        );
        controller.acknowledged(numbered_table(endpoint, 2 * round + 1, both));
    }
    stop.store(true, Ordering::Relaxed);
    let answers: usize = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    assert!(answers > 100, "only {answers} answers");
}
