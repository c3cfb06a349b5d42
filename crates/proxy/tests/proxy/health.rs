//! Replicas that fail are left out for a while, but never so many that nobody is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use balance::health::{CONNECT_FAILURES, SERVER_ERRORS};
use plan::routing::{ProxyCommand, ProxyReport, ReplicaId};

use crate::support::client::{Client, get};
use crate::support::controller::Controller;
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::settings::with;
use crate::support::{eventually, free_address, table};

const CONNECTIONS: usize = CONNECT_FAILURES as usize;
const ERRORS: usize = SERVER_ERRORS as usize;
/// Longer than a replica is suspect after a failure.
const NO_LONGER_SUSPECT: Duration = Duration::from_millis(1200);

/// Answers every request with 500.
fn broken() -> Replica {
    Replica::start(|exchange| {
        exchange.body();
        exchange.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 6\r\n\r\nbroken");
        Then::Keep
    })
}

/// Waits until a replica is reported to be left out, and gives the report.
fn until_ejected(controller: &mut Controller, replica: ReplicaId) -> String {
    controller.until(|report| match report {
        ProxyReport::UpstreamFailed {
            replica_id, error, ..
        } => (*replica_id == replica && error.contains("gets no requests")).then(|| error.clone()),
        _ => None,
    })
}

fn probe_succeeded(controller: &mut Controller, replica_id: ReplicaId) {
    controller.send(&ProxyCommand::ProbeSucceeded {
        service: "svc".to_owned(),
        replica_id,
    });
}

#[test]
fn a_replica_that_drops_connections_is_left_out_until_a_probe_succeeds() {
    let waiting = Arc::new(AtomicUsize::new(0));
    // Drops them when enough have come to leave it out: after the first alone it would be passed over for a moment.
    let dropping = Replica::start(move |exchange| {
        exchange.body();
        waiting.fetch_add(1, Ordering::SeqCst);
        eventually("more to drop", || {
            waiting.load(Ordering::SeqCst) >= CONNECTIONS
        });
        Then::Close
    });
    let good = Replica::named("good");
    let (proxy, mut controller, endpoint) = Proxy::serving(&[dropping.address, good.address]);
    thread::scope(|scope| {
        for _ in 0..2 * CONNECTIONS {
            scope.spawn(|| assert_eq!(get(endpoint).text(), "good"));
        }
    });
    let told = until_ejected(&mut controller, 1);
    assert!(
        told.contains("for 9 s") || told.contains("for 10 s"),
        "{told}"
    );
    let seen = dropping.requests();
    thread::sleep(NO_LONGER_SUSPECT);
    for _ in 0..20 {
        assert_eq!(get(endpoint).text(), "good");
    }
    assert_eq!(dropping.requests(), seen, "it is left out");

    probe_succeeded(&mut controller, 1);
    eventually("the event", || proxy.has_event("replica_returned"));
    for _ in 0..4 {
        assert_eq!(get(endpoint).text(), "good");
    }
    // On trial: its first failure leaves it out again.
    assert_eq!(dropping.requests(), seen + 1);
    until_ejected(&mut controller, 1);
}

#[test]
fn a_replica_that_answers_500_is_left_out_and_a_probe_does_not_see_why() {
    let (broken, good) = (broken(), Replica::named("good"));
    let (proxy, mut controller, endpoint) = Proxy::serving(&[broken.address, good.address]);
    let statuses: Vec<_> = (0..40).map(|_| get(endpoint).status).collect();
    assert_eq!(broken.requests(), ERRORS);
    let failed = statuses.iter().filter(|status| **status == 500).count();
    assert_eq!(failed, ERRORS, "each answer goes to who asked");
    let told = until_ejected(&mut controller, 1);
    assert!(told.contains("answers with 500"), "{told}");
    probe_succeeded(&mut controller, 1);
    // In the order of the commands.
    controller.acknowledged(table(endpoint, 2, [broken.address, good.address]));
    for _ in 0..20 {
        assert_eq!(get(endpoint).text(), "good");
    }
    assert_eq!(broken.requests(), ERRORS, "also after a new table");
    assert!(!proxy.has_event("replica_returned"));
}

