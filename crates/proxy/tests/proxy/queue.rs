//! Requests that find no replica wait for one, in order, for as long and as many as the settings say.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use plan::routing::{ProxyCommand, RoutingTable};
use rustix::process::Signal;

use crate::support::client::{Answer, Client, get, request};
use crate::support::process::{Proxy, signal};
use crate::support::replica::{Exchange, Replica, Then};
use crate::support::settings::{newer, with};
use crate::support::{PATIENCE, eventually, free_address, table};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A table without replicas, where so many may wait.
fn waiting(max_requests: u32) -> RoutingTable {
    with(table(free_address(), 1, []), |settings| {
        settings.queue.max_requests = max_requests;
    })
}

/// The table after `before`, with these replicas.
fn replicas(before: &RoutingTable, replicas: &[&Replica]) -> RoutingTable {
    let addresses = replicas.iter().map(|replica| replica.address);
    newer(before, |after| {
        after.upstreams = table(after.listen, 1, addresses).upstreams;
    })
}

/// Clients that have sent a request each, with these targets.
fn ask(endpoint: std::net::SocketAddr, targets: impl Iterator<Item = String>) -> Vec<Client> {
    let ask = |target| {
        let mut client = Client::connect(endpoint);
        client.send(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client
    };
    targets.map(ask).collect()
}

fn assert_all_get(clients: &mut [Client], expected: &str) {
    for client in clients {
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, expected));
    }
}

/// A replica that counts how many requests it has at once, and keeps each for a moment.
struct Counting {
    replica: Replica,
    most: Arc<AtomicUsize>,
}

impl Counting {
    fn start(each: Duration) -> Self {
        let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let replica = Replica::start(move |exchange: &mut Exchange| {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            exchange.body();
            thread::sleep(each);
            now.fetch_sub(1, Ordering::SeqCst);
            exchange.answer("counted")
        });
        Self { replica, most }
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// So many clients at once, each with so many requests one after the other on one connection; gives how many were
/// answered with 200.
fn load(endpoint: std::net::SocketAddr, clients: usize, requests: usize) -> usize {
    let client = || {
        let mut client = Client::connect(endpoint);
        (0..requests)
            .filter(|_| client.get("/").status == 200)
            .count()
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        all.into_iter().map(|one| one.join().unwrap()).sum()
    })
}

#[test]
fn who_waits_is_answered_in_the_order_of_arrival_when_a_replica_comes() {
    let first = with(waiting(100), |settings| {
        // One after the other, so that the order at the replica is the order in which they were let through.
        settings.max_requests_per_replica = Some(1);
    });
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let mut clients = ask(endpoint, (0..12).map(|_| "/early".to_owned()));
    controller.until_arrived(12);
    clients.extend(ask(endpoint, (0..12).map(|_| "/late".to_owned())));
    // That they are reported also shows that requests count as arrivals while they wait.
    controller.until_arrived(24);
    let replica = Replica::named("r");
    controller.acknowledged(replicas(&first, &[&replica]));
    assert_all_get(&mut clients, "r");
    let targets: Vec<_> = replica
        .heads()
        .iter()
        .map(|head| head.first_line.clone())
        .collect();
    assert!(
        targets[..12].iter().all(|line| line.contains("/early")),
        "{targets:?}"
    );
    assert_eq!(targets.len(), 24, "each once");
}

#[test]
fn who_comes_later_does_not_get_in_before_who_waits() {
    let (release, held) = mpsc::channel();
    let held = Mutex::new(held);
    let replica = Replica::start(move |exchange| {
        if exchange.target() == "/first" {
            held.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        exchange.answer("r")
    });
    let table = with(table(free_address(), 1, [replica.address]), |settings| {
        settings.queue.max_requests = 100;
        settings.max_requests_per_replica = Some(1);
    });
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(table);
    let mut clients = ask(endpoint, ["/first".to_owned()].into_iter());
    controller.until_in_flight(1, 1);
    clients.extend(ask(endpoint, (0..20).map(|_| "/early".to_owned())));
    controller.until_arrived(21);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::connect(endpoint);
                while !is_over.load(Ordering::SeqCst) {
                    assert_eq!(client.get("/late").status, 200);
                }
            });
        }
        release.send(()).unwrap();
        assert_all_get(&mut clients, "r");
        eventually("one who came later", || replica.requests() > 30);
        is_over.store(true, Ordering::SeqCst);
    });
    let lines = replica.heads().into_iter().map(|head| head.first_line);
    let lines: Vec<_> = lines.collect();
    let early = lines[1..21].iter().all(|line| line.contains("/early"));
    assert!(early, "{lines:?}");
}

