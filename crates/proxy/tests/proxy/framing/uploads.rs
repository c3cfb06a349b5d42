//! Bodies of requests: waited for, refused, cut short, and large.

use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::client::{Client, request};
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::{PATIENCE, free_address, table};

/// By how much the worker may grow while a body of any size passes.
pub(super) const ALLOWED_BYTES: u64 = 8 << 20;

/// Memory of the worker (`VmRSS`).
pub(super) fn resident_bytes(proxy: &Proxy) -> u64 {
    let (_, worker) = proxy.processes();
    let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    kibibytes.unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn an_expectation_is_the_replicas_to_meet() {
    let replica = Replica::start(|exchange| {
        assert_eq!(exchange.head.get("expect"), Some("100-continue"));
        exchange.send("HTTP/1.1 100 Continue\r\n\r\n");
        let body = exchange.body();
        exchange.answer(&String::from_utf8(body.bytes).unwrap())
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        client.send(&format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"
        ));
        assert_eq!(client.head().first_line, "HTTP/1.1 100 Continue");
        let chunked = framing.contains("chunked");
        client.send(if chunked {
            "5\r\nhello\r\n0\r\n\r\n"
        } else {
            "hello"
        });
        assert_eq!(client.answer().text(), "hello");
    }
}

#[test]
fn an_expectation_that_is_not_met_ends_the_connection_and_says_so() {
    for status in ["417 Expectation Failed", "413 Content Too Large"] {
        let replica = Replica::start(move |exchange| {
            exchange.send(&format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno"));
            exchange.wait_for_end();
            Then::Close
        });
        let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
        let mut client = Client::connect(endpoint);
        client
            .send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.head.first_line, format!("HTTP/1.1 {status}"));
        assert_eq!(answer.text(), "no");
        // What follows may be the body or the next request: nobody could tell.
        assert_eq!(answer.head.get("connection"), Some("close"));
        let _ = client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.is_ended());
        assert_eq!(replica.requests(), 1);
    }
}

#[test]
fn an_early_answer_to_a_large_upload_arrives_though_the_replica_closes() {
    let replica = Replica::start(|exchange| {
        exchange.send(
            "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
        );
        Then::Close
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    for _ in 0..10 {
        let mut client = Client::connect(endpoint);
        let mut writer = client.reader.get_ref().try_clone().unwrap();
        let upload = std::thread::spawn(move || {
            let _ =
                writer.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
            let piece = [b'x'; 10_000];
            (0..1000)
                .take_while(|_| writer.write_all(&piece).is_ok())
                .count()
        });
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
        assert!(answer.body.complete);
        drop(client);
        upload.join().unwrap();
    }
}

#[test]
fn a_large_upload_waits_for_a_slow_replica_and_holds_little_memory() {
    const BYTES: usize = 50_000_000;
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let replica = Replica::start(move |exchange| {
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
        let (mut read, mut piece) = (0, vec![0; 100_000]);
        while read < BYTES {
            match exchange.reader.read(&mut piece) {
                Ok(some) if some > 0 => read += some,
                _ => return Then::Close,
            }
        }
        exchange.answer(&read.to_string())
    });
    let (proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    let before = resident_bytes(&proxy);
    client.send(&format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BYTES}\r\n\r\n"
    ));
    let sent = send_until_blocked(&mut client, BYTES);
    assert!(sent < BYTES, "nothing held the client back");
    assert!(resident_bytes(&proxy) < before + ALLOWED_BYTES);
    go.send(()).unwrap();
    let rest = vec![b'x'; BYTES - sent];
    client.reader.get_mut().write_all(&rest).unwrap();
    assert_eq!(client.answer().text(), BYTES.to_string());
    assert!(resident_bytes(&proxy) < before + ALLOWED_BYTES);
}

/// Sends up to `limit` bytes until the other side has taken none for a while; gives how many were sent.
fn send_until_blocked(client: &mut Client, limit: usize) -> usize {
    let stream = client.reader.get_mut();
    stream.set_nonblocking(true).unwrap();
    let piece = [b'x'; 50_000];
    let (mut sent, mut last) = (0, Instant::now());
    while sent < limit && last.elapsed() < Duration::from_millis(300) {
        match stream.write(&piece[..piece.len().min(limit - sent)]) {
            Ok(written) => {
                sent += written;
                last = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    sent
}

#[test]
fn a_body_over_the_limit_reaches_no_replica_however_it_comes() {
    let replica = Replica::named("r");
    let mut limited = table(free_address(), 1, [replica.address]);
    limited.load_balancer.max_request_body_bytes = Some(10);
    let (_proxy, _controller, endpoint) = Proxy::serving_table(limited);
    let chunks = |length: usize| {
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{}\r\n0\r\n",
            "x".repeat(length)
        )
    };
    let length = |length: usize| format!("Content-Length: {length}\r\n\r\n{}", "x".repeat(length));
    for method in ["POST", "PUT"] {
        for extra in [length(11), length(30_000), chunks(11)] {
            let answer = request(endpoint, method, "/", &extra);
            assert_eq!(answer.status, 413, "{method} {extra}");
            assert!(answer.text().contains("max_request_body_bytes"));
        }
        assert_eq!(replica.requests(), 0, "{method}");
    }
    // Known before a byte of it is sent.
    let mut client = Client::connect(endpoint);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(client.answer().status, 413);
    assert_eq!(replica.requests(), 0);
    for extra in [length(10), chunks(10)] {
        assert_eq!(request(endpoint, "POST", "/", &extra).text(), "r");
    }
}

#[test]
fn a_client_that_ends_its_sending_within_a_body_is_told() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let replica = {
        let seen = Arc::clone(&seen);
        Replica::start(move |exchange| {
            let body = exchange.body();
            seen.lock().unwrap().push(body.complete);
            Then::Close
        })
    };
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    for body in [
        "Content-Length: 9\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n9\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ] {
        let mut client = Client::connect(endpoint);
        client.send(&format!("POST / HTTP/1.1\r\nHost: a\r\n{body}"));
        client.end_sending();
        assert_eq!(client.answer().status, 400, "{body}");
    }
    assert!(!seen.lock().unwrap().contains(&true));
}

#[test]
fn no_answer_begins_within_an_interim_answer() {
    let (blocked, full) = mpsc::channel::<()>();
    let blocked = Mutex::new(blocked);
    let hint = format!(
        "HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n",
        "a".repeat(10_007)
    );
    let replica = {
        let hint = hint.clone();
        Replica::start(move |exchange| {
            let stream = exchange.reader.get_ref();
            stream
                .set_write_timeout(Some(Duration::from_millis(300)))
                .unwrap();
            // Until the client, which reads nothing, holds up everything.
            while exchange.send(&hint) {}
            let _ = blocked.lock().unwrap().send(());
            exchange.wait_for_end();
            Then::Close
        })
    };
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    full.recv_timeout(PATIENCE).unwrap();
    client.send("no chunk\r\n");
    let mut bytes = Vec::new();
    let _ = client.reader.read_to_end(&mut bytes);
    let mut rest = &bytes[..];
    while let Some(after) = rest.strip_prefix(hint.as_bytes()) {
        rest = after;
    }
    assert!(
        hint.as_bytes().starts_with(rest) || rest.starts_with(b"HTTP/1.1 400 "),
        "{}",
        rest.get(..10_100).unwrap_or(rest).escape_ascii()
    );
}
