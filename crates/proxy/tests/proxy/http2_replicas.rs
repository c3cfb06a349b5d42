//! Replicas that speak HTTP/2 without TLS (RFC 9113 section 3.3).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2::Builder;
use hyper_util::rt::TokioExecutor;
use plan::routing::{ProxyReport, RoutingTable};
use spec::ReplicaProtocol;
use tokio::sync::Semaphore;

use crate::support::http2::{
    Http2Client, Http2Replica, Sent, data, next_text, read, runtime, soon, trailers,
};
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::{eventually, free_address, table};

/// A table whose replicas speak HTTP/2.
fn h2c_table(addresses: &[std::net::SocketAddr]) -> RoutingTable {
    let mut table = table(free_address(), 1, addresses.iter().copied());
    table.load_balancer.replica_protocol = ReplicaProtocol::H2c;
    table
}

#[test]
fn requests_and_answers_pass_with_bodies_and_trailers() {
    runtime().block_on(async {
        let replica = Http2Replica::start(|request: Request<Incoming>| async move {
            let whole = read(request.into_body()).await.unwrap();
            let sum = whole.trailers["x-sum"].to_str().unwrap();
            let body = [
                data(&format!("{}:{sum}", whole.text)),
                trailers("x-end", "yes"),
            ];
            Response::new(Sent::of(body))
        })
        .await;
        let (proxy, _controller, endpoint) = Proxy::serving_table(h2c_table(&[replica.address]));
        let client = Http2Client::connect(endpoint).await;
        let request = client
            .request("POST", "/a?b")
            .header("te", "trailers")
            .body(Sent::of([data("abc"), trailers("x-sum", "3")]));
        let answer = client.send(request.unwrap()).await.unwrap();
        let whole = read(answer.into_body()).await.unwrap();
        assert_eq!(
            (whole.text.as_str(), &whole.trailers["x-end"]),
            ("abc:3", &"yes".parse().unwrap())
        );

        let head = replica.heads().pop().unwrap();
        assert_eq!(head.version, http::Version::HTTP_2);
        assert_eq!(head.uri.to_string(), format!("http://{endpoint}/a?b"));
        assert_eq!(head.headers["te"], "trailers");
        assert_eq!(head.headers["x-forwarded-host"], endpoint.to_string());
        let line = proxy.accesses(1).pop().unwrap();
        assert_eq!(
            (&line["outcome"], &line["bytes_in"]),
            (&"completed".into(), &3.into())
        );
    });
}

#[test]
fn the_table_decides_what_is_spoken() {
    runtime().block_on(async {
        let (old, new) = (Replica::named("old"), Http2Replica::named("new").await);
        let mut table = table(free_address(), 1, [old.address]);
        let (_proxy, mut controller, endpoint) = Proxy::serving_table(table.clone());
        let client = Http2Client::connect(endpoint).await;
        assert_eq!(client.get_text("/").await, "old", "auto");
        table.load_balancer.replica_protocol = ReplicaProtocol::Http1;
        table.generation = 2;
        controller.acknowledged(table.clone());
        assert_eq!(client.get_text("/").await, "old", "http1");
        table.load_balancer.replica_protocol = ReplicaProtocol::H2c;
        table.generation = 3;
        table.upstreams[0].address = new.address;
        controller.acknowledged(table);
        assert_eq!(client.get_text("/").await, "new", "h2c");
    });
}

/// A replica whose answers wait for permits, and that allows `streams` on a connection.
async fn gated(streams: u32, gate: &Arc<Semaphore>) -> Http2Replica {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(streams);
    let gate = Arc::clone(gate);
    Http2Replica::start_with(builder, move |_request| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Response::new(Sent::text("done"))
        }
    })
    .await
}

