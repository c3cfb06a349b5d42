//! What comes to a worker that has left is brought to the one that serves, and arrives there as the client sent it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use plan::routing::{ApiKeyHash, RoutingTable};
use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::controller::Controller;
use crate::support::grpc::{self, GrpcClient};
use crate::support::http2::{Http2Client, Http2Replica, Sent, read, runtime};
use crate::support::message::Head;
use crate::support::process::{Proxy, signal};
use crate::support::replica::{Replica, Then};
use crate::support::settings::{newer, with};
use crate::support::tls::{Certificates, TlsClient};
use crate::support::{eventually, free_address, table};

/// A table without replicas, where requests wait.
fn waiting() -> RoutingTable {
    with(table(free_address(), 1, []), |settings| {
        settings.queue.max_requests = 10;
        settings.queue.timeout_seconds = 20.0;
    })
}

/// The table after `before`, with one replica.
fn with_replica(before: &RoutingTable, replica: SocketAddr) -> RoutingTable {
    newer(before, |after| {
        after.upstreams = table(after.listen, 1, [replica]).upstreams;
    })
}

fn another_worker(proxy: &Proxy) -> Controller {
    let (_, worker) = proxy.processes();
    signal(worker, Signal::TERM);
    eventually("another worker", || proxy.processes().1 != worker);
    proxy.controller()
}

/// The one head that a replica has got.
fn only_head(replica: &Replica) -> Head {
    let mut heads = replica.heads();
    assert_eq!(heads.len(), 1);
    heads.remove(0)
}

#[test]
fn it_says_who_the_client_is_once() {
    let first = waiting();
    let (proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let mut client = Client::connect(endpoint);
    client.send(
        "POST /a?b=c HTTP/1.1\r\nHost: example.org\r\nX-Forwarded-For: 192.0.2.7\r\nX-Request-Id: mine\r\n\
         Content-Length: 2\r\n\r\nhi",
    );
    controller.until_arrived(1);
    // Through two workers that have left, one after the other.
    another_worker(&proxy).until_arrived(1);
    let mut controller = another_worker(&proxy);
    controller.until_arrived(1);
    let replica = Replica::named("r");
    controller.acknowledged(with_replica(&first, replica.address));
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "r"));
    assert_eq!(answer.head.get("connection"), Some("close"));
    let head = only_head(&replica);
    assert_eq!(head.first_line, "POST /a?b=c HTTP/1.1");
    assert_eq!(head.all("x-forwarded-for"), ["192.0.2.7, 127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-forwarded-host"), ["example.org"]);
    assert_eq!(head.all("x-request-id"), ["mine"]);
    assert_eq!(head.all("host"), ["example.org"]);
    let lines = proxy.accesses(1);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["replica"], 1, "{lines:?}");
    assert_eq!(lines[0]["request_id"], "mine", "{lines:?}");
}

#[test]
fn it_comes_out_of_a_connection_of_tls() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let first = RoutingTable {
        tls: Some(certificates.files()),
        ..waiting()
    };
    let (proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let mut client = TlsClient::connect(endpoint, &certificates.current());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    controller.until_arrived(1);
    let mut controller = another_worker(&proxy);
    controller.until_arrived(1);
    let replica = Replica::named("r");
    controller.acknowledged(with_replica(&first, replica.address));
    assert_eq!(client.answer().text(), "r");
    assert_eq!(only_head(&replica).all("x-forwarded-proto"), ["https"]);
}

/// Waits for what was asked to have come, lets another worker take over, and puts `replica` into its table.
fn change_worker(
    proxy: &Proxy,
    controller: &mut Controller,
    first: &RoutingTable,
    asked: u32,
    replica: SocketAddr,
) {
    tokio::task::block_in_place(|| {
        controller.until_arrived(asked);
        *controller = another_worker(proxy);
        controller.until_arrived(asked);
        controller.acknowledged(with_replica(first, replica));
    });
}

