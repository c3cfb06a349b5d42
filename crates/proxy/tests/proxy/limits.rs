//! Limits: what is over one is refused with the name of the setting, and nothing else suffers.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use spec::LoadBalancer;

use crate::support::client::{Answer, Client, get, request};
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::settings::with;
use crate::support::{eventually, free_address, table};

fn limited(
    replica: &Replica,
    change: impl FnOnce(&mut LoadBalancer),
) -> (Proxy, crate::support::controller::Controller, SocketAddr) {
    let table = table(free_address(), 1, [replica.address]);
    Proxy::serving_table(with(table, change))
}

fn assert_names(answer: &Answer, status: u16, setting: &str) {
    let detail = answer.detail();
    assert_eq!(answer.status, status, "{detail}");
    assert!(detail.contains(setting), "{detail}");
}

/// Fills an endpoint with three connections, sees the fourth refused, and a place become free.
fn assert_three_connections(endpoint: SocketAddr, setting: &str) {
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(endpoint)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    for _ in 0..5 {
        let mut refused = Client::connect(endpoint);
        // It is told before it has sent anything.
        let answer = refused.answer();
        assert_names(&answer, 503, setting);
        assert!(answer.head.get("retry-after").is_some());
        assert_eq!(answer.head.get("connection"), Some("close"));
        assert!(refused.is_ended());
    }
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200, "the others do not notice");
    }
    clients.pop();
    eventually("a place to be free", || get(endpoint).status == 200);
    drop(clients);
    eventually("all places to be free", || {
        let mut three: Vec<_> = (0..3).map(|_| Client::connect(endpoint)).collect();
        three.iter_mut().all(|client| client.get("/").status == 200)
    });
}

#[test]
fn the_connections_of_an_endpoint_are_limited_and_freed() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = limited(&replica, |settings| {
        settings.max_connections = 3;
    });
    assert_three_connections(endpoint, "load_balancer.max_connections)");
}

#[test]
fn the_connections_of_one_client_are_limited_and_freed() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = limited(&replica, |settings| {
        settings.max_connections_per_client = Some(3);
    });
    assert_three_connections(endpoint, "load_balancer.max_connections_per_client)");
}

#[test]
fn another_client_has_connections_of_its_own() {
    let replica = Replica::named("r");
    let listen = SocketAddr::new("0.0.0.0".parse().unwrap(), free_address().port());
    let table = with(table(listen, 1, [replica.address]), |settings| {
        settings.max_connections_per_client = Some(1);
    });
    let (_proxy, _controller, _) = Proxy::serving_table(table);
    // Who connects to an address of the loopback network comes from it.
    let address = |last: u8| SocketAddr::from(([127, 0, 0, last], listen.port()));
    let bind = |last: u8| {
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            None,
        )
        .unwrap();
        rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
        rustix::net::connect(&socket, &address(1)).unwrap();
        Client::over(socket.into())
    };
    let mut clients = [bind(1), bind(2), bind(3)];
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    assert_names(&bind(2).answer(), 503, "max_connections_per_client");
}

#[test]
fn a_body_that_is_announced_too_large_is_refused_before_it_is_sent() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = limited(&replica, |settings| {
        settings.max_request_body_bytes = Some(1000);
    });
    let mut client = Client::connect(endpoint);
    for extra in ["", "Expect: 100-continue\r\n"] {
        client.send(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n{extra}\r\n"
        ));
        assert_names(
            &client.answer(),
            413,
            "more than 1000 bytes (load_balancer.max_request_body_bytes)",
        );
        client = Client::connect(endpoint);
    }
    let whole = format!("Content-Length: 1001\r\n\r\n{}", "x".repeat(1001));
    let answer = request(endpoint, "PUT", "/", &whole);
    assert_names(&answer, 413, "load_balancer.max_request_body_bytes");
    assert_eq!(replica.connections(), 0);
    let fits = format!("Content-Length: 1000\r\n\r\n{}", "x".repeat(1000));
    assert_eq!(request(endpoint, "POST", "/", &fits).status, 200);
}

