//! Who keeps others waiting is given up after the time that the settings say, and nobody else is.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use plan::routing::ProxyReport;
use spec::LoadBalancer;

use crate::support::black_hole::BlackHole;
use crate::support::client::{Client, get, request};
use crate::support::controller::Controller;
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::settings::with;
use crate::support::{PATIENCE, free_address, table};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// Between two things that somebody slow does.
const MOMENT: Duration = Duration::from_millis(50);

fn serving(
    addresses: impl IntoIterator<Item = SocketAddr>,
    change: impl FnOnce(&mut LoadBalancer),
) -> (Proxy, Controller, SocketAddr) {
    Proxy::serving_table(with(table(free_address(), 1, addresses), change))
}

/// Sends a byte now and then until something comes.
fn trickle(client: &mut Client, text: &str) {
    for byte in text.chars() {
        if client.hears_within(MOMENT) {
            return;
        }
        // The other side may close in the same moment.
        let _ = client.try_send(&byte.to_string());
    }
}

#[test]
fn a_head_that_comes_too_slowly_is_a_408_that_says_so() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = serving([replica.address], |settings| {
        settings.head_timeout_seconds = 0.4;
    });
    let slow = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n",
        "x".repeat(500)
    );
    let mut fresh = Client::connect(endpoint);
    let mut used = Client::connect(endpoint);
    assert_eq!(used.get("/").text(), "r");
    let mut half = Client::connect(endpoint);
    half.send("GET / HTTP/1.1\r\nHost: a\r\n");
    for client in [&mut fresh, &mut used, &mut half] {
        trickle(client, &slow);
        let answer = client.answer();
        assert_eq!(answer.status, 408);
        let detail = answer.detail();
        assert!(detail.contains("within 0.4 seconds"), "{detail}");
        assert!(
            detail.contains("load_balancer.head_timeout_seconds"),
            "{detail}"
        );
        assert_eq!(answer.head.get("connection"), Some("close"));
    }
    assert_eq!(replica.requests(), 1);
}

#[test]
fn the_next_head_is_no_slower_for_having_begun_behind_a_request() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = serving([replica.address], |settings| {
        settings.head_timeout_seconds = 0.3;
        settings.idle_timeout_seconds = PATIENCE.as_secs_f64() * 4.0;
    });
    let mut client = Client::connect(endpoint);
    client.send(&format!("{GET}GET /next HT"));
    assert_eq!(client.answer().text(), "r");
    assert_eq!(client.answer().status, 408);
}

#[test]
fn a_connection_that_is_not_used_is_closed_and_one_in_use_is_not() {
    let replica = Replica::start(|exchange| {
        exchange.begin_chunks();
        for _ in 0..16 {
            thread::sleep(MOMENT);
            exchange.send_chunk("x");
        }
        exchange.send("0\r\n\r\n");
        Then::Keep
    });
    let (_proxy, _controller, endpoint) = serving([replica.address], |settings| {
        settings.idle_timeout_seconds = 0.3;
    });
    let mut unused = Client::connect(endpoint);
    let mut client = Client::connect(endpoint);
    let answer = client.get("/");
    assert!(answer.body.complete);
    assert_eq!(answer.body.bytes.len(), 16);
    // Neither is told anything: there is nothing to answer.
    assert!(unused.is_ended());
    assert!(client.is_ended());
}

