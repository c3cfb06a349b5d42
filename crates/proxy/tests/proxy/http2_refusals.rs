//! Replicas of HTTP/2 that refuse, leave and cancel.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use crate::support::h2c_table;
use crate::support::http2::{Http2Client, Sent, next_text, read, runtime, soon};
use crate::support::process::Proxy;

/// Serves connections as a test says, by their numbers.
async fn raw_replica(serve: impl AsyncFn(usize, TcpStream) + 'static) -> (SocketAddr, LocalSet) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Rc::new(serve);
    let set = LocalSet::new();
    set.spawn_local(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let serve = Rc::clone(&serve);
            spawn_local(async move { serve(number, stream).await });
        }
    });
    (address, set)
}

/// The same with h2 itself, which can refuse, reset and leave.
async fn h2_replica(
    serve: impl AsyncFn(usize, h2::server::Connection<TcpStream, Bytes>) + 'static,
) -> (SocketAddr, LocalSet) {
    raw_replica(async move |number, stream| {
        let connection = h2::server::handshake(stream).await.unwrap();
        serve(number, connection).await;
    })
    .await
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
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let (address, replica) = h2_replica(async move |_, mut connection| {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                if count.fetch_add(1, Ordering::SeqCst) == 0 {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                    continue;
                }
                let mut body = request.into_body();
                spawn_local(async move {
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
            assert_eq!(asked.load(Ordering::SeqCst), 2);
            assert_eq!(proxy.accesses(1)[0]["attempts"], 2);
        };
        replica.run_until(talk).await;
    });
}

#[test]
fn a_request_that_is_always_refused_is_asked_for_twice_and_no_more() {
    runtime().block_on(async {
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let (address, replica) = h2_replica(async move |_, mut connection| {
            count.fetch_add(1, Ordering::SeqCst);
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            }
        })
        .await;
        let talk = async {
            let (proxy, _controller, endpoint) = Proxy::serving_table(h2c_table(&[address]));
            let client = Http2Client::connect(endpoint).await;
            let request = client.request("POST", "/").body(Sent::text("x")).unwrap();
            assert_eq!(client.send(request).await.unwrap().status(), 503);
            assert_eq!(proxy.accesses(1)[0]["attempts"], 2);
            assert_eq!(connections.load(Ordering::SeqCst), 1);
        };
        replica.run_until(talk).await;
    });
}

#[test]
fn connections_to_a_replica_that_left_are_closed() {
    runtime().block_on(async {
        let ended = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ended);
        let (address, replica) = h2_replica(async move |_, mut connection| {
            let mut held = None;
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                if request.uri().path() == "/held" {
                    let mut stream = respond.send_response(Response::new(()), false).unwrap();
                    stream
                        .send_data(Bytes::from_static(b"begun"), false)
                        .unwrap();
                    held = Some(stream);
                } else {
                    held.take()
                        .unwrap()
                        .send_data(Bytes::from_static(b"ended"), true)
                        .unwrap();
                    answer_with(respond, "let go");
                }
            }
            count.fetch_add(1, Ordering::SeqCst);
        })
        .await;
        let talk = async {
            let table = h2c_table(&[address]);
            let (_proxy, mut controller, endpoint) = Proxy::serving_table(table.clone());
            let client = Http2Client::connect(endpoint).await;
            let mut held = client.ask("GET", "/held").await.into_body();
            assert_eq!(next_text(&mut held).await.as_deref(), Some("begun"));
            assert_eq!(client.get_text("/let-go").await, "let go");
            assert_eq!(next_text(&mut held).await.as_deref(), Some("ended"));
            assert_eq!(next_text(&mut held).await, None);
            assert_eq!(ended.load(Ordering::SeqCst), 0);
            let mut without = table;
            without.generation = 2;
            without.upstreams.clear();
            controller.acknowledged(without);
            soon("the end of the connection", async {
                while ended.load(Ordering::SeqCst) == 0 {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            })
            .await;
        };
        replica.run_until(talk).await;
    });
}

