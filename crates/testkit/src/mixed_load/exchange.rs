//! One request of a kind, and whether what came back is whole and right.

use std::error::Error;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::kind::Kind;
use super::session;
use crate::channel_body::{AnyBody, Writer, channel, whole};
use crate::replica_app::REPLICA_HEADER;

/// What a request is.
#[derive(Clone, Copy)]
pub(super) struct Order {
    pub(super) endpoint: SocketAddr,
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) session_seconds: u32,
}

/// A connection that may be used again.
pub(super) enum Connection {
    Http1(http1::SendRequest<AnyBody>),
    Http2(http2::SendRequest<AnyBody>),
}

/// Why a request was not answered rightly.
pub(super) struct Broken {
    pub(super) what: String,
    /// An answer had begun and is not whole, or not what it should be.
    pub(super) truncated: bool,
    /// The replica whose answer had begun.
    pub(super) replica: Option<u32>,
}

/// Whether a request that failed may have been acted on.
enum Processed {
    No,
    Perhaps,
}

/// Nothing of an answer had come.
pub(super) fn unanswered(what: impl Display) -> Broken {
    Broken {
        what: what.to_string(),
        truncated: false,
        replica: None,
    }
}

/// Sends it, on `kept` if that can be used, and checks the answer. There are no second attempts: whatever goes wrong is
/// told. Only where a kept connection turns out to be closed before a byte of the request was written, or its GOAWAY says
/// that the request was not processed (RFC 9113 section 6.8), is another one made, as every client does; `unsent` counts
/// that. `kept` holds a connection afterwards if it can be used again.
pub(super) async fn exchange(
    order: Order,
    kept: &mut Option<Connection>,
    unsent: &AtomicU64,
) -> Result<(), Broken> {
    let sent = body(order);
    let (writer, connection, response) = loop {
        let (writer, request) = request(order, &sent)?;
        if let Some(writer) = &writer {
            writer.data(session::message(0)).await;
        }
        let was_kept = kept.as_ref().is_some_and(Connection::is_open);
        let mut connection = match kept.take().filter(Connection::is_open) {
            Some(connection) => connection,
            None => connect(order).await?,
        };
        match connection.send(request).await {
            Ok(response) => break (writer, connection, response),
            Err((_, Processed::No)) if was_kept => {
                unsent.fetch_add(1, Ordering::Relaxed);
            }
            Err((broken, _)) => return Err(broken),
        }
    };
    let replica = response.headers().get(REPLICA_HEADER);
    let replica = replica.and_then(|value| value.to_str().ok()?.parse().ok());
    if order.kind == Kind::WebSocket && response.status() == 101 {
        let messages = session::web_socket(response, order.session_seconds).await;
        return messages.map_err(|what| cut(what, replica));
    }
    if response.status() != 200 || replica.is_none() {
        return Err(refused(response).await);
    }
    let checked = match (order.kind, writer) {
        (Kind::Stream, _) => session::events(response.into_body(), order.session_seconds).await,
        (Kind::GrpcBidirectional, Some(writer)) => {
            session::grpc(response.into_body(), writer, order.session_seconds).await
        }
        _ => plain(order.kind, response.into_body(), &sent).await,
    };
    checked.map_err(|what| cut(what, replica))?;
    *kept = Some(connection).filter(|_| order.kind != Kind::Fresh);
    Ok(())
}

fn cut(what: String, replica: Option<u32>) -> Broken {
    Broken {
        what,
        truncated: true,
        replica,
    }
}