#[test]
fn a_replica_that_drops_packets_costs_no_client_more_than_the_connect_timeout() {
    let (hole, good) = (BlackHole::open(), Replica::named("good"));
    let addresses = [hole.address, good.address];
    let (_proxy, mut controller, endpoint) = serving(addresses, |settings| {
        settings.connect_timeout_seconds = 0.3;
    });
    thread::scope(|scope| {
        for number in 0..16 {
            scope.spawn(move || {
                let begun = Instant::now();
                let post = "Content-Length: 2\r\n\r\nhi";
                let answer = match number % 2 {
                    0 => get(endpoint),
                    _ => request(endpoint, "POST", "/", post),
                };
                assert_eq!(answer.text(), "good");
                // The system's own patience is minutes; the setting's usual value is 4 s.
                let took = begun.elapsed();
                assert!(took < Duration::from_secs(3), "{took:?}");
            });
        }
    });
    let told = controller.until(|report| match report {
        ProxyReport::UpstreamFailed {
            replica_id: 1,
            error,
            ..
        } => Some(error.clone()),
        _ => None,
    });
    assert!(told.contains("no answer within 0.3 s"), "{told}");
    // By now it is ejected: nobody waits for it at all.
    assert_eq!(good.requests(), 16);
    let begun = Instant::now();
    for _ in 0..10 {
        assert_eq!(get(endpoint).text(), "good");
    }
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn when_every_replica_drops_packets_the_client_is_told_after_the_connect_timeout() {
    let hole = BlackHole::open();
    let (_proxy, _controller, endpoint) = serving([hole.address], |settings| {
        settings.connect_timeout_seconds = 0.3;
    });
    let begun = Instant::now();
    assert_eq!(get(endpoint).status, 503);
    let took = begun.elapsed();
    let expected = Duration::from_millis(250)..Duration::from_secs(3);
    assert!(expected.contains(&took), "{took:?}");
}

#[test]
fn a_replica_that_is_silent_before_its_answer_is_a_504_that_says_so() {
    let silent = Replica::start(|exchange| {
        exchange.wait_for_end();
        Then::Close
    });
    let (_proxy, mut controller, endpoint) = serving([silent.address], |settings| {
        settings.stream_timeout_seconds = 0.3;
    });
    let mut client = Client::connect(endpoint);
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!(answer.status, 504);
        let detail = answer.detail();
        assert!(detail.contains("within 0.3 seconds"), "{detail}");
        assert!(
            detail.contains("load_balancer.stream_timeout_seconds"),
            "{detail}"
        );
    }
    assert_eq!(silent.requests(), 2, "it is not asked again");
    controller.until(|report| match report {
        ProxyReport::UpstreamFailed { error, .. } => error.contains("stream timeout").then_some(()),
        _ => None,
    });
}

#[test]
fn a_replica_that_falls_silent_within_its_answer_is_cut_off_for_all_to_see() {
    let replica = Replica::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\n");
        exchange.send(match exchange.target() {
            "/chunks" => "Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n",
            "/length" => "Content-Length: 10\r\n\r\nbegin",
            _ => "\r\nbegin",
        });
        exchange.wait_for_end();
        Then::Close
    });
    let (_proxy, _controller, endpoint) = serving([replica.address], |settings| {
        settings.stream_timeout_seconds = 0.3;
    });
    for (target, version) in [
        ("/chunks", 1),
        ("/length", 1),
        ("/end", 1),
        ("/chunks", 0),
        ("/end", 0),
    ] {
        let mut client = Client::connect(endpoint);
        client.send(&format!("GET {target} HTTP/1.{version}\r\nHost: a\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.status, 200);
        assert!(answer.body.bytes.starts_with(b"begin") || answer.body.bytes.is_empty());
        assert!(!answer.body.complete, "{target} HTTP/1.{version}");
    }
}

#[test]
fn a_replica_that_says_a_little_now_and_then_is_not_silent() {
    let replica = Replica::start(|exchange| {
        exchange.body();
        exchange.begin_chunks();
        for _ in 0..16 {
            thread::sleep(MOMENT);
            exchange.send_chunk("x");
        }
        exchange.send("0\r\n\r\n");
        Then::Keep
    });
    let (_proxy, _controller, endpoint) = serving([replica.address], |settings| {
        settings.stream_timeout_seconds = 0.4;
    });
    let mut client = Client::connect(endpoint);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\n");
    // Nor is it while the client has it wait for the body.
    trickle(&mut client, &"x".repeat(16));
    let answer = client.answer();
    assert!(answer.body.complete);
    assert_eq!(answer.text(), "x".repeat(16));
}