#[test]
fn more_than_may_wait_are_told_which_setting_says_so() {
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(waiting(3));
    let _waiting = ask(endpoint, (0..3).map(|_| "/".to_owned()));
    controller.until_arrived(3);
    let answer = get(endpoint);
    assert_eq!(answer.status, 503);
    assert!(answer.head.get("retry-after").is_some());
    let detail = answer.detail();
    assert!(
        detail.contains("load_balancer.queue.max_requests"),
        "{detail}"
    );
    assert!(detail.contains("3 requests wait"), "{detail}");
}

#[test]
fn a_client_that_leaves_gives_up_its_place() {
    let first = waiting(2);
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let mut clients = ask(endpoint, (0..2).map(|_| "/".to_owned()));
    controller.until_arrived(2);
    drop(clients.remove(0));
    eventually("the place to be free", || {
        let mut client = Client::connect(endpoint);
        client.send(GET);
        let waits = !client.hears_within(Duration::from_secs(1));
        if waits {
            clients.push(client);
        }
        waits
    });
    let replica = Replica::named("r");
    controller.acknowledged(replicas(&first, &[&replica]));
    assert_all_get(&mut clients, "r");
    assert_eq!(replica.requests(), 2, "nothing is sent for who has left");
}

#[test]
fn who_has_waited_for_too_long_is_told_which_setting_says_so() {
    let first = with(waiting(10), |settings| settings.queue.timeout_seconds = 0.3);
    let (_proxy, _controller, endpoint) = Proxy::serving_table(first);
    let begun = Instant::now();
    let mut client = Client::connect(endpoint);
    let answer = client.get("/");
    assert_eq!(answer.status, 503);
    assert!(answer.head.get("retry-after").is_some());
    let detail = answer.detail();
    assert!(detail.contains("within 0.3 seconds"), "{detail}");
    assert!(
        detail.contains("load_balancer.queue.timeout_seconds"),
        "{detail}"
    );
    assert!(begun.elapsed() >= Duration::from_millis(150));
    // The connection is as good as before.
    assert_eq!(client.get("/").status, 503);
}

#[test]
fn a_body_waits_with_its_request_and_arrives_whole() {
    let first = waiting(10);
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let replica = Replica::start(|exchange| {
        let body = exchange.body();
        assert!(body.complete);
        exchange.answer(&format!("{}", checksum(&body.bytes)))
    });
    let long: String = (0..60_000).map(|number| format!("{number} ")).collect();
    let length = |body: &str| format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let chunks = |body: &str| {
        let chunk = format!("{:x}\r\n{body}\r\n", body.len());
        format!("Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n")
    };
    let bodies = [
        ("small".to_owned(), length("small")),
        (long.clone(), length(&long)),
        ("small".repeat(2), chunks("small")),
        (long.repeat(2), chunks(&long)),
    ];
    thread::scope(|scope| {
        let asking = bodies.map(|(body, extra)| {
            // The blank line after what is extra ends a chunked body; after another it is passed over.
            let ask = move || (request(endpoint, "POST", "/", &extra), body);
            scope.spawn(ask)
        });
        controller.until_arrived(4);
        controller.acknowledged(replicas(&first, &[&replica]));
        for asked in asking {
            let (answer, body) = asked.join().unwrap();
            assert_eq!(answer.text(), checksum(body.as_bytes()).to_string());
        }
    });
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(bytes.len() as u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    })
}

#[test]
fn a_replica_never_has_more_requests_than_it_may_and_all_are_served() {
    let counting = [(); 2].map(|()| Counting::start(Duration::from_millis(1)));
    let addresses = counting.each_ref().map(|counting| counting.replica.address);
    let table = with(table(free_address(), 1, addresses), |settings| {
        settings.queue.max_requests = 1000;
        settings.max_requests_per_replica = Some(3);
    });
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    assert_eq!(load(endpoint, 32, 40), 32 * 40);
    for counting in &counting {
        let most = counting.most();
        assert!((2..=3).contains(&most), "{most} at once");
    }
}

#[test]
fn replicas_that_refuse_for_a_while_and_then_accept_lose_nothing() {
    // More than are tried for one request in one go.
    let addresses = [(); 10].map(|()| free_address());
    let table = with(table(free_address(), 1, addresses), |settings| {
        settings.queue.max_requests = 100;
    });
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(table);
    let mut clients = ask(endpoint, (0..10).map(|_| "/".to_owned()));
    controller.until_arrived(10);
    let _replicas = addresses.map(|address| {
        Replica::start_at(address, |exchange| {
            exchange.body();
            exchange.answer("at last")
        })
    });
    assert_all_get(&mut clients, "at last");
}