#[test]
fn few_connections_carry_many_requests() {
    runtime().block_on(async {
        let gate = Arc::new(Semaphore::new(0));
        let replica = gated(10, &gate).await;
        let (_proxy, mut controller, endpoint) =
            Proxy::serving_table(h2c_table(&[replica.address]));
        let client = Http2Client::connect(endpoint).await;
        // The first tells the proxy how many streams the replica allows.
        gate.add_permits(1);
        assert_eq!(client.get_text("/").await, "done");
        let mut answers = tokio::task::JoinSet::new();
        for _ in 0..25 {
            let request = client.request("GET", "/").body(Sent::empty()).unwrap();
            answers.spawn(client.send(request));
        }
        eventually("all requests at the replica", || replica.requests() == 26);
        controller.until_in_flight(1, 25);
        // All come over one connection of the client, so from one thread of the proxy.
        assert_eq!(replica.connections(), 3, "10 streams each");
        gate.add_permits(25);
        while let Some(answer) = answers.join_next().await {
            assert_eq!(answer.unwrap().unwrap().status(), 200);
        }
    });
}

#[test]
fn a_client_that_resets_its_stream_resets_the_replicas_and_no_other() {
    struct Gone(Arc<AtomicUsize>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    runtime().block_on(async {
        let gone = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let replica = {
            let (gone, gate) = (Arc::clone(&gone), Arc::clone(&gate));
            Http2Replica::start(move |_request| {
                let (gone, gate) = (Gone(Arc::clone(&gone)), Arc::clone(&gate));
                async move {
                    gate.acquire().await.unwrap().forget();
                    std::mem::forget(gone);
                    Response::new(Sent::text("done"))
                }
            })
            .await
        };
        let (proxy, mut controller, endpoint) = Proxy::serving_table(h2c_table(&[replica.address]));
        let client = Http2Client::connect(endpoint).await;
        let request = |target| {
            client
                .request("POST", target)
                .body(Sent::text("x"))
                .unwrap()
        };
        let kept = tokio::spawn(client.send(request("/kept")));
        let left = tokio::spawn(client.send(request("/left")));
        eventually("both at the replica", || replica.requests() == 2);
        left.abort();
        eventually("the reset at the replica", || {
            gone.load(Ordering::SeqCst) == 1
        });
        controller.until_in_flight(1, 1);
        gate.add_permits(1);
        let answer = kept.await.unwrap().unwrap();
        assert_eq!(read(answer.into_body()).await.unwrap().text, "done");
        assert_eq!(replica.connections(), 1);
        let lines = proxy.accesses(2);
        let of = |path: &str| {
            let line = lines.iter().find(|line| line["path"] == path).unwrap();
            line["outcome"].as_str().unwrap().to_owned()
        };
        assert_eq!(
            (of("/kept").as_str(), of("/left").as_str()),
            ("completed", "client_gone")
        );
    });
}

/// Serves connections with h2 itself, which can refuse and reset as a test says.
async fn raw_replica(
    serve: impl AsyncFn(usize, h2::server::Connection<tokio::net::TcpStream, Bytes>)
    + Send
    + Sync
    + 'static,
) -> (std::net::SocketAddr, tokio::task::LocalSet) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = std::rc::Rc::new(serve);
    let set = tokio::task::LocalSet::new();
    set.spawn_local(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let serve = std::rc::Rc::clone(&serve);
            tokio::task::spawn_local(async move {
                let connection = h2::server::handshake(stream).await.unwrap();
                serve(number, connection).await;
            });
        }
    });
    (address, set)
}

fn answer_with(mut respond: h2::server::SendResponse<Bytes>, text: &'static str) {
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    stream
        .send_data(Bytes::from_static(text.as_bytes()), true)
        .unwrap();
}

