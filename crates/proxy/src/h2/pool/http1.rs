//! Connections of HTTP/1.1 to replicas, each for one request at a time.
//!
//! A kept connection may be closed by the replica at any moment. The rules against that, in the
//! order in which they apply:
//!
//! 1. Connections idle for [`IDLE_TIME`] are closed by us first. It is less than the shortest
//!    keep-alive time of common servers (5 s in uvicorn and Node).
//! 2. A request that must not be sent twice takes only a connection that was used within
//!    [`UNREPEATABLE_IDLE_TIME`], and looks once more whether the replica has closed it.
//! 3. A connection that turns out to be closed before anything was written gives the request back
//!    unsent.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use plan::routing::Upstream;

use super::trailing::{TrailerSlot, TrailingStream};
use super::{Key, connect_tcp, key};
use crate::h2::request_body::RequestBody;

/// How long a connection is kept unused.
const IDLE_TIME: Duration = Duration::from_secs(4);
/// How long a connection may have been idle to be given a request that must not be sent twice.
const UNREPEATABLE_IDLE_TIME: Duration = Duration::from_secs(1);
/// Connections kept per replica and thread; more are closed after their request.
const MAX_IDLE_PER_REPLICA: usize = 1024;
/// Most bytes buffered per direction of a connection to a replica, and so the largest head of an
/// answer.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// The sending end of a connection to a replica.
#[derive(Debug)]
pub(crate) struct Sender {
    sender: SendRequest<RequestBody>,
    /// Where the body of the request leaves its trailers.
    pub(in crate::h2) trailers: TrailerSlot,
}

impl Sender {
    /// Sends a request, which is given back if no byte of it was written.
    pub(in crate::h2) fn try_send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<>
    {
        self.sender.try_send_request(request)
    }
}

/// The idle connections.
#[derive(Debug, Default)]
pub(in crate::h2) struct Connections {
    idle: RefCell<HashMap<Key, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Connections {
    /// A kept connection to `upstream` that looks alive, the one used last first. `repeatable` says
    /// whether the request may be sent again if the connection turns out to be dead.
    pub(in crate::h2) async fn take(
        &self,
        upstream: &Upstream,
        repeatable: bool,
    ) -> Option<Sender> {
        let key = key(upstream);
        if repeatable {
            return self.pop(&key, IDLE_TIME);
        }
        if !self.has_idle(&key) {
            return None;
        }
        // Lets the runtime look at the sockets, so that a connection which the replica has closed
        // says so.
        tokio::task::yield_now().await;
        self.pop(&key, UNREPEATABLE_IDLE_TIME)
    }

    /// Keeps a connection whose request is over. One that is not ready for the next is closed.
    pub(in crate::h2) fn put(&self, upstream: &Upstream, sender: Sender) {
        if !sender.sender.is_ready() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let kept = idle.entry(key(upstream)).or_default();
        if kept.len() < MAX_IDLE_PER_REPLICA {
            kept.push(Idle {
                sender,
                since: Instant::now(),
            });
        }
    }

    /// Closes connections that were idle for too long, closed by the replica, or lead to none of `upstreams`.
    pub(super) fn sweep(&self, upstreams: &[Upstream]) {
        self.idle.borrow_mut().retain(|leads_to, kept| {
            kept.retain(|idle| !idle.sender.sender.is_closed() && idle.since.elapsed() < IDLE_TIME);
            !kept.is_empty() && upstreams.iter().any(|upstream| key(upstream) == *leads_to)
        });
    }

    fn pop(&self, key: &Key, idle_time: Duration) -> Option<Sender> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(key)?;
        // Those used last are at the end: when one is too old, so are all before it.
        while kept
            .last()
            .is_some_and(|idle| idle.since.elapsed() < idle_time)
        {
            let sender = kept.pop()?.sender;
            if sender.sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn has_idle(&self, key: &Key) -> bool {
        self.idle
            .borrow_mut()
            .get(key)
            .is_some_and(|kept| !kept.is_empty())
    }
}

/// Opens a connection to a replica; its traffic is driven by a task of the current thread.
pub(in crate::h2) async fn connect(upstream: &Upstream, limit: Duration) -> Result<Sender, String> {
    let stream = connect_tcp(upstream.address, limit).await?;
    let trailers = TrailerSlot::default();
    let stream = TrailingStream::new(stream, trailers.clone());
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_BUFFER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::task::spawn_local(async move {
        // Its errors reach whoever waits for an answer on it.
        let _ = connection.await;
    });
    Ok(Sender { sender, trailers })
}
