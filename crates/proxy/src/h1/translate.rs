//! Requests of HTTP/1.1 for replicas that speak HTTP/2 only (`load_balancer.replica_protocol: h2c`).
//!
//! The head is read once more into the form of [`crate::h2`], which chooses, sends and retries; here both bodies are
//! moved: pieces of the client's into a channel, frames of the answer into chunks. Trailers of a request are not carried
//! over, nor is a change of protocol, which HTTP/2 does not have. `100 Continue` is the proxy's own.

use std::future::poll_fn;
use std::io::Write;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http1::{Method, Piece, TargetForm, read_request};
use hyper::body::{Body as _, Frame};

use super::body::{Body, with_fields};
use super::connection::{Client, Then};
use super::flow::Flow;
use super::request::Request;
use crate::buffer::{Input, Text};
use crate::endpoint::Endpoint;
use crate::h2::{AnswerBody, BodySender, ClientBody, body_channel, forward_parts};
use crate::log::RequestRecord;
use crate::own_answer::OwnAnswer;
use crate::stream::Stream;

/// A client that takes nothing of its answer for this long is given up.
const SEND_TIMEOUT: Duration = Duration::from_secs(120);
/// Most of a body that is handed over at once.
const PIECE_BYTES: usize = 16 * 1024;

/// What becomes of the request's body.
struct Upload {
    body: Body,
    /// `None` when it has ended, or nobody wants more of it.
    sender: Option<BodySender>,
}

