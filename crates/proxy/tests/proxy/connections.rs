//! Connections on both sides: kept, shared, half-closed, old, many.

use std::sync::{Arc, Mutex, mpsc};

use crate::support::client::{Client, get};
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::{PATIENCE, eventually};

#[test]
fn http_1_0_is_served_without_chunks() {
    let replica = Replica::start(|exchange| {
        exchange.begin_chunks();
        exchange.send_chunk("old");
        exchange.send("0\r\n\r\n");
        Then::Keep
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    client.send("GET / HTTP/1.0\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.text(), "old");
    assert!(answer.head.first_line.starts_with("HTTP/1.1 200") && !answer.head.is_chunked());
    assert_eq!(replica.heads()[0].first_line, "GET / HTTP/1.1");
}

#[test]
fn a_replica_that_speaks_http_1_0_serves_clients_that_keep_their_connection() {
    let replica = Replica::start(|exchange| {
        exchange.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
        Then::Close
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "until the end");
    }
}

#[test]
fn connections_are_kept_on_both_sides_and_pipelining_is_tolerated() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "r");
    }
    client.send(&"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5));
    for _ in 0..5 {
        assert_eq!(client.answer().text(), "r");
    }
    assert_eq!((replica.connections(), replica.requests()), (1, 25));
}

#[test]
fn connections_to_replicas_are_kept_whatever_the_shape_of_the_exchange() {
    for shape in ["length", "chunks", "trailers", "empty"] {
        let replica = Replica::start(move |exchange| {
            exchange.body();
            match shape {
                "length" => return exchange.answer("ok"),
                "chunks" => exchange.send(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                ),
                "trailers" => exchange.send(
                    "HTTP/1.1 200 OK\r\nTrailer: t\r\nTransfer-Encoding: chunked\r\n\r\n\
                     2\r\nok\r\n0\r\nT: 1\r\n\r\n",
                ),
                _ => exchange.send("HTTP/1.1 204 No Content\r\n\r\n"),
            };
            Then::Keep
        });
        let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
        let mut client = Client::connect(endpoint);
        for _ in 0..10 {
            client.get("/");
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
            client.answer();
        }
        assert_eq!(
            (replica.requests(), replica.connections()),
            (20, 1),
            "{shape}"
        );
    }
}

#[test]
fn many_clients_share_few_connections() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let client = || {
        std::thread::spawn(move || {
            let mut client = Client::connect(endpoint);
            for _ in 0..100 {
                assert_eq!(client.get("/").text(), "r");
            }
        })
    };
    let clients: Vec<_> = (0..8).map(|_| client()).collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    // At most one per client that is served at the same time, on each thread.
    assert!(
        replica.connections() <= 16,
        "{} connections",
        replica.connections()
    );
    assert_eq!(replica.requests(), 800);
}

#[test]
fn an_idle_connection_to_a_replica_is_closed_before_the_replica_would() {
    let ended = Arc::new(Mutex::new(false));
    let replica = {
        let ended = Arc::clone(&ended);
        Replica::start(move |exchange| {
            exchange.answer("ok");
            exchange.wait_for_end();
            *ended.lock().unwrap() = true;
            Then::Close
        })
    };
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    get(endpoint);
    eventually("the connection to be closed", || *ended.lock().unwrap());
}

#[test]
fn a_half_closed_client_that_said_so_gets_its_answer() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let replica = Replica::start(move |exchange| {
        let body = exchange.body();
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
        exchange.answer(&String::from_utf8(body.bytes).unwrap())
    });
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let mut client = Client::connect(endpoint);
        client.send(request);
        client.end_sending();
        controller.until_in_flight(1, 1);
        go.send(()).unwrap();
        assert_eq!(client.answer().text(), "ok");
        controller.until_in_flight(1, 0);
    }
}

#[test]
fn a_half_close_that_comes_with_the_request_is_no_farewell() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    for _ in 0..50 {
        let mut client = Client::connect(endpoint);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.end_sending();
        assert_eq!(client.answer().text(), "r");
    }
}

#[test]
fn a_body_that_breaks_off_reaches_no_replica_as_if_it_were_whole() {
    let whole = Arc::new(Mutex::new(None));
    let replica = {
        let whole = Arc::clone(&whole);
        Replica::start(move |exchange| {
            *whole.lock().unwrap() = Some(exchange.body().complete);
            Then::Close
        })
    };
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    for connection in ["close", "keep-alive"] {
        let mut client = Client::connect(endpoint);
        client.send(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\nContent-Length: 9\r\n\r\nhal"
        ));
        controller.until_in_flight(1, 1);
        client.end_sending();
        controller.until_in_flight(1, 0);
        eventually("the replica to notice", || whole.lock().unwrap().is_some());
        assert_eq!(whole.lock().unwrap().take(), Some(false), "{connection}");
    }
}

#[test]
fn three_hundred_streams_on_one_replica_at_once() {
    let replica = Replica::start(|exchange| {
        exchange.begin_chunks();
        exchange.send_chunk("begin");
        exchange.body();
        exchange.wait_for_end();
        Then::Close
    });
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut clients: Vec<Client> = (0..300).map(|_| Client::connect(endpoint)).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        client.head();
        assert_eq!(client.chunk().unwrap(), "begin");
    }
    controller.until_in_flight(1, 300);
    drop(clients);
    controller.until_in_flight(1, 0);
}
