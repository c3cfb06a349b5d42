//! Connections to replicas, kept for the next request: one pool per thread and service.
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

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use plan::routing::{ReplicaId, Upstream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::request_body::RequestBody;

/// A replica that has not taken a connection after this is passed over. A lost SYN is sent again
/// after 1 s and 3 s, so two may be lost.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a connection is kept unused.
const IDLE_TIME: Duration = Duration::from_secs(4);
/// How long a connection may have been idle to be given a request that must not be sent twice.
const UNREPEATABLE_IDLE_TIME: Duration = Duration::from_secs(1);
/// Connections kept per replica and thread; more are closed after their request.
const MAX_IDLE_PER_REPLICA: usize = 1024;
/// Most bytes buffered per direction of a connection to a replica, and so the largest head of an
/// answer.
const MAX_BUFFER_BYTES: usize = 128 * 1024;

/// The sending end of a connection to a replica.
pub(crate) type Sender = SendRequest<RequestBody>;

type Key = (ReplicaId, SocketAddr);

/// The idle connections of one thread to the replicas of one service.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<HashMap<Key, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    /// A kept connection to `upstream` that looks alive, the one used last first. `repeatable` says
    /// whether the request may be sent again if the connection turns out to be dead.
    pub(crate) async fn take(&self, upstream: &Upstream, repeatable: bool) -> Option<Sender> {
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
    pub(crate) fn put(&self, upstream: &Upstream, sender: Sender) {
        if !sender.is_ready() {
            return;
        }
        let mut idle = self.idle();
        let kept = idle.entry(key(upstream)).or_default();
        if kept.len() < MAX_IDLE_PER_REPLICA {
            kept.push(Idle {
                sender,
                since: Instant::now(),
            });
        }
    }

    /// Closes connections that were idle for too long, closed by the replica, or lead to none of `upstreams`.
    pub(crate) fn sweep(&self, upstreams: &[Upstream]) {
        self.idle().retain(|leads_to, kept| {
            kept.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < IDLE_TIME);
            !kept.is_empty() && upstreams.iter().any(|upstream| key(upstream) == *leads_to)
        });
    }

    fn pop(&self, key: &Key, idle_time: Duration) -> Option<Sender> {
        let mut idle = self.idle();
        let kept = idle.get_mut(key)?;
        // Those used last are at the end: when one is too old, so are all before it.
        while kept
            .last()
            .is_some_and(|idle| idle.since.elapsed() < idle_time)
        {
            let sender = kept.pop()?.sender;
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn has_idle(&self, key: &Key) -> bool {
        self.idle().get(key).is_some_and(|kept| !kept.is_empty())
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<Key, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(upstream: &Upstream) -> Key {
    (upstream.replica_id, upstream.address)
}

/// Opens a connection to a replica; its traffic is driven by a task of the current thread.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<Sender> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| {
            let message = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
            io::Error::new(io::ErrorKind::TimedOut, message)
        })??;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_BUFFER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        // Its errors reach whoever waits for an answer on it.
        let _ = connection.await;
    });
    Ok(sender)
}
