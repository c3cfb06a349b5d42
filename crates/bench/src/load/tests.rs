use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;

const GET: Request = Request {
    method: "GET",
    path: "/",
    body_bytes: 0,
    close: false,
};

/// A server that reads one request after the other and answers what `answer` gives for its number; `None` closes.
/// Counts connections.
fn server(answer: fn(usize) -> Option<&'static str>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    thread::spawn(move || {
        let requests = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
            let requests = Arc::clone(&requests);
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                    match answer(requests.fetch_add(1, Ordering::SeqCst)) {
                        Some(text) if stream.write_all(text.as_bytes()).is_ok() => {}
                        _ => return,
                    }
                }
            });
        }
    });
    (address, connections)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno";

fn plan(connections: usize, milliseconds: u64, rate: Option<f64>) -> Plan {
    let duration = Duration::from_millis(milliseconds);
    Plan {
        connections,
        duration,
        rate,
    }
}

#[test]
fn a_closed_loop_keeps_its_connections() {
    let (address, connections) = server(|_| Some(OK));
    let outcome = run(address, &GET, plan(3, 100, None)).unwrap();
    assert!(outcome.requests > 0 && outcome.p50_ns <= outcome.p99_ns);
    assert_eq!(outcome.errors, 0);
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[test]
fn an_open_loop_sends_what_is_due_and_no_more() {
    let (address, _) = server(|_| Some(OK));
    let outcome = run(address, &GET, plan(4, 200, Some(500.0))).unwrap();
    assert_eq!((outcome.requests, outcome.errors), (100, 0));
}

#[test]
fn an_open_loop_charges_a_stall_to_every_request_that_waited() {
    let (address, _) = server(|number| {
        if number == 0 {
            thread::sleep(Duration::from_millis(100));
        }
        Some(OK)
    });
    let outcome = run(address, &GET, plan(1, 100, Some(1000.0))).unwrap();
    assert_eq!((outcome.requests, outcome.errors), (100, 0));
    // Requests were due evenly over the stall: half of them waited for more than its half.
    assert!(outcome.p50_ns.unwrap() >= 40_000_000, "{outcome:?}");
}

#[test]
fn errors_are_counted_and_the_load_goes_on() {
    let (address, _) = server(|number| match number % 3 {
        0 => Some(OK),
        1 => Some(BUSY),
        _ => None,
    });
    let outcome = run(address, &GET, plan(1, 200, Some(300.0))).unwrap();
    assert_eq!(outcome.requests + outcome.errors, 60, "{outcome:?}");
    assert_eq!(outcome.requests, 20, "{outcome:?}");
}

#[test]
fn closing_uses_a_connection_for_each_request() {
    let (address, connections) = server(|_| Some(OK));
    let request = Request { close: true, ..GET };
    let outcome = run(address, &request, plan(2, 50, None)).unwrap();
    assert_eq!(outcome.errors, 0);
    assert!(connections.load(Ordering::SeqCst) as u64 >= outcome.requests);
}

#[test]
fn a_request_says_the_length_of_its_body() {
    let request = Request {
        method: "POST",
        body_bytes: 5,
        close: true,
        ..GET
    };
    let text = String::from_utf8(request.bytes(([127, 0, 0, 1], 80).into())).unwrap();
    assert!(text.starts_with("POST / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n"));
    assert!(text.contains("Connection: close\r\n"));
    assert!(text.ends_with("Content-Length: 5\r\n\r\nxxxxx"));
}
