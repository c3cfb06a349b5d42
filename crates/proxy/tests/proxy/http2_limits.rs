//! What a client that speaks HTTP/2 must not do, and what becomes of it: frames written byte by byte.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use spec::ReplicaProtocol;

use crate::support::http2::{
    Http2Client, Http2Replica, Sent, data, next_text, read, runtime, soon,
};
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::{PATIENCE, eventually, free_address, table};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET http://a/`, by the static table (RFC 7541 appendix A).
const GET: &[u8] = b"\x82\x86\x84\x41\x01a";

/// One frame.
#[derive(Debug)]
struct Got {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Got {
    /// The code of a RST_STREAM or GOAWAY.
    fn error(&self) -> u32 {
        let start = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[start..start + 4].try_into().unwrap())
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

struct RawClient(TcpStream);

impl RawClient {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self(stream);
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        client.send(&frame(SETTINGS, 0, 0, &[])).unwrap();
        client
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn read(&mut self) -> io::Result<Got> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let (kind, flags) = (head[3], head[4]);
        Ok(Got {
            kind,
            flags,
            stream,
            payload,
        })
    }

    /// The next frame of one of these kinds.
    fn until(&mut self, kinds: &[u8]) -> Got {
        loop {
            let got = self.read().unwrap();
            if kinds.contains(&got.kind) && !(got.kind == PING && got.flags & ACK == 0) {
                return got;
            }
        }
    }

    /// Reads to the end of the connection and gives the code of the GOAWAY before it.
    fn until_end(&mut self) -> Option<u32> {
        let mut code = None;
        loop {
            match self.read() {
                Ok(got) if got.kind == GOAWAY => code = Some(got.error()),
                Ok(_) => {}
                Err(error) => {
                    assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "it does not end");
                    return code;
                }
            }
        }
    }
}

#[test]
fn headers_of_a_connection_are_malformed() {
    let replica = Replica::named("fine");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = RawClient::connect(endpoint);
    // RFC 9113 section 8.2.2.
    let forbidden = [
        ("connection", "close"),
        ("keep-alive", "x"),
        ("proxy-connection", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
    ];
    for (number, (name, value)) in (0..).zip(forbidden) {
        let mut block = GET.to_vec();
        for text in [name, value] {
            block.extend(if text == name { &[0][..] } else { &[] });
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
        let stream = 2 * number + 1;
        client
            .send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block))
            .unwrap();
        let got = client.until(&[RST_STREAM, HEADERS]);
        assert_eq!(
            (got.kind, got.stream, got.error()),
            (RST_STREAM, stream, 1),
            "{name}"
        );
    }
    client
        .send(&frame(HEADERS, END_HEADERS | END_STREAM, 99, GET))
        .unwrap();
    assert_eq!(client.until(&[RST_STREAM, HEADERS]).kind, HEADERS);
    assert_eq!(replica.requests(), 1);
}

fn others_are_served(endpoint: SocketAddr) {
    runtime().block_on(async {
        assert_eq!(
            Http2Client::connect(endpoint).await.get_text("/").await,
            "fine"
        );
    });
}

#[test]
fn streams_reset_in_bulk_end_the_connection() {
    let replica = Replica::named("fine");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = RawClient::connect(endpoint);
    let mut reader = RawClient(client.0.try_clone().unwrap());
    let writer = std::thread::spawn(move || {
        for number in 0..100_000 {
            let stream = 2 * number + 1;
            let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream, GET);
            both.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            if client.send(&both).is_err() {
                return true;
            }
        }
        false
    });
    // ENHANCE_YOUR_CALM where the client still hears it.
    assert!(matches!(reader.until_end(), None | Some(11)));
    assert!(writer.join().unwrap(), "all of it was taken");
    others_are_served(endpoint);
}

#[test]
fn streams_reset_one_by_one_end_the_connection_too() {
    runtime().block_on(async {
        let replica = Http2Replica::start(|request: http::Request<_>| async move {
            if request.uri().host() == Some("a") {
                std::future::pending::<()>().await;
            }
            http::Response::new(Sent::text("fine"))
        })
        .await;
        let mut table = table(free_address(), 1, [replica.address]);
        table.load_balancer.replica_protocol = ReplicaProtocol::H2c;
        let (_proxy, mut controller, endpoint) = Proxy::serving_table(table);
        let mut client = RawClient::connect(endpoint);
        let mut streams = 0;
        for number in 0..5000_u32 {
            let stream = 2 * number + 1;
            let mut frames = frame(HEADERS, END_HEADERS | END_STREAM, stream, GET);
            // When this is answered, the stream has been begun.
            frames.extend(frame(PING, 0, 0, &[0; 8]));
            let sent = client.send(&frames);
            let answered = loop {
                match client.read() {
                    Ok(got) if got.kind == PING && got.flags & ACK != 0 => break true,
                    Ok(_) => {}
                    Err(_) => break false,
                }
            };
            if sent.is_err() || !answered {
                break;
            }
            streams += 1;
            let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            if client.send(&reset).is_err() {
                break;
            }
        }
        assert!((500..1000).contains(&streams), "{streams} streams");
        controller.until_in_flight(1, 0);
        let other = Http2Client::connect(endpoint).await;
        assert_eq!(other.get_text("/").await, "fine");
    });
}