#[test]
fn a_refused_stream_is_sent_again_with_its_body() {
    runtime().block_on(async {
        let refused = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&refused);
        let (address, replica) = raw_replica(async move |number, mut connection| {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                if number == 0 {
                    count.fetch_add(1, Ordering::SeqCst);
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                    continue;
                }
                let mut body = request.into_body();
                tokio::task::spawn_local(async move {
                    let mut length = 0;
                    while let Some(piece) = body.data().await {
                        length += piece.unwrap().len();
                    }
                    assert_eq!(length, 5);
                    answer_with(respond, "whole");
                });
            }
        })
        .await;
        let talk = async {
            let (proxy, _controller, endpoint) = Proxy::serving_table(h2c_table(&[address]));
            let client = Http2Client::connect(endpoint).await;
            let request = client
                .request("POST", "/")
                .body(Sent::text("hello"))
                .unwrap();
            let answer = client.send(request).await.unwrap();
            assert_eq!(read(answer.into_body()).await.unwrap().text, "whole");
            assert_eq!(refused.load(Ordering::SeqCst), 1);
            assert_eq!(proxy.accesses(1)[0]["attempts"], 2);
        };
        replica.run_until(talk).await;
    });
}

#[test]
fn a_replica_that_says_goodbye_loses_no_request() {
    runtime().block_on(async {
        // Each connection serves three requests and leaves.
        let (address, replica) = raw_replica(async |_, mut connection| {
            let mut served = 0;
            while let Some(Ok((_, respond))) = connection.accept().await {
                answer_with(respond, "served");
                served += 1;
                if served == 3 {
                    connection.graceful_shutdown();
                }
            }
        })
        .await;
        let talk = async {
            let (_proxy, _controller, endpoint) = Proxy::serving_table(h2c_table(&[address]));
            let client = Http2Client::connect(endpoint).await;
            let mut answers = tokio::task::JoinSet::new();
            for _ in 0..20 {
                let request = client.request("POST", "/").body(Sent::text("x")).unwrap();
                answers.spawn_local(client.send(request));
            }
            while let Some(answer) = answers.join_next().await {
                assert_eq!(answer.unwrap().unwrap().status(), 200);
            }
        };
        replica.run_until(talk).await;
    });
}

#[test]
fn an_answer_that_the_replica_cancels_does_not_look_whole() {
    runtime().block_on(async {
        let (address, replica) = raw_replica(async |_, mut connection| {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                stream
                    .send_data(Bytes::from_static(b"half"), false)
                    .unwrap();
                tokio::task::spawn_local(async move {
                    // Lets the half go out first.
                    tokio::task::yield_now().await;
                    stream.reserve_capacity(1);
                    std::future::poll_fn(|context| stream.poll_capacity(context)).await;
                    stream.send_reset(h2::Reason::CANCEL);
                });
            }
        })
        .await;
        let talk = async {
            let (proxy, _controller, endpoint) = Proxy::serving_table(h2c_table(&[address]));
            let client = Http2Client::connect(endpoint).await;
            let request = client.request("POST", "/").body(Sent::text("x")).unwrap();
            if let Ok(answer) = client.send(request).await
                && answer.status() == 200
            {
                read(answer.into_body()).await.unwrap_err();
            }
            assert_eq!(proxy.accesses(1)[0]["outcome"], "replica_failed");
        };
        replica.run_until(talk).await;
    });
}

#[test]
fn a_request_that_the_client_cancels_does_not_look_whole() {
    let whole = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(AtomicUsize::new(0));
    let replica = {
        let (whole, ended) = (Arc::clone(&whole), Arc::clone(&ended));
        Replica::start(move |exchange| {
            whole.fetch_or(exchange.body().complete, Ordering::SeqCst);
            ended.fetch_add(1, Ordering::SeqCst);
            Then::Close
        })
    };
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    runtime().block_on(async {
        for number in 0..10 {
            let client = Http2Client::connect(endpoint).await;
            let (sink, body) = Sent::channel();
            let answer = tokio::spawn(client.send(client.request("PUT", "/").body(body).unwrap()));
            sink.send(Ok(data("half"))).await.unwrap();
            eventually("the request at the replica", || replica.requests() > number);
            answer.abort();
            eventually("the end at the replica", || {
                ended.load(Ordering::SeqCst) > number
            });
        }
    });
    assert!(!whole.load(Ordering::SeqCst));
}

