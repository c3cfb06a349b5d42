//! What the logs say, and what they never say.

use std::fs;

use crate::support::client::{Client, get, request};
use crate::support::free_address;
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};

#[test]
fn a_request_is_one_line_with_what_one_needs_to_know() {
    let replica = Replica::named("four");
    let (proxy, _controller, endpoint) = Proxy::serving(&[free_address(), replica.address]);
    request(endpoint, "POST", "/p%20q?x", "Content-Length: 3\r\n\r\nabc");
    let line = proxy.accesses(1).pop().unwrap();
    for (key, value) in [
        ("service", "svc".into()),
        ("method", "POST".into()),
        ("path", "/p%20q".into()),
        ("status", 200.into()),
        ("replica", 2.into()),
        ("version", 1.into()),
        ("bytes_in", 3.into()),
        ("bytes_out", serde_json::Value::from(4)),
        ("attempts", 2.into()),
        ("outcome", "completed".into()),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    assert!(
        line["time"].as_str().unwrap().ends_with('Z'),
        "{}",
        line["time"]
    );
}

#[test]
fn how_a_request_ended_is_told_apart() {
    let replica = Replica::start(|exchange| {
        exchange.begin_chunks();
        exchange.send_chunk("x");
        if exchange.target() == "/cut" {
            return Then::Close;
        }
        exchange.wait_for_end();
        Then::Close
    });
    let (proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    request(endpoint, "GET", "/cut", "");
    let mut client = Client::connect(endpoint);
    client.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    drop(client);
    controller.until_in_flight(1, 0);
    controller.acknowledged(crate::support::table(endpoint, 2, []));
    get(endpoint);
    let mut hostless = Client::connect(endpoint);
    hostless.send("GET / HTTP/1.1\r\n\r\n");
    hostless.answer();
    let lines = proxy.accesses(4);
    let mut outcomes: Vec<_> = lines
        .iter()
        .map(|line| line["outcome"].as_str().unwrap())
        .collect();
    outcomes.sort_unstable();
    assert_eq!(
        outcomes,
        ["client_gone", "no_replica", "rejected", "replica_failed"]
    );
}

#[test]
fn no_credential_query_or_body_is_in_any_file() {
    let replica = Replica::named("answer-s3cret");
    let (proxy, mut controller, endpoint) = Proxy::serving(&[free_address(), replica.address]);
    let extra = "Authorization: Bearer s3cret\r\nCookie: id=s3cret\r\nX-Api-Key: s3cret\r\n\
                 Content-Length: 6\r\n\r\ns3cret";
    for _ in 0..2 {
        request(endpoint, "PUT", "/visible?token=s3cret", extra);
        request(
            endpoint,
            "GET",
            "http://user:s3cret@host/visible?s3cret",
            "",
        );
        get(endpoint);
    }
    controller.send_line("{\"command\":\"apply\",\"s3cret\":");
    proxy.accesses(6);
    crate::support::eventually("the event of the garbled command", || {
        proxy.has_event("command_not_understood")
    });
    let mut pending = vec![proxy.paths().home];
    let mut files = 0;
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.is_file() {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            assert!(!text.contains("s3cret"), "{}: {text}", path.display());
            files += 1;
        }
    }
    assert!(files >= 4, "{files} files were looked at");
}
