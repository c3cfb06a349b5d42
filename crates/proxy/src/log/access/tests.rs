use std::time::{Duration, Instant};

use plan::routing::RoutingTable;
use spec::{LoadBalancer, LoadBalancingPolicy};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::TaskTracker;

use super::*;
use crate::log::LogWriter;
use crate::paths::ProxyPaths;
use crate::routing::{Service, Signals};

fn json(bytes: &[u8]) -> String {
    let mut line = Vec::new();
    push_json_string(&mut line, bytes);
    String::from_utf8(line).unwrap()
}

#[test]
fn strings_are_json_whatever_is_in_them() {
    for (bytes, expected) in [
        (&b"/plain"[..], "/plain"),
        (b"a\"b\\c", "a\"b\\c"),
        ("/käse".as_bytes(), "/käse"),
        (b"/\xff\x01\x7f", "/\u{ff}\u{1}\u{7f}"),
        (b"", ""),
    ] {
        let text: String = serde_json::from_str(&json(bytes)).unwrap();
        assert_eq!(text, expected);
    }
}

#[test]
fn times_are_rfc_3339() {
    let mut line = Vec::new();
    push_time(&mut line, clock::monotonic_micros());
    let text = String::from_utf8(line).unwrap();
    let time: jiff::Timestamp = text.parse().unwrap();
    assert!(
        time.duration_until(jiff::Timestamp::now()).as_secs() < 60,
        "{text}"
    );
    assert_eq!(text.len(), "2026-01-02T03:04:05.678Z".len());
}

/// Requests per measurement.
const ROUNDS: u32 = 100_000;

fn endpoint(logs: LogSender, access_log: bool) -> (Rc<Endpoint>, Upstream) {
    let upstream = Upstream {
        replica_id: 1,
        version: 1,
        address: "127.0.0.1:1".parse().unwrap(),
        weight: 1.0,
        ready_since: None,
    };
    let table = RoutingTable {
        service: "http-server".to_owned(),
        generation: 1,
        listen: "127.0.0.1:2".parse().unwrap(),
        policy: LoadBalancingPolicy::LeastLoad,
        load_balancer: LoadBalancer {
            access_log,
            ..LoadBalancer::default()
        },
        tls: None,
        api_keys: None,
        split: None,
        upstreams: vec![upstream.clone()],
    };
    let signals = Signals {
        drained: Arc::new(Notify::new()),
        failures: mpsc::channel(1).0,
    };
    let service = Service::new(table, signals);
    let endpoint = Endpoint::new(service, logs, TaskTracker::new());
    (endpoint, upstream)
}

/// One request as the HTTP/1.1 path tells it.
fn record(endpoint: &Rc<Endpoint>, upstream: &Upstream, id: &[u8]) {
    let mut record = RequestRecord::start(endpoint, b"GET", b"/v1/models/llama?verbose");
    record.identify("HTTP/1.1", id);
    record.attempt(upstream);
    record.answered(200);
    record.sent(1234);
    record.outcome(Outcome::Completed);
}

#[test]
fn a_line_is_json_whatever_the_request_is() {
    let home = tempfile::tempdir().unwrap();
    let paths = ProxyPaths {
        home: home.path().to_owned(),
    };
    paths.prepare().unwrap();
    let (writer, logs) = LogWriter::start(paths.clone()).unwrap();
    let (endpoint, upstream) = endpoint(logs, true);
    let long = [b'x'; 500];
    let ids = [&b"plain"[..], b"\"\\\x00\xff", b"", &long];
    for id in ids {
        record(&endpoint, &upstream, id);
    }
    drop(RequestRecord::start(&endpoint, b"", b""));
    drop(endpoint);
    writer.finish();
    let text = std::fs::read_to_string(paths.access_log("http-server")).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ids: Vec<_> = lines
        .iter()
        .map(|line| line["request_id"].as_str())
        .collect();
    let bounded = "x".repeat(MAX_ID_BYTES);
    let expected = [
        Some("plain"),
        Some("\"\\\0\u{ff}"),
        None,
        Some(&*bounded),
        None,
    ];
    assert_eq!(ids, expected);
    assert_eq!(lines[0]["path"], "/v1/models/llama");
    assert_eq!(lines[0]["protocol"], "HTTP/1.1");
    assert!(lines[4]["protocol"].is_null() && lines[4]["status"].is_null());
}

#[test]
#[ignore = "a measurement: cargo test --release -p proxy --lib -- --ignored --nocapture log::access"]
fn cost_of_a_record() {
    let home = tempfile::tempdir().unwrap();
    let paths = ProxyPaths {
        home: home.path().to_owned(),
    };
    paths.prepare().unwrap();
    let (writer, logs) = LogWriter::start(paths).unwrap();
    for access_log in [false, true] {
        let (endpoint, upstream) = endpoint(logs.clone(), access_log);
        let mut best = Duration::MAX;
        for _ in 0..20 {
            let begun = Instant::now();
            for _ in 0..ROUNDS {
                record(&endpoint, &upstream, b"0123456789abcdef0123456789abcdef");
            }
            best = best.min(begun.elapsed());
        }
        println!("access log {access_log}: {:?} per request", best / ROUNDS);
    }
    let (endpoint, upstream) = endpoint(logs, false);
    let mut record = RequestRecord::start(&endpoint, b"GET", b"/v1/models/llama?verbose");
    record.identify("HTTP/1.1", b"0123456789abcdef0123456789abcdef");
    record.attempt(&upstream);
    record.answered(200);
    let mut line = Vec::new();
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let begun = Instant::now();
        for round in 0..ROUNDS {
            line.clear();
            record.write(
                &mut line,
                b"\",\"service\":\"http-server\",\"method\":",
                u64::from(round),
            );
            std::hint::black_box(&line);
        }
        best = best.min(begun.elapsed());
    }
    println!("composing a line: {:?}", best / ROUNDS);
    drop((record, endpoint));
    writer.finish();
}
