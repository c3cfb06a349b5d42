//! What a replica does wrong reaches the client as little as possible, and never as something else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use plan::routing::{ProxyReport, RoutingTable};
use serde_json::Value;

use crate::support::client::{Answer, Client, get, request};
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::{PATIENCE, eventually, free_address, table};

const POST: &str = "Content-Length: 2\r\n\r\nhi";

fn detail(answer: &Answer) -> String {
    assert_eq!(answer.head.get("content-type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&answer.body.bytes).unwrap();
    body["detail"].as_str().unwrap().to_owned()
}

/// Reads a request and closes the connection without a word.
fn mute() -> Replica {
    Replica::start(|exchange| {
        exchange.body();
        Then::Close
    })
}

#[test]
fn a_refused_connection_is_tried_on_another_replica_for_every_method() {
    let good = Replica::named("good");
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[free_address(), good.address]);
    for _ in 0..4 {
        assert_eq!(get(endpoint).text(), "good");
        assert_eq!(request(endpoint, "POST", "/", POST).text(), "good");
    }
    let (replica, error) = controller.until(|report| match report {
        ProxyReport::UpstreamFailed {
            replica_id, error, ..
        } => Some((*replica_id, error.clone())),
        _ => None,
    });
    assert_eq!(replica, 1);
    assert!(error.contains("refused"), "{error}");
}

#[test]
fn failures_of_a_replica_are_reported_rarely() {
    let good = Replica::named("good");
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[free_address(), good.address]);
    for _ in 0..50 {
        get(endpoint);
    }
    controller.acknowledged(table(endpoint, 2, [good.address]));
    let mut reports = 0;
    controller.until(|report| match report {
        ProxyReport::UpstreamFailed { .. } => {
            reports += 1;
            None
        }
        ProxyReport::Traffic { arrivals, .. } if !arrivals.is_empty() => Some(()),
        _ => None,
    });
    assert!(reports < 20, "{reports} reports of 50 requests");
}

#[test]
fn a_post_that_may_have_been_read_is_not_sent_again() {
    let (mute, good) = (mute(), Replica::named("good"));
    let (_proxy, _controller, endpoint) = Proxy::serving(&[mute.address, good.address]);
    let answer = request(endpoint, "POST", "/", POST);
    assert_eq!(answer.status, 502);
    assert!(detail(&answer).contains("not sent again"));
    assert_eq!((mute.requests(), good.requests()), (1, 0));
    // A replica that dropped a request is passed over for a moment.
    assert_eq!(request(endpoint, "POST", "/", POST).text(), "good");
}

#[test]
fn an_idempotent_request_that_may_have_been_read_is_sent_to_another_replica() {
    let (mute, good) = (mute(), Replica::named("good"));
    let (_proxy, _controller, endpoint) = Proxy::serving(&[mute.address, good.address]);
    for method in ["GET", "DELETE", "OPTIONS"] {
        let seen = mute.requests();
        eventually("the mute replica to be asked", || {
            assert_eq!(
                request(endpoint, method, "/", "").text(),
                "good",
                "{method}"
            );
            mute.requests() > seen
        });
    }
}

#[test]
fn a_request_that_every_replica_dropped_is_a_502() {
    let mute = mute();
    let (_proxy, _controller, endpoint) = Proxy::serving(&[mute.address]);
    assert_eq!(get(endpoint).status, 502);
    assert_eq!(mute.requests(), 1, "never twice on the same replica");
}

#[test]
fn no_replica_is_a_503_at_once_that_says_when_to_come_back() {
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[]);
    let answer = get(endpoint);
    assert_eq!(
        (answer.status, answer.head.get("retry-after")),
        (503, Some("5"))
    );
    assert!(detail(&answer).starts_with("No ready replicas. Use \"sky serve status svc\""));
    controller.acknowledged(table(endpoint, 2, [free_address(), free_address()]));
    assert_eq!(get(endpoint).status, 503);
    controller.until_arrived(2);
}

/// A replica that closes a kept connection after `answers` requests, without announcing it.
fn closes_after(answers: usize) -> Replica {
    Replica::start(move |exchange| {
        exchange.body();
        exchange.answer("ok");
        if exchange.number + 1 == answers {
            Then::Close
        } else {
            Then::Keep
        }
    })
}

#[test]
fn a_stale_connection_is_not_noticed_by_the_client() {
    let replica = closes_after(1);
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    for _ in 0..50 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(replica.requests(), 50);
}

#[test]
fn a_post_is_not_given_to_a_connection_that_the_replica_closed() {
    let replica = closes_after(1);
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    for turn in 0..5 {
        client.send(&format!("POST / HTTP/1.1\r\nHost: a\r\n{POST}"));
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "ok"),
            "turn {turn}"
        );
        // The replica closes after its answer: a round trip of something else lets that arrive.
        controller.acknowledged(table(endpoint, turn + 2, [replica.address]));
    }
}

