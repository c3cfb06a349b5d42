//! Replicas that speak HTTP/2 without TLS (RFC 9113 section 3.3).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2::Builder;
use hyper_util::rt::TokioExecutor;
use plan::routing::ProxyReport;
use spec::ReplicaProtocol;
use tokio::sync::Semaphore;

use crate::support::http2::{
    Http2Client, Http2Replica, Sent, data, next_text, read, runtime, soon, trailers,
};
use crate::support::process::Proxy;
use crate::support::replica::Replica;
use crate::support::{eventually, free_address, h2c_table, table};

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
fn answers_without_a_body_have_none() {
    runtime().block_on(async {
        let replica = Http2Replica::start(|request: Request<Incoming>| async move {
            let status = if request.method() == "HEAD" { 200 } else { 204 };
            let answer = Response::builder().status(status);
            let answer = match status {
                200 => answer.header("content-length", "1234"),
                _ => answer,
            };
            answer.body(Sent::empty()).unwrap()
        })
        .await;
        let (proxy, _controller, endpoint) = Proxy::serving_table(h2c_table(&[replica.address]));
        let client = Http2Client::connect(endpoint).await;
        for (method, status, length) in [("HEAD", 200, Some("1234")), ("GET", 204, None)] {
            let answer = client.ask(method, "/").await;
            assert_eq!(answer.status(), status);
            let announced = answer.headers().get("content-length");
            assert_eq!(announced.map(|length| length.to_str().unwrap()), length);
            assert_eq!(read(answer.into_body()).await.unwrap().text, "");
        }
        for line in proxy.accesses(2) {
            assert_eq!(line["outcome"], "completed", "{line}");
        }
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
        table.load_balancer.connect_timeout_seconds = 1.0;
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
