//! What the controller is told of each version.

use std::thread;
use std::time::Duration;

use plan::figures::{CanaryCounts, Figures};
use plan::routing::{ProxyReport, RoutingTable};
use rustix::process::Signal;

use super::{Fleet, load, split_table, wish};
use crate::support::client::{Client, request};
use crate::support::controller::Controller;
use crate::support::process::{Proxy, signal};
use crate::support::replica::{Exchange, Replica, Then};
use crate::support::settings::newer;
use crate::support::{eventually, free_address, numbered_table};

/// The counts of version 1 and 2.
fn sides(counts: &CanaryCounts) -> (Figures, Figures) {
    let side = |version| {
        let found = counts.versions.iter().find(|(known, _)| *known == version);
        found
            .map(|(_, figures)| figures.clone())
            .unwrap_or_default()
    };
    (side(1), side(2))
}

/// Reads reports until the counts of both versions have come to so many requests together.
fn until_counted(controller: &mut Controller, requests: u64) -> CanaryCounts {
    controller.until(|report| match report {
        ProxyReport::Canary { service, counts } => {
            assert_eq!(service, "svc");
            let (old, new) = sides(counts);
            (old.requests + new.requests >= requests).then(|| counts.clone())
        }
        _ => None,
    })
}

/// One replica of version 1 that answers, and one of version 2 that does what the test says.
fn table_with(old: &Replica, new: &Replica, weight_percent: f64) -> RoutingTable {
    let addresses = [(1, old.address), (2, new.address)];
    split_table(
        numbered_table(free_address(), 1, addresses),
        1,
        weight_percent,
    )
}

#[test]
fn requests_and_their_times_are_counted_by_version() {
    let old = Replica::named("old");
    let new = Replica::start(|exchange| {
        exchange.begin_chunks();
        thread::sleep(Duration::from_millis(20));
        exchange.send_chunk("new");
        exchange.send("0\r\n\r\n");
        Then::Keep
    });
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(table_with(&old, &new, 25.0));
    let mut client = Client::connect(endpoint);
    for _ in 0..80 {
        assert_eq!(client.get("/").status, 200);
    }
    let (old, new) = sides(&until_counted(&mut controller, 80));
    assert!((18..=22).contains(&new.requests), "{new:?}");
    assert_eq!(old.requests + new.requests, 80);
    assert_eq!((old.errors, new.errors), (0, 0));
    for figures in [&old, &new] {
        assert_eq!(figures.latency.count(), figures.requests);
        assert_eq!(figures.time_to_first_byte.count(), figures.requests);
    }
    let shortest = |histogram: &plan::figures::Histogram| histogram.buckets[0].0;
    assert!(shortest(&new.latency) > 0.02, "{:?}", new.latency);
    assert!(
        shortest(&new.time_to_first_byte) < 0.02,
        "{:?}",
        new.time_to_first_byte
    );
}

#[test]
fn without_a_split_nothing_is_told_and_what_wishes_is_no_sample() {
    let fleet = Fleet::start(1, 1);
    let split = fleet.table(50.0);
    let whole = RoutingTable {
        split: None,
        ..split.clone()
    };
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(whole);
    load(endpoint, 40);
    let wished = newer(&split, |table| {
        table.split.as_mut().unwrap().header = wish("x-version", "next");
    });
    controller.acknowledged(wished);
    for _ in 0..30 {
        request(endpoint, "GET", "/", "X-Version: next\r\n");
    }
    load(endpoint, 80);
    let counts = until_counted(&mut controller, 80);
    let (old, new) = sides(&counts);
    assert_eq!(old.requests + new.requests, 80, "{counts:?}");
}

/// What the replica of version 2 does, and how many of 40 requests fail there.
fn assert_failures(what: &str, failing: impl Fn(&mut Exchange) -> Then + Send + Sync + 'static) {
    let old = Replica::named("old");
    let new = Replica::start(failing);
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(table_with(&old, &new, 50.0));
    // As many as come before the replica is given nothing for a while.
    for _ in 0..4 {
        let mut client = Client::connect(endpoint);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        let _ = client.try_answer();
    }
    let (old, new) = sides(&until_counted(&mut controller, 4));
    assert_eq!(old.errors, 0, "{what}: {old:?}");
    assert!(
        new.requests > 0 && new.errors == new.requests,
        "{what}: {new:?}"
    );
    assert_eq!(new.latency.count(), 0, "{what}");
}

#[test]
fn failures_are_counted_against_the_version() {
    assert_failures("500", |exchange| {
        exchange.body();
        exchange.send("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
        Then::Keep
    });
    assert_failures("an answer that breaks off", |exchange| {
        exchange.body();
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        Then::Close
    });
    assert_failures("no answer", |exchange| {
        exchange.body();
        Then::Close
    });
}

/// Nobody notices, but it counts: a version that takes no connections has failed all that it was to get.
#[test]
fn what_another_version_had_to_serve_is_a_failure_of_the_first() {
    let mut fleet = Fleet::start(1, 1);
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(fleet.table(50.0));
    fleet.replicas.truncate(1);
    let mut client = Client::connect(endpoint);
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "old");
    }
    let (old, new) = sides(&until_counted(&mut controller, 11));
    println!(
        "{} failed of {} at the new version",
        new.errors, new.requests
    );
    assert!(new.requests >= 1 && new.errors == new.requests, "{new:?}");
    assert_eq!((old.requests, old.errors), (10, 0));
}

#[test]
fn a_client_that_gives_up_waiting_was_left_without_an_answer() {
    let old = Replica::named("old");
    let new = Replica::start(|exchange| {
        exchange.wait_for_end();
        Then::Close
    });
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(table_with(&old, &new, 100.0));
    for _ in 0..3 {
        let mut client = Client::connect(endpoint);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        controller.until_in_flight(2, 1);
        drop(client);
        controller.until_in_flight(2, 0);
    }
    let (_, new) = sides(&until_counted(&mut controller, 3));
    assert_eq!((new.requests, new.errors), (3, 3));
}

#[test]
fn requests_from_before_the_share_changed_are_no_sample() {
    let old = Replica::named("old");
    let new = Replica::start(|exchange| {
        exchange.body();
        exchange.answer("new")
    });
    let first = table_with(&old, &new, 100.0);
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let mut early = Client::connect(endpoint);
    early.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
    controller.until_in_flight(2, 1);
    let same = newer(&first, |table| table.load_balancer.slow_start_seconds = 0.0);
    controller.acknowledged(same.clone());
    let other = newer(&same, |table| {
        table.split.as_mut().unwrap().weight_percent = 50.0;
    });
    controller.acknowledged(other);
    early.send("x");
    assert_eq!(early.answer().text(), "new");
    load(endpoint, 80);
    let (old, new) = sides(&until_counted(&mut controller, 80));
    assert_eq!(old.requests + new.requests, 80);
}

#[test]
fn a_worker_that_begins_anew_says_so() {
    let fleet = Fleet::start(1, 1);
    let (proxy, mut controller, endpoint) = Proxy::serving_table(fleet.table(50.0));
    load(endpoint, 80);
    let before = until_counted(&mut controller, 80);
    let (_, worker) = proxy.processes();
    signal(worker, Signal::KILL);
    eventually("another worker", || proxy.processes().1 != worker);
    let mut controller = proxy.controller();
    load(endpoint, 40);
    let after = until_counted(&mut controller, 40);
    assert_ne!(after.counting_since, before.counting_since);
    let new = after.since(&before, 2);
    assert_eq!(new.old.requests + new.new.requests, 40, "{after:?}");
}
