//! The same bytes, read by us and by hyper's server, over memory: no runtime, no sockets.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper::{Response, Uri};

use crate::reading::{self, End, Request};

/// Bytes to be read, in pieces of at most `piece`; what is written is thrown away.
struct Memory {
    bytes: Vec<u8>,
    position: usize,
    piece: usize,
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let end = self.position + self.piece.min(buffer.remaining());
        let end = end.min(self.bytes.len());
        buffer.put_slice(&self.bytes[self.position..end]);
        self.position = end;
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What hyper reads.
pub(crate) fn hyper_requests(bytes: &[u8], piece: usize) -> Vec<Request> {
    let seen: Rc<RefCell<Vec<Request>>> = Rc::default();
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let index = seen.borrow().len();
        seen.borrow_mut().push(Request {
            method: head.method.as_str().as_bytes().to_vec(),
            target: target.as_bytes().to_vec(),
            ..Request::default()
        });
        let seen = Rc::clone(&seen);
        async move {
            if let Ok(body) = body.collect().await {
                let request = &mut seen.borrow_mut()[index];
                request.body = body.to_bytes().to_vec();
                request.complete = true;
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let memory = Memory {
        bytes: bytes.to_vec(),
        position: 0,
        piece: piece.max(1),
    };
    let mut connection = Box::pin(
        hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .max_headers(http1::MAX_FIELDS + 1)
            .serve_connection(memory, service),
    );
    // Nothing here ever waits for anything outside, so polling again is all that waking could do.
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..bytes.len() + 1000 {
        if connection.as_mut().poll(&mut context).is_ready() {
            break;
        }
    }
    drop(connection);
    seen.take()
}

/// What hyper refuses though we do not. Each is harmless: what a replica refuses is not smuggled.
fn only_hyper_refuses(request: &Request) -> bool {
    // `http::Uri` holds text: bytes above 127 must be UTF-8 there, and a few visible characters are not allowed.
    Uri::try_from(&request.target[..]).is_err()
}

/// Compares, and says how they differ in what they read.
pub(crate) fn difference(bytes: &[u8], piece: usize) -> Option<String> {
    let (ours, end) = reading::requests(bytes);
    let theirs = hyper_requests(bytes, piece);
    for (index, our) in ours.iter().enumerate() {
        let Some(their) = theirs.get(index) else {
            if only_hyper_refuses(our) {
                return None;
            }
            return Some(format!("hyper does not read request {index}: {our:?}"));
        };
        if (&our.method, &our.target) != (&their.method, &their.target) {
            return Some(format!("request {index}: we read {our:?}, hyper {their:?}"));
        }
        let last_is_refused = matches!(end, End::Refused(_)) && !our.complete;
        if last_is_refused {
            return None;
        }
        if our.complete != their.complete || our.complete && our.body != their.body {
            return Some(format!("body {index}: we read {our:?}, hyper {their:?}"));
        }
    }
    let more = theirs.len() > ours.len() && !matches!(end, End::Refused(_));
    more.then(|| format!("we end with {end:?}, hyper reads on: {theirs:?}"))
}
