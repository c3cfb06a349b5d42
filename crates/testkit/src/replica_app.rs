//! The app of a replica for mixed load: HTTP/1.1 and HTTP/2 without TLS on one port, event streams, WebSockets, and gRPC
//! whose messages come back as they are.
//!
//! Every request has a path of its own, `/KIND/ID`. Those that must not be done twice are written down, with the replica
//! that was given them, in the moment their head is read: in the strictest sense "reached a replica".

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::channel_body::{AnyBody, channel, whole};

/// Where requests that must not be done twice are written down; one line each: id, replica.
pub const JOURNAL_VARIABLE: &str = "TEST_JOURNAL";
/// The version that answers name.
pub const VERSION_VARIABLE: &str = "TEST_VERSION";
/// Between two events of a stream.
pub(crate) const EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// Header of answers: the id of the replica that gives it.
pub(crate) const REPLICA_HEADER: &str = "x-replica";
/// A WebSocket message of eight bytes as a client sends it (RFC 6455 section 5.2), masked by zeros.
pub(crate) const CLIENT_FRAME: [u8; 6] = [0x82, 0x88, 0, 0, 0, 0];
/// The same as a server sends it.
pub(crate) const SERVER_FRAME: [u8; 2] = [0x82, 0x08];

/// How HTTP/2 with prior knowledge begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

struct App {
    version: HeaderValue,
    replica: HeaderValue,
    journal: PathBuf,
}

/// Serves on `PORT` until the process is ended.
///
/// # Panics
/// When the environment is not that of a replica, or the port is taken.
pub async fn serve_replica() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let value = |name: &str| HeaderValue::from_str(&variable(name)).expect("a plain value");
    let app = Arc::new(App {
        version: value(VERSION_VARIABLE),
        replica: value("SKYPILOT_SERVE_REPLICA_ID"),
        journal: PathBuf::from(variable(JOURNAL_VARIABLE)),
    });
    let port: u16 = variable("PORT").parse().expect("PORT is a number");
    let listener = TcpListener::bind(("0.0.0.0", port)).await;
    let listener = listener.expect("the port is free");
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(Arc::clone(&app), stream));
        }
    }
}

async fn serve(app: Arc<App>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut beginning = [0; PREFACE.len()];
    // The proxy and the prober send a head at once.
    let Ok(seen) = stream.peek(&mut beginning).await else {
        return;
    };
    let is_http2 = seen > 0 && PREFACE.starts_with(&beginning[..seen]);
    let service = service_fn(move |request| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(app.answer(request).await) }
    });
    let io = TokioIo::new(stream);
    if is_http2 {
        let _ = http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service)
            .await;
    } else {
        let connection = http1::Builder::new().serve_connection(io, service);
        let _ = connection.with_upgrades().await;
    }
}

impl App {
    async fn answer(&self, request: Request<Incoming>) -> Response<AnyBody> {
        let path = request.uri().path().to_owned();
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let (kind, id) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let mut response = match kind {
            "echo" | "grpc.Echo" | "ws" => {
                self.write_down(id);
                match kind {
                    "echo" => echo(request).await,
                    "ws" => web_socket(request),
                    _ => grpc(request),
                }
            }
            "stream" => events(&request),
            "plain" | "health" => Response::new(whole("ok")),
            _ => {
                let mut response = Response::new(whole("no such path"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        };
        let headers = response.headers_mut();
        headers.insert(REPLICA_HEADER, self.replica.clone());
        headers.insert("x-version", self.version.clone());
        response
    }

    /// One `write` to a file that is appended to: lines of several replicas do not mix.
    fn write_down(&self, id: &str) {
        let line = format!("{id} {}\n", self.replica.to_str().unwrap_or("?"));
        let mut options = OpenOptions::new();
        let journal = options.create(true).append(true).open(&self.journal);
        let written = journal.and_then(|mut journal| journal.write_all(line.as_bytes()));
        written.expect("the journal can be written");
    }
}

/// The body back, once all of it has come.
async fn echo(request: Request<Incoming>) -> Response<AnyBody> {
    match request.into_body().collect().await {
        Ok(body) => Response::new(whole(body.to_bytes())),
        Err(_) => {
            let mut response = Response::new(whole("the body was cut"));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    }
}

/// `?seconds=N`: as many numbered events, one per [`EVENT_INTERVAL`], and `[DONE]`.
fn events(request: &Request<Incoming>) -> Response<AnyBody> {
    let seconds = request
        .uri()
        .query()
        .and_then(|query| query.strip_prefix("seconds="))
        .and_then(|seconds| seconds.parse::<u64>().ok())
        .unwrap_or(1);
    let (writer, body) = channel();
    tokio::spawn(async move {
        for number in 0..seconds * 10 {
            if !writer.data(format!("data: {number}\n\n")).await {
                return;
            }
            tokio::time::sleep(EVENT_INTERVAL).await;
        }
        writer.data("data: [DONE]\n\n").await;
    });
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Each message of eight bytes back, until the client ends.
fn web_socket(mut request: Request<Incoming>) -> Response<AnyBody> {
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let mut io = TokioIo::new(upgraded);
        let mut frame = [0; CLIENT_FRAME.len() + 8];
        while io.read_exact(&mut frame).await.is_ok() {
            let answer = [&SERVER_FRAME[..], &frame[CLIENT_FRAME.len()..]].concat();
            if io.write_all(&answer).await.is_err() {
                return;
            }
        }
        let _ = io.shutdown().await;
    });
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response
}

/// Whatever comes goes back at once, then `grpc-status: 0`: an echo of messages, one or many.
fn grpc(request: Request<Incoming>) -> Response<AnyBody> {
    let (writer, body) = channel();
    tokio::spawn(async move {
        let mut incoming = request.into_body();
        while let Some(frame) = incoming.frame().await {
            let Ok(frame) = frame else { return };
            if let Ok(data) = frame.into_data()
                && !writer.data(data).await
            {
                return;
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        writer.trailers(trailers).await;
    });
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