/// Answers one request, whose text is its head as it came.
pub(super) async fn answer<S: Stream>(
    client: &mut Client<S>,
    request: &Request,
    endpoint: &Rc<Endpoint>,
) -> Then {
    let Some(parts) = parts_of(&request.text) else {
        let mut record = RequestRecord::start(endpoint, request.method_text(), request.target());
        let refused = OwnAnswer::refused(http1::Refusal::FieldValue);
        return client
            .answer(&refused, request, request.body.has_ended(), &mut record)
            .await;
    };
    let mut upload = Upload {
        body: request.body,
        sender: None,
    };
    let body = if request.body.has_ended() {
        ClientBody::Empty
    } else {
        let (sender, body) = body_channel(request.content_length);
        upload.sender = Some(sender);
        body
    };
    if request.expects_continue && !request.body.has_ended() {
        let mut text = Text::new();
        text.push(b"HTTP/1.1 100 Continue\r\n\r\n");
        if client.write(text).await.is_err() {
            return Then::Close;
        }
    }
    let peer = *client.peer();
    let mut forwarded = pin!(forward_parts(endpoint, &peer, parts, body));
    let is_last = !request.keep_alive;
    let answer = poll_fn(|context| {
        loop {
            if let Poll::Ready(answer) = forwarded.as_mut().poll(context) {
                return Poll::Ready(Some(answer));
            }
            match upload.poll(client, is_last, context) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    match answer {
        Some(answer) => deliver(client, request, endpoint, answer, upload).await,
        None => Then::Close,
    }
}

impl Upload {
    /// Moves a piece of the body. Ready with true when something was moved, with false when the client has gone away.
    fn poll<S: Stream>(
        &mut self,
        client: &mut Client<S>,
        is_last: bool,
        context: &mut Context<'_>,
    ) -> Poll<bool> {
        let Some(sender) = &self.sender else {
            return match client.poll_gone(is_last, context) {
                true => Poll::Ready(false),
                false => Poll::Pending,
            };
        };
        match sender.poll_ready(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => {
                self.sender = None;
                return Poll::Ready(true);
            }
            Poll::Ready(Ok(())) => {}
        }
        let bytes = client.input.bytes();
        let bytes = bytes.get(..PIECE_BYTES).unwrap_or(bytes);
        match self.body.next(bytes) {
            Ok(Piece::Data(length)) => {
                sender.send(Bytes::copy_from_slice(
                    bytes.get(..length).unwrap_or_default(),
                ));
                client.input.consume(length);
            }
            Ok(Piece::Framing(length) | Piece::Trailers(length)) => client.input.consume(length),
            Ok(Piece::More) => match client.input.poll_fill(&mut client.stream, context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(read)) if read > 0 => {}
                // The body is cut.
                Poll::Ready(_) => self.sender = None,
            },
            Err(_) => self.sender = None,
        }
        if self.body.has_ended()
            && let Some(sender) = self.sender.take()
        {
            sender.finish(None);
        }
        Poll::Ready(true)
    }
}

/// The head of a request in the form of the `http` crate.
fn parts_of(head: &[u8]) -> Option<http::request::Parts> {
    with_fields(|fields| {
        let read = read_request(head, fields).ok()??;
        let mut headers = HeaderMap::new();
        for field in fields.iter() {
            let name = HeaderName::from_bytes(field.name_span.of(head)).ok()?;
            let value = HeaderValue::from_bytes(field.value.of(head)).ok()?;
            headers.append(name, value);
        }
        if let TargetForm::Absolute { authority } = read.form {
            let host = HeaderValue::from_bytes(authority.of(head)).ok()?;
            headers.insert(http::header::HOST, host);
        }
        let target = match read.target.of(head) {
            b"" => b"/",
            target => target,
        };
        let request = http::Request::builder()
            .method(read.method_span.of(head))
            .uri(target)
            .version(if read.is_1_1 {
                http::Version::HTTP_11
            } else {
                http::Version::HTTP_10
            })
            .body(())
            .ok()?;
        let mut parts = request.into_parts().0;
        parts.headers = headers;
        Some(parts)
    })
}

/// How the end of an answer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// By its head.
    Head,
    Chunks,
    Close,
}

/// Passes an answer on.
async fn deliver<S: Stream>(
    client: &mut Client<S>,
    request: &Request,
    endpoint: &Endpoint,
    answer: Response<AnswerBody>,
    mut upload: Upload,
) -> Then {
    let (parts, body) = answer.into_parts();
    let has_no_body = request.method == Method::Head
        || matches!(
            parts.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let framing = match (has_no_body, request.is_1_1) {
        _ if parts.headers.contains_key(http::header::CONTENT_LENGTH) => Framing::Head,
        (true, _) => Framing::Head,
        (false, true) => Framing::Chunks,
        (false, false) => Framing::Close,
    };
    let close = !request.keep_alive || framing == Framing::Close || endpoint.is_closing();
    let mut flow = Flow::new(compose(&parts, framing, close, request.is_1_1));
    let mut body = pin!(body);
    let mut ended = has_no_body && body.is_end_stream();
    let is_last = !request.keep_alive;
    let whole = poll_fn(|context| {
        client.deadline.set(SEND_TIMEOUT);
        loop {
            if flow.is_pending() {
                match flow.poll_write(&mut Input::default(), &mut client.stream, context) {
                    Poll::Ready(Ok(_)) => continue,
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Pending if client.deadline.has_struck(context) => {
                        return Poll::Ready(false);
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            if ended {
                return Poll::Ready(true);
            }
            match body.as_mut().poll_frame(context) {
                // Whatever a replica says beyond such a head is not part of the answer.
                Poll::Ready(Some(frame)) if has_no_body => {
                    ended = frame.is_err() || body.is_end_stream();
                }
                Poll::Ready(Some(Ok(frame))) => pass(&mut flow, frame, framing, &mut ended),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                Poll::Ready(None) => {
                    ended = true;
                    if framing == Framing::Chunks {
                        flow.compose(b"0\r\n\r\n");
                    }
                }
                Poll::Pending => match upload.poll(client, is_last, context) {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(false),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    })
    .await;
    match (whole, upload.body.has_ended()) {
        (false, _) if framing == Framing::Close => Then::Reset,
        (false, _) => Then::Close,
        (true, false) => Then::Linger,
        (true, true) if close => Then::Close,
        (true, true) => Then::Next,
    }
}

fn pass(flow: &mut Flow, frame: Frame<Bytes>, framing: Framing, ended: &mut bool) {
    match frame.into_data() {
        Ok(data) if data.is_empty() => {}
        Ok(data) if framing == Framing::Chunks => {
            flow.compose(format!("{:x}\r\n", data.len()).as_bytes());
            flow.compose(&data);
            flow.compose(b"\r\n");
        }
        Ok(data) => flow.compose(&data),
        Err(frame) => {
            *ended = true;
            if framing == Framing::Chunks {
                flow.compose(b"0\r\n");
                for (name, value) in frame.trailers_ref().into_iter().flatten() {
                    compose_field(flow, name, value);
                }
                flow.compose(b"\r\n");
            }
        }
    }
}

fn compose_field(flow: &mut Flow, name: &HeaderName, value: &HeaderValue) {
    flow.compose(name.as_str().as_bytes());
    flow.compose(b": ");
    flow.compose(value.as_bytes());
    flow.compose(b"\r\n");
}

fn compose(parts: &http::response::Parts, framing: Framing, close: bool, is_1_1: bool) -> Text {
    let mut text = Text::new();
    let reason = parts.status.canonical_reason().unwrap_or_default();
    // Writing to memory cannot fail.
    let _ = write!(text, "HTTP/1.1 {} {reason}\r\n", parts.status.as_u16());
    for (name, value) in &parts.headers {
        text.push(name.as_str().as_bytes());
        text.push(b": ");
        text.push(value.as_bytes());
        text.push(b"\r\n");
    }
    if framing == Framing::Chunks {
        text.push(b"Transfer-Encoding: chunked\r\n");
    }
    if close {
        text.push(b"Connection: close\r\n");
    } else if !is_1_1 {
        text.push(b"Connection: keep-alive\r\n");
    }
    text.push(b"\r\n");
    text
}