#[test]
fn a_success_breaks_the_run_of_failures() {
    let replica = Replica::start(|exchange| {
        if exchange.number % ERRORS == ERRORS - 1 {
            return exchange.answer("good");
        }
        exchange.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        Then::Keep
    });
    let other = Replica::named("other");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address, other.address]);
    let mut client = Client::connect(endpoint);
    for _ in 0..60 {
        client.get("/");
    }
    assert_eq!(replica.requests(), 30);
}

#[test]
fn at_most_half_of_the_replicas_are_left_out() {
    let replicas = [(); 4].map(|()| broken());
    let addresses = replicas.each_ref().map(|replica| replica.address);
    let (_proxy, _controller, endpoint) = Proxy::serving(&addresses);
    for _ in 0..60 {
        assert_eq!(get(endpoint).status, 500, "the replica's own answer");
    }
    let mut requests = replicas.each_ref().map(Replica::requests);
    requests.sort_unstable();
    assert_eq!(requests[..2], [ERRORS, ERRORS]);
    assert_eq!(requests[2..], [25, 25]);
}

#[test]
fn the_only_replica_is_never_left_out() {
    let broken = broken();
    let (_proxy, _controller, endpoint) = Proxy::serving(&[broken.address]);
    for _ in 0..3 * ERRORS {
        assert_eq!(get(endpoint).text(), "broken");
    }
    assert_eq!(broken.requests(), 3 * ERRORS);
}

#[test]
fn who_is_left_out_is_asked_rather_than_nobody() {
    let (broken, good) = (broken(), Replica::named("good"));
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[broken.address, good.address]);
    for _ in 0..2 * ERRORS {
        get(endpoint);
    }
    until_ejected(&mut controller, 1);
    assert_eq!(get(endpoint).text(), "good");
    drop(good);
    for _ in 0..3 {
        assert_eq!(get(endpoint).text(), "broken");
    }
}

#[test]
fn who_is_left_out_is_not_asked_because_the_others_are_busy() {
    let broken = broken();
    let good = Replica::start(|exchange| {
        thread::sleep(Duration::from_millis(5));
        exchange.answer("good")
    });
    let table = table(free_address(), 1, [broken.address, good.address]);
    let table = with(table, |settings| {
        settings.max_requests_per_replica = Some(1);
        settings.queue.max_requests = 100;
    });
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(table);
    for _ in 0..2 * ERRORS {
        get(endpoint);
    }
    until_ejected(&mut controller, 1);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(get(endpoint).text(), "good"));
        }
    });
    assert_eq!(broken.requests(), ERRORS);
}

/// How often replicas that read each request and then drop it are asked when 300 requests come, and how many seconds
/// that takes.
fn asked_with_budget(percent: f64) -> (usize, f64) {
    let dropping = [(); 2].map(|()| {
        Replica::start(|exchange| {
            exchange.body();
            Then::Close
        })
    });
    let addresses = dropping.each_ref().map(|replica| replica.address);
    let table = with(table(free_address(), 1, addresses), |settings| {
        settings.retry_budget_percent = percent;
    });
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    let begun = Instant::now();
    let mut client = Client::connect(endpoint);
    for _ in 0..300 {
        assert_eq!(client.get("/").status, 502);
    }
    let seconds = begun.elapsed().as_secs_f64();
    (dropping.iter().map(Replica::requests).sum(), seconds)
}

#[test]
fn a_service_that_fails_is_not_hammered_with_retries() {
    for (percent, share) in [(0.0, 0), (20.0, 60), (100.0, 300)] {
        let (asked, seconds) = asked_with_budget(percent);
        // Ten a second may always be, and a second's worth at the start.
        let always = 10.0 * (seconds + 1.0) + 2.0;
        let most = 300 + share + always as usize;
        let expected = 300 + share..=most.min(600);
        assert!(
            expected.contains(&asked),
            "{percent} %: {asked} not in {expected:?}"
        );
    }
}