/// An answer that is not the app's own.
async fn refused(response: Response<Incoming>) -> Broken {
    let status = response.status().as_u16();
    let grpc = response.headers().get("grpc-message").cloned();
    let text = response.into_body().collect().await;
    let text = text.map(|text| text.to_bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let text = text.trim().chars().take(300).collect::<String>();
    match grpc {
        Some(message) => unanswered(format!("grpc-message: {message:?}")),
        None => unanswered(format!("status {status}: {text}")),
    }
}

/// What is sent, told apart from what others send.
fn body(order: Order) -> Bytes {
    let mut body = format!("id={};", order.id).into_bytes();
    let length = order.kind.body_bytes();
    if length == 0 {
        return Bytes::new();
    }
    let filling = (0..).map(|n: u64| (n.wrapping_mul(31).wrapping_add(order.id) % 251) as u8);
    let missing = length - body.len();
    body.extend(filling.take(missing));
    if order.kind == Kind::GrpcUnary {
        return session::framed(&body);
    }
    Bytes::from(body)
}

fn request(order: Order, sent: &Bytes) -> Result<(Option<Writer>, Request<AnyBody>), Broken> {
    let (kind, authority) = (order.kind, order.endpoint);
    let is_get = sent.is_empty() && kind != Kind::GrpcBidirectional;
    let path = format!("/{}/{}", kind.folder(), order.id);
    let method = if is_get { Method::GET } else { Method::POST };
    let mut request = Request::builder().method(method);
    request = match kind {
        Kind::Stream => request.uri(format!("{path}?seconds={}", order.session_seconds)),
        _ if kind.is_http2() => request.uri(format!("http://{authority}{path}")),
        _ => request.uri(path),
    };
    if !kind.is_http2() {
        request = request.header(header::HOST, authority.to_string());
    }
    request = match kind {
        Kind::Fresh => request.header(header::CONNECTION, "close"),
        Kind::WebSocket => request
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        Kind::GrpcUnary | Kind::GrpcBidirectional => request
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers"),
        _ => request,
    };
    let (writer, body) = match kind {
        Kind::GrpcBidirectional => {
            let (writer, body) = channel();
            (Some(writer), body)
        }
        _ => (None, whole(sent.clone())),
    };
    request
        .body(body)
        .map(|request| (writer, request))
        .map_err(unanswered)
}

/// An answer that is there at once.
async fn plain(kind: Kind, answer: Incoming, sent: &Bytes) -> Result<(), String> {
    let answer = answer.collect().await;
    let answer = answer.map_err(|error| format!("the answer was cut: {error:?}"))?;
    if kind == Kind::GrpcUnary {
        session::check_trailers(answer.trailers())?;
    }
    let expected: &[u8] = if sent.is_empty() { b"ok" } else { sent };
    let answer = answer.to_bytes();
    if answer == expected {
        Ok(())
    } else {
        Err(format!(
            "{} bytes that are not the {} expected",
            answer.len(),
            expected.len()
        ))
    }
}

async fn connect(order: Order) -> Result<Connection, Broken> {
    let failed = |error: &dyn Display| unanswered(format!("cannot connect: {error}"));
    let stream = TcpStream::connect(order.endpoint).await;
    let stream = stream.map_err(|error| failed(&error))?;
    stream.set_nodelay(true).map_err(|error| failed(&error))?;
    let io = TokioIo::new(stream);
    if order.kind.is_http2() {
        let made = http2::handshake(TokioExecutor::new(), io).await;
        let (sender, connection) = made.map_err(|error| failed(&error))?;
        tokio::spawn(connection);
        Ok(Connection::Http2(sender))
    } else {
        let made = http1::handshake(io).await;
        let (sender, connection) = made.map_err(|error| failed(&error))?;
        tokio::spawn(connection.with_upgrades());
        Ok(Connection::Http1(sender))
    }
}

impl Connection {
    fn is_open(&self) -> bool {
        match self {
            Self::Http1(sender) => !sender.is_closed(),
            Self::Http2(sender) => !sender.is_closed(),
        }
    }

    /// The answer, or why there is none and whether somebody may have acted on the request.
    async fn send(
        &mut self,
        request: Request<AnyBody>,
    ) -> Result<Response<Incoming>, (Broken, Processed)> {
        let ready = match self {
            Self::Http1(sender) => sender.ready().await,
            Self::Http2(sender) => sender.ready().await,
        };
        if let Err(error) = ready {
            let broken = unanswered(format!("the connection is gone: {error:?}"));
            return Err((broken, Processed::No));
        }
        let response = match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(sender) => sender.try_send_request(request).await,
        };
        response.map_err(|mut failed| {
            let is_unsent = failed.take_message().is_some();
            let error = failed.into_error();
            let processed = match is_unsent || is_goaway(&error) {
                true => Processed::No,
                false => Processed::Perhaps,
            };
            (unanswered(format!("no answer: {error:?}")), processed)
        })
    }
}

/// Whether the other end said that it leaves and has not processed the request (RFC 9113 section 6.8): h2 gives the
/// error of a GOAWAY to no streams that its sender names as processed.
fn is_goaway(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_go_away() && error.is_remote();
        }
        cause = error.source();
    }
    false
}