#[test]
fn a_get_lost_on_a_stale_connection_is_sent_again_on_a_new_one() {
    let replica = Replica::start(|exchange| {
        exchange.body();
        if exchange.number > 0 {
            return Then::Close;
        }
        exchange.answer("ok")
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "ok");
    }
}

fn with_timeout(seconds: f64, replica: &Replica) -> RoutingTable {
    let mut table = table(free_address(), 1, [replica.address]);
    table.load_balancer.stream_timeout_seconds = seconds;
    table
}

#[test]
fn silence_before_the_answer_is_a_504() {
    let replica = Replica::start(|exchange| {
        exchange.wait_for_end();
        Then::Close
    });
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(with_timeout(0.2, &replica));
    let answer = get(endpoint);
    assert_eq!(answer.status, 504);
    assert!(detail(&answer).contains("stream_timeout_seconds"));
    controller.until_in_flight(1, 0);
    assert_eq!(replica.requests(), 1, "not sent again");
}

#[test]
fn silence_within_the_answer_cuts_it_visibly() {
    let replica = Replica::start(|exchange| {
        exchange.begin_chunks();
        exchange.send_chunk("begin");
        exchange.wait_for_end();
        Then::Close
    });
    let (_proxy, _controller, endpoint) = Proxy::serving_table(with_timeout(0.2, &replica));
    let answer = get(endpoint);
    assert_eq!((answer.status, answer.text().as_str()), (200, "begin"));
    assert!(!answer.body.complete);
}

#[test]
fn a_slow_stream_that_never_falls_silent_is_not_cut() {
    let replica = Replica::start(|exchange| {
        exchange.begin_chunks();
        for _ in 0..8 {
            std::thread::sleep(std::time::Duration::from_millis(250));
            exchange.send_chunk("x");
        }
        exchange.send("0\r\n\r\n");
        Then::Keep
    });
    let (_proxy, _controller, endpoint) = Proxy::serving_table(with_timeout(1.5, &replica));
    let answer = get(endpoint);
    assert!(answer.body.complete);
    assert_eq!(answer.text(), "xxxxxxxx");
}

#[test]
fn a_client_that_sends_slowly_does_not_count_as_silence_of_the_replica() {
    let replica = Replica::start(|exchange| {
        let body = exchange.body();
        exchange.answer(&String::from_utf8(body.bytes).unwrap())
    });
    let (_proxy, _controller, endpoint) = Proxy::serving_table(with_timeout(0.2, &replica));
    let mut client = Client::connect(endpoint);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nsl");
    std::thread::sleep(std::time::Duration::from_millis(700));
    client.send("ow");
    assert_eq!(client.answer().text(), "slow");
}

#[test]
fn an_answer_that_ends_early_looks_cut() {
    let replica = Replica::start(|exchange| {
        if exchange.target() == "/chunks" {
            exchange.begin_chunks();
            exchange.send_chunk("half");
        } else {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
        }
        Then::Close
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    for target in ["/chunks", "/length"] {
        let answer = request(endpoint, "GET", target, "");
        assert_eq!(
            (answer.text().as_str(), answer.body.complete),
            ("half", false),
            "{target}"
        );
    }
}

#[test]
fn a_replica_that_does_not_speak_http_is_a_502() {
    let replica = Replica::start(|exchange| {
        exchange.send("SSH-2.0-nonsense\r\n\r\n");
        Then::Close
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    assert_eq!(request(endpoint, "POST", "/", POST).status, 502);
}

#[test]
fn a_client_that_goes_away_frees_the_replica() {
    let (noticed, notice) = mpsc::channel();
    let noticed = Mutex::new(noticed);
    let answering = Arc::new(AtomicBool::new(false));
    let replica = {
        let answering = Arc::clone(&answering);
        Replica::start(move |exchange| {
            if answering.load(Ordering::SeqCst) {
                exchange.begin_chunks();
                exchange.send_chunk("begin");
            }
            exchange.wait_for_end();
            noticed.lock().unwrap().send(()).unwrap();
            Then::Close
        })
    };
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    for answers_first in [false, true] {
        answering.store(answers_first, Ordering::SeqCst);
        let mut client = Client::connect(endpoint);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        controller.until_in_flight(1, 1);
        if answers_first {
            client.head();
        }
        drop(client);
        notice.recv_timeout(PATIENCE).unwrap();
        controller.until_in_flight(1, 0);
    }
}

#[test]
fn a_replica_that_comes_back_is_used_again() {
    let address = free_address();
    let other = Replica::named("other");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[address, other.address]);
    assert_eq!(get(endpoint).text(), "other");
    assert_eq!(get(endpoint).text(), "other");
    let back = Replica::start_at(address, |exchange| exchange.answer("back"));
    eventually("the replica to be chosen again", || {
        get(endpoint).text() == "back"
    });
    drop(back);
}
