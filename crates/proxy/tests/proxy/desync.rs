//! One request of a client is exactly one request at a replica, and what is refused is none: hostile and odd bytes, whole,
//! byte by byte, and behind another request on the same connection.

mod accepted;
mod refused;

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;

use crate::support::client::Client;
use crate::support::process::Proxy;
use crate::support::recorder::Recorder;

thread_local! {
    /// Requests of this test that may have come broken and were not seen yet.
    static MAY_BREAK: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// What the smuggled request of all these would be.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// What a client sends, and what must come of it.
struct Case {
    name: String,
    bytes: Vec<u8>,
    /// Request line and body of each request that reaches the replica.
    requests: Vec<(String, String)>,
    /// Of all answers, in order.
    statuses: Vec<u16>,
    /// Whether the proxy closes the connection after them.
    closed: bool,
    /// Whether the replica may see the beginning of a request before the proxy finds out.
    may_break: bool,
}

/// How the bytes come.
#[derive(Clone, Copy, Debug)]
enum Pace {
    Whole,
    ByteByByte,
    /// In the same write as a request before them.
    Pipelined,
}

fn run(cases: &[Case]) {
    let recorder = Recorder::start();
    let (_proxy, _controller, endpoint) = Proxy::serving(&[recorder.address]);
    for case in cases {
        for pace in [Pace::Whole, Pace::ByteByByte, Pace::Pipelined] {
            play(case, pace, endpoint, &recorder);
        }
    }
    // Whatever had been on its way to the replica would have arrived by now.
    let mut client = Client::connect(endpoint);
    assert_eq!(client.get("/last").status, 200);
    assert_eq!(lines(&recorder), ["GET /last HTTP/1.1"]);
    assert_eq!(recorder.malformed(), [""; 0]);
}

/// A reset is an end too: the client may have been sending still.
fn has_ended(client: &mut Client) -> bool {
    match client.reader.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn lines(recorder: &Recorder) -> Vec<String> {
    let requests = recorder.take();
    requests.into_iter().map(|request| request.line).collect()
}

fn play(case: &Case, pace: Pace, endpoint: SocketAddr, recorder: &Recorder) {
    let context = format!("{} ({pace:?})", case.name);
    let mut client = Client::connect(endpoint);
    let (mut requests, mut statuses) = (case.requests.clone(), case.statuses.clone());
    match pace {
        // A refusal may come before everything is sent; then sending may fail.
        Pace::Whole => drop(client.try_send_bytes(&case.bytes)),
        Pace::ByteByByte => {
            for byte in &case.bytes {
                if client.try_send_bytes(&[*byte]).is_err() {
                    break;
                }
            }
        }
        Pace::Pipelined => {
            let before = b"GET /before HTTP/1.1\r\nHost: a\r\n\r\n";
            let _ = client.try_send_bytes(&[&before[..], &case.bytes].concat());
            requests.insert(0, ("GET /before HTTP/1.1".to_owned(), String::new()));
            statuses.insert(0, 200);
        }
    }
    for (index, status) in statuses.iter().enumerate() {
        let answer = client.try_answer();
        let answer = answer.unwrap_or_else(|error| panic!("{context}: answer {index}: {error}"));
        assert_eq!(answer.status, *status, "{context}: answer {index}");
        assert!(answer.body.complete, "{context}: answer {index}");
        if let Some((line, body)) = requests.get(index).filter(|_| *status == 200) {
            assert_eq!(answer.text(), format!("{line}|{body}"), "{context}");
        }
    }
    if case.closed {
        assert!(has_ended(&mut client), "{context}: not closed");
    } else {
        let probe = client.get("/probe").text();
        assert_eq!(
            probe, "GET /probe HTTP/1.1|",
            "{context}: what was left over"
        );
        requests.push(("GET /probe HTTP/1.1".to_owned(), String::new()));
    }
    let seen: Vec<(String, String)> = recorder
        .take()
        .into_iter()
        .map(|request| {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            (request.line, body)
        })
        .collect();
    assert_eq!(seen, requests, "{context}");
    let broken = recorder.take_broken();
    // TCP may cut anywhere: a head can come, and be passed on, before the body that makes its request none.
    // The replica may write it down after the next case has begun.
    let allowed = MAY_BREAK.get() + usize::from(case.may_break);
    assert!(broken.len() <= allowed, "{context}: {broken:?}");
    MAY_BREAK.set(allowed - broken.len());
    assert_eq!(recorder.malformed(), [""; 0], "{context}");
}