#[test]
fn a_replica_that_says_goodbye_loses_no_request() {
    runtime().block_on(async {
        // Each connection serves three requests and leaves.
        let (address, replica) = h2_replica(async |_, mut connection| {
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
fn an_answer_that_the_replica_resets_does_not_look_whole() {
    runtime().block_on(async {
        let (address, replica) = h2_replica(async |_, mut connection| {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let reason = match request.uri().path() {
                    "/no-error" => h2::Reason::NO_ERROR,
                    _ => h2::Reason::CANCEL,
                };
                let head = Response::builder().header("content-length", "8");
                let mut stream = respond
                    .send_response(head.body(()).unwrap(), false)
                    .unwrap();
                stream
                    .send_data(Bytes::from_static(b"half"), false)
                    .unwrap();
                spawn_local(async move {
                    // Lets the half go out first.
                    tokio::task::yield_now().await;
                    stream.reserve_capacity(1);
                    std::future::poll_fn(|context| stream.poll_capacity(context)).await;
                    stream.send_reset(reason);
                });
            }
        })
        .await;
        let talk = async {
            let (proxy, _controller, endpoint) = Proxy::serving_table(h2c_table(&[address]));
            let client = Http2Client::connect(endpoint).await;
            for (count, target) in [(1, "/cancel"), (2, "/no-error")] {
                let request = client
                    .request("POST", target)
                    .body(Sent::text("x"))
                    .unwrap();
                if let Ok(answer) = client.send(request).await
                    && answer.status() == 200
                {
                    read(answer.into_body()).await.unwrap_err();
                }
                assert_eq!(
                    proxy.accesses(count)[count - 1]["outcome"],
                    "replica_failed"
                );
            }
        };
        replica.run_until(talk).await;
    });
}

#[test]
fn an_answer_that_comes_before_the_end_of_the_request_is_whole() {
    runtime().block_on(async {
        let (address, replica) = h2_replica(async |_, mut connection| {
            while let Some(Ok((_, respond))) = connection.accept().await {
                // h2 resets the stream with NO_ERROR thereafter (RFC 9113 section 8.1).
                answer_with(respond, "early");
            }
        })
        .await;
        let talk = async {
            let (proxy, _controller, endpoint) = Proxy::serving_table(h2c_table(&[address]));
            let client = Http2Client::connect(endpoint).await;
            let (sink, body) = Sent::channel();
            let request = client.request("POST", "/").body(body).unwrap();
            let answer = client.send(request).await.unwrap();
            assert_eq!(read(answer.into_body()).await.unwrap().text, "early");
            assert_eq!(proxy.accesses(1)[0]["outcome"], "completed");
            drop(sink);
        };
        replica.run_until(talk).await;
    });
}

#[test]
fn a_request_beyond_the_last_stream_of_a_goodbye_is_sent_again() {
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    /// Last stream 0, no error.
    const GOAWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";
    runtime().block_on(async {
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let (address, replica) = raw_replica(async move |number, mut stream| {
            count.fetch_add(1, Ordering::SeqCst);
            if number > 0 {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, respond))) = connection.accept().await {
                    answer_with(respond, "served");
                }
                return;
            }
            stream.write_all(SETTINGS).await.unwrap();
            stream.read_exact(&mut [0; 24]).await.unwrap();
            loop {
                let mut head = [0; 9];
                stream.read_exact(&mut head).await.unwrap();
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                stream
                    .read_exact(&mut vec![0; length as usize])
                    .await
                    .unwrap();
                if head[3] == 1 {
                    break;
                }
            }
            stream.write_all(GOAWAY).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let talk = async {
            let (_proxy, mut controller, endpoint) = Proxy::serving_table(h2c_table(&[address]));
            let client = Http2Client::connect(endpoint).await;
            let request = client.request("POST", "/").body(Sent::text("x")).unwrap();
            let answer = client.send(request).await.unwrap();
            assert_eq!(read(answer.into_body()).await.unwrap().text, "served");
            assert_eq!(connections.load(Ordering::SeqCst), 2);
            controller.until_in_flight(1, 0);
        };
        replica.run_until(talk).await;
    });
}