#[test]
fn a_replica_that_is_gone_is_passed_over() {
    runtime().block_on(async {
        let good = Http2Replica::named("good").await;
        let table = h2c_table(&[free_address(), good.address]);
        let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
        let client = Http2Client::connect(endpoint).await;
        for _ in 0..4 {
            let request = client.request("POST", "/").body(Sent::text("x")).unwrap();
            assert_eq!(client.send(request).await.unwrap().status(), 200);
        }
    });
}

#[test]
fn a_replica_that_does_not_speak_http_2_is_told_of() {
    let replica = Replica::named("old");
    runtime().block_on(async {
        let (_proxy, mut controller, endpoint) =
            Proxy::serving_table(h2c_table(&[replica.address]));
        let client = Http2Client::connect(endpoint).await;
        let request = client.request("POST", "/").body(Sent::text("x")).unwrap();
        assert_eq!(client.send(request).await.unwrap().status(), 503);
        let error = controller.until(|report| match report {
            ProxyReport::UpstreamFailed { error, .. } => Some(error.clone()),
            _ => None,
        });
        assert!(error.contains("load_balancer.replica_protocol"), "{error}");
    });
    let is_preface = |line: &str| line.starts_with("PRI * HTTP/2.0") || line == "SM";
    assert!(
        replica
            .heads()
            .iter()
            .all(|head| is_preface(&head.first_line))
    );
}

#[test]
fn a_replica_that_takes_a_connection_and_says_nothing_costs_the_connect_timeout_only() {
    // The kernel takes its connections.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    runtime().block_on(async {
        let good = Http2Replica::named("good").await;
        let mut table = h2c_table(&[silent.local_addr().unwrap(), good.address]);
        table.load_balancer.connect_timeout_seconds = 0.3;
        let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
        let client = Http2Client::connect(endpoint).await;
        for _ in 0..2 {
            let request = client.request("POST", "/").body(Sent::text("x")).unwrap();
            assert_eq!(client.send(request).await.unwrap().status(), 200);
        }
    });
}

#[test]
fn what_a_slow_reader_leaves_is_bounded_and_stops_no_other() {
    const PIECE: usize = 16 * 1024;
    runtime().block_on(async {
        let sent = Arc::new(AtomicUsize::new(0));
        let replica = {
            let sent = Arc::clone(&sent);
            Http2Replica::start(move |request: Request<Incoming>| {
                let sent = Arc::clone(&sent);
                async move {
                    if request.uri().path() == "/small" {
                        return Response::new(Sent::text("small"));
                    }
                    let (sink, body) = Sent::channel();
                    tokio::spawn(async move {
                        let piece = Bytes::from(vec![b'x'; PIECE]);
                        while sink.send(Ok(Frame::data(piece.clone()))).await.is_ok() {
                            sent.fetch_add(PIECE, Ordering::SeqCst);
                        }
                    });
                    Response::new(body)
                }
            })
            .await
        };
        let (_proxy, _controller, endpoint) = Proxy::serving_table(h2c_table(&[replica.address]));
        let client = Http2Client::connect(endpoint).await;
        let mut slow = Vec::new();
        for _ in 0..4 {
            slow.push(client.ask("GET", "/endless").await.into_body());
        }
        // The window of hyper's client is 2 MiB a stream, and 5 MiB a connection; what the sending has come to when
        // others are served again and again is what it comes to.
        let mut before = usize::MAX;
        while sent.load(Ordering::SeqCst) != before {
            before = sent.load(Ordering::SeqCst);
            for _ in 0..50 {
                let other = Http2Client::connect(endpoint).await;
                assert_eq!(other.get_text("/small").await, "small");
            }
        }
        assert!(
            before < 16 * 1024 * 1024,
            "{before} bytes were taken from the replica"
        );
        for body in &mut slow {
            let frame = soon("a frame", body.frame()).await.unwrap().unwrap();
            assert!(frame.is_data());
        }
        assert!(next_text(&mut slow[0]).await.is_some());
    });
}