#[test]
fn a_replica_that_refuses_does_not_hold_up_who_waits_for_another() {
    let counting = Counting::start(Duration::from_millis(2));
    let addresses = [free_address(), counting.replica.address];
    let table = with(table(free_address(), 1, addresses), |settings| {
        settings.queue.max_requests = 100;
        settings.max_requests_per_replica = Some(1);
    });
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    let begun = Instant::now();
    assert_eq!(load(endpoint, 8, 20), 8 * 20);
    let took = begun.elapsed();
    // One pause of half a second for each request would be 80 seconds.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_request_that_may_wait_may_also_be_the_last_of_its_connection() {
    let first = waiting(10);
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let mut client = Client::connect(endpoint);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.end_sending();
    controller.until_arrived(1);
    let replica = Replica::start(|exchange| {
        exchange.answer("half closed");
        Then::Close
    });
    controller.acknowledged(replicas(&first, &[&replica]));
    let answer: Answer = client.answer();
    assert_eq!(answer.text(), "half closed");
}

#[test]
fn where_none_may_wait_busy_replicas_are_told_from_none() {
    let busy = Replica::start(|exchange| {
        exchange.begin_chunks();
        exchange.wait_for_end();
        Then::Close
    });
    let table = with(table(free_address(), 1, [busy.address]), |settings| {
        settings.max_requests_per_replica = Some(1);
    });
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    let mut stream = Client::connect(endpoint);
    stream.send(GET);
    assert_eq!(stream.head().first_line, "HTTP/1.1 200 OK");
    let answer = get(endpoint);
    assert_eq!(answer.status, 503);
    assert!(answer.head.get("retry-after").is_some());
    let detail = answer.detail();
    assert!(
        detail.contains("load_balancer.max_requests_per_replica"),
        "{detail}"
    );
    drop(stream);
    eventually("room at the replica", || {
        let mut client = Client::connect(endpoint);
        client.send(GET);
        client.head().first_line == "HTTP/1.1 200 OK"
    });
}

#[test]
fn a_client_that_leaves_with_more_sent_than_is_read_gives_up_its_place_too() {
    let first = waiting(1);
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let mut leaving = Client::connect(endpoint);
    leaving.send(&format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 110000\r\n\r\n{}",
        "x".repeat(110_000)
    ));
    controller.until_arrived(1);
    drop(leaving);
    let mut clients = Vec::new();
    eventually("the place to be free", || {
        let mut client = Client::connect(endpoint);
        client.send(GET);
        // Who finds no place is told at once.
        let waits = !client.hears_within(Duration::from_secs(1));
        if waits {
            clients.push(client);
        }
        waits
    });
    let replica = Replica::named("r");
    controller.acknowledged(replicas(&first, &[&replica]));
    assert_all_get(&mut clients, "r");
    assert_eq!(replica.requests(), 1, "nothing is sent for who has left");
}

#[test]
fn who_waits_when_the_endpoint_closes_is_told_at_once() {
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(waiting(100));
    let clients = ask(endpoint, (0..10).map(|_| "/".to_owned()));
    controller.until_arrived(10);
    controller.send(&ProxyCommand::Withdraw {
        service: "svc".to_owned(),
    });
    assert_all_are_sent_away(clients);
}

#[test]
fn who_waits_when_the_proxy_is_upgraded_waits_on_with_the_next_worker() {
    let first = waiting(100);
    let (proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let mut clients = ask(endpoint, (0..10).map(|_| "/".to_owned()));
    controller.until_arrived(10);
    let worker = proxy.processes().1;
    signal(worker, Signal::TERM);
    clients.extend(ask(endpoint, (0..10).map(|_| "/".to_owned())));
    eventually("another worker", || proxy.processes().1 != worker);
    let mut controller = proxy.controller();
    // All of them wait there, so the autoscaler hears of all.
    controller.until_arrived(20);
    let replica = Replica::named("r");
    controller.acknowledged(replicas(&first, &[&replica]));
    assert_all_get(&mut clients, "r");
}

/// No replica will come to whoever waits here, however long they may wait.
fn assert_all_are_sent_away(clients: Vec<Client>) {
    let begun = Instant::now();
    for mut client in clients {
        let answer = client.answer();
        assert_eq!(answer.status, 503);
        assert!(answer.head.get("retry-after").is_some());
        assert!(answer.detail().contains("Ask again"));
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
}
