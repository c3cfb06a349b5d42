//! A worker that is told to end hands over: kept connections and requests that wait are not forgotten on the way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::process::{Proxy, is_alive, signal};
use crate::support::replica::Replica;
use crate::support::settings::{newer, with};
use crate::support::{eventually, free_address, table};

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";

/// How much later than it happens a client sees that its connection was closed: it is far away.
const DISTANCE: Duration = Duration::from_millis(20);

/// Sends over and over on a kept connection, on another one when it was told of the end; counts what was answered, and
/// what was lost.
fn post_from_far_away(endpoint: SocketAddr, stop: &AtomicBool) -> (usize, usize) {
    let (mut answered, mut lost) = (0, 0);
    let mut kept: Option<Client> = None;
    while !stop.load(Ordering::SeqCst) {
        let mut client = kept.take().unwrap_or_else(|| Client::connect(endpoint));
        let answer = client.try_send(POST).and_then(|()| client.try_answer());
        match answer {
            Ok(answer) => {
                answered += 1;
                let is_last = answer.head.get("connection") == Some("close");
                kept = Some(client).filter(|_| !is_last);
            }
            Err(_) => lost += 1,
        }
        thread::sleep(DISTANCE);
    }
    (answered, lost)
}

#[test]
fn a_request_on_its_way_on_a_kept_connection_is_answered() {
    let replica = Replica::named("r");
    let (proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || post_from_far_away(endpoint, &stop))
        })
        .collect();
    for _ in 0..3 {
        let before = replica.heads().len();
        eventually("answers", || replica.heads().len() > before + 20);
        let (_, worker) = proxy.processes();
        signal(worker, Signal::TERM);
        eventually("another worker", || proxy.processes().1 != worker);
    }
    stop.store(true, Ordering::SeqCst);
    let counts = clients.into_iter().map(|client| client.join().unwrap());
    let (answered, lost) = counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    assert!(answered > 60, "{answered}");
    assert_eq!(lost, 0, "of {answered}");
}

/// A client that has heard nothing of the change may ask once more whenever it likes, and hears then.
#[test]
fn a_connection_that_outlasted_its_worker_has_one_more_request() {
    let stop = Arc::new(AtomicBool::new(false));
    let replica = Replica::streaming(&stop);
    let (proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut idle = Client::connect(endpoint);
    assert_eq!(idle.get("/").text(), "r");
    let mut stream = Client::connect(endpoint);
    stream.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.head();
    let (_, worker) = proxy.processes();
    signal(worker, Signal::TERM);
    eventually("another worker", || proxy.processes().1 != worker);
    stop.store(true, Ordering::SeqCst);
    while !stream.chunk().unwrap().is_empty() {}
    for client in [&mut idle, &mut stream] {
        // Longer than a connection that ends for another reason is left.
        assert!(!client.hears_within(Duration::from_millis(700)));
        let answer = client.get("/");
        assert_eq!(answer.text(), "r");
        assert_eq!(answer.head.get("connection"), Some("close"));
        assert!(client.is_ended());
    }
    eventually("the old worker to end", || !is_alive(worker));
}

#[test]
fn a_request_that_waits_is_answered_though_its_worker_leaves() {
    let first = with(table(free_address(), 1, []), |settings| {
        settings.queue.max_requests = 10;
        settings.queue.timeout_seconds = 5.0;
    });
    let (proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let mut waiting = Client::connect(endpoint);
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    controller.until_arrived(1);
    let (_, worker) = proxy.processes();
    signal(worker, Signal::TERM);
    eventually("another worker", || proxy.processes().1 != worker);
    let replica = Replica::named("r");
    let mut controller = proxy.controller();
    controller.acknowledged(newer(&first, |after| {
        after.upstreams = table(after.listen, 1, [replica.address]).upstreams;
    }));
    let answer = waiting.answer();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn a_request_behind_an_answer_that_outlasted_its_worker_is_answered() {
    let stop = Arc::new(AtomicBool::new(false));
    let replica = Replica::streaming(&stop);
    let served = with(table(free_address(), 1, [replica.address]), |settings| {
        settings.queue.max_requests = 10;
        settings.queue.timeout_seconds = 8.0;
    });
    let (proxy, _controller, endpoint) = Proxy::serving_table(served);
    let mut stream = Client::connect(endpoint);
    stream.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.head();
    // The next request is there before the answer is over, as from a client that is quick or pipelines.
    stream.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (_, worker) = proxy.processes();
    signal(worker, Signal::TERM);
    eventually("another worker", || proxy.processes().1 != worker);
    stop.store(true, Ordering::SeqCst);
    while !stream.chunk().unwrap().is_empty() {}
    let answer = stream.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "r"));
    assert!(stream.is_ended());
}