#[test]
fn headers_without_an_end_end_the_connection() {
    let replica = Replica::named("fine");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = RawClient::connect(endpoint);
    client.send(&frame(HEADERS, END_STREAM, 1, GET)).unwrap();
    let mut reader = RawClient(client.0.try_clone().unwrap());
    let writer = std::thread::spawn(move || {
        let field = b"\x00\x01x\x7f\x81\x7d".to_vec();
        let mut block = field;
        block.extend([b'v'; 380]);
        (0..100_000).any(|_| client.send(&frame(CONTINUATION, 0, 1, &block)).is_err())
    });
    reader.until_end();
    assert!(writer.join().unwrap(), "all of it was taken");
    assert_eq!(replica.requests(), 0);
    others_are_served(endpoint);
}

#[test]
fn too_many_headers_are_refused_alone() {
    let replica = Replica::named("fine");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    runtime().block_on(async {
        let client = Http2Client::connect(endpoint).await;
        assert_eq!(client.get_text("/").await, "fine");
        let request = client
            .request("GET", "/")
            .header("x-large", "v".repeat(70_000));
        match client.send(request.body(Sent::empty()).unwrap()).await {
            Ok(answer) => assert_eq!(answer.status(), 431),
            Err(error) => assert!(!error.is_canceled(), "{error:?}"),
        }
    });
    assert_eq!(replica.requests(), 1);
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let replica = Replica::start(|exchange| {
        let complete = exchange.body().complete;
        exchange.answer(if complete { "whole" } else { "cut" })
    });
    let mut table = table(free_address(), 1, [replica.address]);
    table.load_balancer.max_request_body_bytes = Some(10);
    let (proxy, _controller, endpoint) = Proxy::serving_table(table);
    runtime().block_on(async {
        let client = Http2Client::connect(endpoint).await;
        let post = |body| client.send(client.request("POST", "/").body(body).unwrap());
        assert_eq!(
            read(post(Sent::text("0123456789")).await.unwrap().into_body())
                .await
                .unwrap()
                .text,
            "whole"
        );
        // A length that is announced, then one that turns out.
        for body in [
            Sent::text("0123456789a"),
            Sent::of([data("01234567"), data("89a")]),
        ] {
            let answer = post(body).await.unwrap();
            assert_eq!(answer.status(), 413);
            let text = read(answer.into_body()).await.unwrap().text;
            assert!(
                text.contains("load_balancer.max_request_body_bytes"),
                "{text}"
            );
        }
    });
    let outcomes: Vec<_> = proxy
        .accesses(3)
        .iter()
        .map(|line| line["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["completed", "rejected", "rejected"]);
}

#[test]
fn an_idle_connection_is_ended_and_a_busy_one_is_not() {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    let replica = {
        let gate = Arc::clone(&gate);
        Replica::start(move |exchange| {
            exchange.begin_chunks();
            exchange.send_chunk("begun");
            drop(gate.lock());
            exchange.send("0\r\n\r\n");
            Then::Close
        })
    };
    let mut table = table(free_address(), 1, [replica.address]);
    table.load_balancer.idle_timeout_seconds = 0.2;
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    runtime().block_on(async {
        let busy = Http2Client::connect(endpoint).await;
        let mut body = busy.ask("GET", "/").await.into_body();
        assert_eq!(next_text(&mut body).await.as_deref(), Some("begun"));
        let idle = Http2Client::connect(endpoint).await;
        soon("the end of the idle connection", idle.connection)
            .await
            .unwrap()
            .unwrap();
        assert!(!busy.connection.is_finished());
        drop(closed);
        assert_eq!(next_text(&mut body).await, None);
        soon("the end of the other", busy.connection)
            .await
            .unwrap()
            .unwrap();
    });
}

#[test]
fn an_unused_kind_of_frame_is_no_harm() {
    let replica = Replica::named("fine");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = RawClient::connect(endpoint);
    client.send(&frame(0x77, 0, 0, b"unknown")).unwrap();
    client
        .send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET))
        .unwrap();
    assert_eq!(client.until(&[HEADERS, RST_STREAM, GOAWAY]).kind, HEADERS);
    assert_eq!(client.until(&[DATA]).payload, b"fine");
    eventually("one request", || replica.requests() == 1);
}

#[test]
fn an_answer_of_which_nothing_is_taken_is_given_up() {
    let ended = Arc::new(AtomicUsize::new(0));
    let replica = {
        let ended = Arc::clone(&ended);
        Replica::start(move |exchange| {
            exchange.body();
            if exchange.target() == "/small" {
                return exchange.answer("fine");
            }
            exchange.begin_chunks();
            while exchange.send_chunk(&"x".repeat(10_000)) {}
            ended.fetch_add(1, Ordering::SeqCst);
            Then::Close
        })
    };
    let mut table = table(free_address(), 1, [replica.address]);
    table.load_balancer.idle_timeout_seconds = 0.5;
    let (proxy, mut controller, endpoint) = Proxy::serving_table(table);
    // A client that opens no window beyond the first (RFC 9113 section 6.9.2: 65,535 bytes).
    let mut client = RawClient::connect(endpoint);
    client
        .send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET))
        .unwrap();
    eventually("the end at the replica", || {
        ended.load(Ordering::SeqCst) == 1
    });
    controller.until_in_flight(1, 0);
    assert_eq!(proxy.accesses(1)[0]["outcome"], "client_slow");
    // With a window again, it hears that the answer is not whole.
    for stream in [0, 1] {
        let window = frame(WINDOW_UPDATE, 0, stream, &10_000_000_u32.to_be_bytes());
        client.send(&window).unwrap();
    }
    assert_eq!(client.until(&[RST_STREAM, GOAWAY]).kind, RST_STREAM);
}