#[test]
fn it_comes_out_of_a_connection_of_http_2() {
    runtime().block_on(async {
        let first = waiting();
        let (proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
        let client = Http2Client::connect(endpoint).await;
        let upload = client.request("POST", "/").body(Sent::text("hi")).unwrap();
        let [upload, ask] = [
            upload,
            client.request("GET", "/").body(Sent::empty()).unwrap(),
        ]
        .map(|request| tokio::spawn(client.send(request)));
        let replica = Replica::named("r");
        change_worker(&proxy, &mut controller, &first, 2, replica.address);
        for asked in [upload, ask] {
            let answer = asked.await.unwrap().unwrap();
            assert_eq!(read(answer.into_body()).await.unwrap().text, "r");
        }
        for head in replica.heads() {
            assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
        }
    });
}

#[test]
fn calls_of_grpc_come_out_as_calls_of_grpc() {
    runtime().block_on(async {
        let first = waiting();
        let (proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
        let mut client = GrpcClient::connect(endpoint).await;
        let called = tokio::spawn(async move {
            let request = grpc::request("one");
            client.unary("/echo/unary", request).await
        });
        let replica = grpc::replica().await;
        change_worker(&proxy, &mut controller, &first, 1, replica.address);
        assert_eq!(called.await.unwrap().unwrap(), "one");
    });
}

#[test]
fn replicas_of_http_2_get_it_in_http_2() {
    runtime().block_on(async {
        let mut first = waiting();
        first.load_balancer.replica_protocol = spec::ReplicaProtocol::H2c;
        let (proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
        let client = Http2Client::connect(endpoint).await;
        let mut translated = Client::connect(endpoint);
        translated.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        let asked = tokio::spawn(async move {
            let answer = client.ask("GET", "/").await;
            read(answer.into_body()).await.unwrap().text
        });
        let replica = Http2Replica::named("two").await;
        change_worker(&proxy, &mut controller, &first, 2, replica.address);
        assert_eq!(asked.await.unwrap(), "two");
        let answer = tokio::task::block_in_place(|| translated.answer());
        assert_eq!(answer.text(), "two");
        for head in replica.heads() {
            assert_eq!(head.headers["x-forwarded-for"], "127.0.0.1");
        }
    });
}

#[test]
fn keys_are_checked_where_it_came_and_are_seen_by_nobody_else() {
    let key = "sk-one-0123456789abcdef";
    let hash = ApiKeyHash(blake3::hash(key.as_bytes()).to_hex().to_string());
    let first = RoutingTable {
        api_keys: Some(vec![hash]),
        ..waiting()
    };
    let (proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let mut client = Client::connect(endpoint);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n");
    client.send(&head);
    // Behind it, on the same connection: one without a key.
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    controller.until_arrived(1);
    let mut controller = another_worker(&proxy);
    let replica = Replica::named("r");
    controller.acknowledged(with_replica(&first, replica.address));
    assert_eq!(client.answer().status, 200);
    assert_eq!(only_head(&replica).all("authorization"), [""; 0]);
    // Whoever finds the socket in the home directory is let in: it is its owner's.
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(proxy.paths().relay_socket())
            .unwrap()
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn limits_are_for_both_workers_together() {
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let replica = {
        let (stop, most) = (Arc::clone(&stop), Arc::clone(&most));
        Replica::start(move |exchange| {
            let count = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(count, Ordering::SeqCst);
            let is_stream = exchange.target() == "/stream";
            if is_stream {
                exchange.begin_chunks();
                while !stop.load(Ordering::SeqCst) {
                    exchange.send_chunk("tick");
                    thread::sleep(Duration::from_millis(5));
                }
            }
            now.fetch_sub(1, Ordering::SeqCst);
            if is_stream {
                exchange.send("0\r\n\r\n");
                return Then::Close;
            }
            exchange.answer("r")
        })
    };
    let first = with(with_replica(&waiting(), replica.address), |settings| {
        settings.max_requests_per_replica = Some(1);
    });
    let (proxy, mut controller, endpoint) = Proxy::serving_table(first);
    let mut stream = Client::connect(endpoint);
    stream.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.head();
    let mut in_line = Client::connect(endpoint);
    in_line.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    controller.until_arrived(2);
    let mut controller = another_worker(&proxy);
    let mut new = Client::connect(endpoint);
    new.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    controller.until_arrived(2);
    assert!(!new.hears_within(Duration::from_millis(100)));
    stop.store(true, Ordering::SeqCst);
    assert_eq!(in_line.answer().text(), "r");
    assert_eq!(new.answer().text(), "r");
    assert_eq!(most.load(Ordering::SeqCst), 1, "never two at once");
}