#[test]
fn a_body_that_grows_too_large_is_refused_and_the_replica_never_sees_its_end() {
    let (sender, bodies) = std::sync::mpsc::channel();
    let replica = Replica::start(move |exchange| {
        let body = exchange.body();
        sender.send((body.bytes.len(), body.complete)).unwrap();
        exchange.answer("whole")
    });
    let (_proxy, _controller, endpoint) = limited(&replica, |settings| {
        settings.max_request_body_bytes = Some(100_000);
    });
    let chunks = |count: usize| {
        let chunk = format!("{:x}\r\n{}\r\n", 10_000, "x".repeat(10_000));
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{}0\r\n",
            chunk.repeat(count)
        )
    };
    assert_eq!(request(endpoint, "POST", "/", &chunks(10)).status, 200);
    assert_eq!(bodies.recv().unwrap(), (100_000, true));
    let answer = request(endpoint, "POST", "/", &chunks(11));
    assert_names(&answer, 413, "load_balancer.max_request_body_bytes");
    let (length, complete) = bodies.recv().unwrap();
    assert!(length <= 100_000 && !complete, "{length} {complete}");
    // A body that is small enough to be taken at once is measured as well.
    let (_proxy, _controller, endpoint) = limited(&replica, |settings| {
        settings.max_request_body_bytes = Some(4);
    });
    let small = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    let answer = request(endpoint, "POST", "/", small);
    assert_names(&answer, 413, "load_balancer.max_request_body_bytes");
    assert!(bodies.try_recv().is_err());
}

#[test]
fn heads_of_64_kib_are_passed_on_and_larger_ones_refused() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\n";
        let line = |length: usize| format!("X-L: {}\r\n", "x".repeat(length - 7));
        let rest = bytes - start.len() - 2;
        let half = rest / 2;
        format!("{start}{}{}\r\n", line(half), line(rest - half))
    };
    for (bytes, status) in [(65_536, 200), (65_537, 431), (200_000, 431)] {
        let text = head(bytes);
        assert_eq!(text.len(), bytes);
        let mut client = Client::connect(endpoint);
        client.send(&text);
        assert_eq!(client.answer().status, status, "{bytes} bytes");
    }
    let seen = replica.heads()[0]
        .all("x-l")
        .iter()
        .map(|x| x.len())
        .sum::<usize>();
    assert_eq!(
        seen,
        65_536 - "GET / HTTP/1.1\r\nHost: a\r\n\r\n".len() - 14
    );
    assert_eq!(replica.requests(), 1);
}

#[test]
#[ignore = "takes half a minute: over that time the speed of an upload is judged"]
fn an_upload_that_is_too_slow_is_given_up_and_a_slow_one_is_not() {
    let replica = Replica::start(|exchange| {
        if exchange.body().complete {
            exchange.answer("whole")
        } else {
            Then::Close
        }
    });
    let (_proxy, mut controller, endpoint) = limited(&replica, |settings| {
        settings.min_upload_bytes_per_second = 10;
    });
    let upload = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connect(endpoint);
            client.send(upload);
            for _ in 0..40 {
                client.send(&"x".repeat(25));
                thread::sleep(Duration::from_secs(1));
            }
            assert_eq!(client.answer().text(), "whole");
        });
        scope.spawn(|| {
            let mut client = Client::connect(endpoint);
            client.send(upload);
            while !client.hears_within(Duration::from_secs(1)) {
                client.send("x");
            }
            let answer = client.answer();
            assert_names(&answer, 408, "load_balancer.min_upload_bytes_per_second");
            assert!(answer.detail().contains("less than 10 bytes"));
            assert!(begun.elapsed() >= Duration::from_secs(29));
        });
    });
    controller.until_in_flight(1, 0);
}
