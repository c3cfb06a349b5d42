//! One program after the other serves, and nobody waits for that: upgrades of the worker and of the holder.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use plan::routing::ProxyCommand;
use rustix::process::Signal;

use crate::support::client::{Client, get};
use crate::support::controller::count_of;
use crate::support::process::{Proxy, is_alive, role_command, signal};
use crate::support::replica::Replica;
use crate::support::{eventually, table};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn open_stream(endpoint: SocketAddr) -> Client {
    let mut stream = Client::connect(endpoint);
    stream.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.head();
    stream
}

/// What clients saw that asked without a pause.
#[derive(Debug, Default)]
struct Seen {
    answered: usize,
    failed: usize,
    longest: Duration,
}

/// Asks over and over, on connections that are kept or on new ones.
fn ask(endpoint: SocketAddr, keep: bool, stop: &Arc<AtomicBool>) -> JoinHandle<Seen> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let mut seen = Seen::default();
        let mut kept: Option<Client> = None;
        while !stop.load(Ordering::SeqCst) {
            let begun = Instant::now();
            let client = match kept.take() {
                Some(client) => Ok(client),
                None => Client::try_connect(endpoint),
            };
            let answer = client.and_then(|mut client| {
                client.try_send(GET)?;
                Ok((client.try_answer()?, client))
            });
            match answer {
                Ok((answer, client)) if answer.status == 200 => {
                    seen.answered += 1;
                    seen.longest = seen.longest.max(begun.elapsed());
                    let is_last = answer.head.get("connection") == Some("close");
                    kept = Some(client).filter(|_| keep && !is_last);
                }
                _ => seen.failed += 1,
            }
        }
        seen
    })
}

#[test]
fn nobody_waits_for_an_upgrade_though_streams_are_open() {
    let stop = Arc::new(AtomicBool::new(false));
    let replica = Replica::streaming(&stop);
    let (proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut streams: Vec<Client> = Vec::new();
    let asked = Arc::new(AtomicBool::new(false));
    let clients = [true, true, false, false].map(|keep| ask(endpoint, keep, &asked));
    for _ in 0..3 {
        streams.push(open_stream(endpoint));
        let before = replica.requests();
        eventually("requests", || replica.requests() > before + 50);
        let (_, worker) = proxy.processes();
        signal(worker, Signal::TERM);
        eventually("another worker", || proxy.processes().1 != worker);
        assert!(is_alive(worker), "it still has a stream");
    }
    let before = replica.requests();
    eventually("requests", || replica.requests() > before + 50);
    asked.store(true, Ordering::SeqCst);
    for (client, kind) in clients.into_iter().zip(["kept", "kept", "new", "new"]) {
        let seen = client.join().unwrap();
        println!("upgrades, on {kind} connections: {seen:?}");
        assert_eq!(seen.failed, 0, "{seen:?}");
        assert!(seen.longest < Duration::from_secs(1), "{seen:?}");
    }
    stop.store(true, Ordering::SeqCst);
    for stream in &mut streams {
        while !stream.chunk().unwrap().is_empty() {}
    }
}

#[test]
fn a_successor_that_cannot_start_takes_nothing_down() {
    let replica = Replica::named("r");
    let (proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let (_, worker) = proxy.processes();
    let mut kept = Client::connect(endpoint);
    assert_eq!(kept.get("/").text(), "r");
    for words in [
        vec!["/bin/false".to_owned()],
        vec!["/no/such".to_owned()],
        vec![],
    ] {
        controller.send(&ProxyCommand::ReplaceWorker { words });
        eventually("the end of the connection", || {
            controller.try_next().is_err()
        });
        controller = proxy.controller();
        assert_eq!(controller.hello.0, worker, "the same goes on");
    }
    assert!(proxy.has_event("successor_failed") && proxy.has_event("worker_stays"));
    assert_eq!(kept.get("/").text(), "r", "its connections did not notice");
    controller.acknowledged(table(endpoint, 2, [replica.address]));
    // And it may be replaced as ever.
    signal(worker, Signal::TERM);
    eventually("another worker", || proxy.processes().1 != worker);
    assert_eq!(get(endpoint).text(), "r");
}

#[test]
fn the_holder_goes_on_as_another_program_with_all_it_has() {
    let stop = Arc::new(AtomicBool::new(false));
    let replica = Replica::streaming(&stop);
    let (proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut stream = open_stream(endpoint);
    let asked = Arc::new(AtomicBool::new(false));
    let clients = [true, false].map(|keep| ask(endpoint, keep, &asked));
    let (holder, first) = proxy.processes();
    signal(first, Signal::TERM);
    eventually("another worker", || proxy.processes().1 != first);
    let words = role_command("role_holder");
    let words = words.into_iter().map(|word| word.into_string().unwrap());
    let words: Vec<String> = words.collect();
    for times in 1..=2 {
        let words = words.clone();
        proxy
            .controller()
            .send(&ProxyCommand::RenewHolder { words });
        let renewed = |event: &serde_json::Value| event["event"] == "holder_renewed";
        eventually("another holder", || {
            proxy.events().into_iter().filter(renewed).count() == times
        });
    }
    let (same, second) = proxy.processes();
    assert_eq!(same, holder, "the process is the same");
    // It has the counts of the worker that has left before, and the channel to it.
    let mut controller = proxy.controller();
    let (_, in_flight) = controller.apply(table(endpoint, 2, []));
    assert!(count_of(&in_flight, 1) >= 1, "{in_flight:?}");
    controller.acknowledged(table(endpoint, 3, [replica.address]));
    // It has the sockets, and the channel to the worker that serves.
    signal(second, Signal::TERM);
    eventually("another worker", || proxy.processes().1 != second);
    let before = replica.requests();
    eventually("requests", || replica.requests() > before + 50);
    asked.store(true, Ordering::SeqCst);
    for client in clients {
        let seen = client.join().unwrap();
        // While no replica is in the table, the answer is a 503.
        assert!(seen.answered > 0, "{seen:?}");
    }
    assert_eq!(stream.chunk().unwrap(), "tick");
    stop.store(true, Ordering::SeqCst);
    while !stream.chunk().unwrap().is_empty() {}
    let mut controller = proxy.controller();
    controller.acknowledged(table(endpoint, 4, []));
    controller.until_in_flight(1, 0);
    for worker in [first, second] {
        let process = format!("/proc/{worker}");
        eventually("no zombie", || !std::path::Path::new(&process).exists());
    }
}

#[test]
fn a_holder_that_cannot_go_on_as_another_program_goes_on_as_it_is() {
    let replica = Replica::named("r");
    let (proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let before = proxy.processes();
    for words in [vec!["/no/such".to_owned()], vec![]] {
        controller.send(&ProxyCommand::RenewHolder { words });
    }
    let failed = |event: &serde_json::Value| event["event"] == "holder_not_renewed";
    eventually("both failures", || {
        proxy.events().into_iter().filter(failed).count() == 2
    });
    controller.acknowledged(table(endpoint, 2, [replica.address]));
    assert_eq!(proxy.processes(), before);
    // One that starts and does not know what to do ends; the worker starts another holder.
    let words = vec!["/bin/true".to_owned()];
    controller.send(&ProxyCommand::RenewHolder { words });
    eventually("another holder", || proxy.processes().0 != before.0);
    assert_eq!(get(endpoint).text(), "r");
}
