//! Connections to replicas on the HTTP/1.1 path, kept for the next request: one set per thread and service.
//!
//! A kept connection may be closed by the replica at any moment. The rules against that, in the order in which they
//! apply:
//!
//! 1. Connections idle for [`IDLE_TIME`] are closed by us first. It is less than the shortest keep-alive time of common
//!    servers (5 s in uvicorn and Node).
//! 2. A connection on which anything has come since, its end above all, is not used.
//! 3. A request that must not be sent twice takes only a connection that was used within [`UNREPEATABLE_IDLE_TIME`].
//! 4. A connection that turns out to be closed before anything was written costs the request nothing: it takes another.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use plan::routing::{ReplicaId, Upstream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::deadline::coarse_now;
use crate::plain::Plain;

/// How long a connection is kept unused.
const IDLE_TIME: Duration = Duration::from_secs(4);
/// How long a connection may have been idle to be given a request that must not be sent twice.
const UNREPEATABLE_IDLE_TIME: Duration = Duration::from_secs(1);
/// Connections kept per replica and thread; more are closed after their request.
const MAX_IDLE_PER_REPLICA: usize = 1024;

/// The idle connections of one thread to the replicas of one service.
#[derive(Debug, Default)]
pub(crate) struct IdleConnections {
    idle: RefCell<HashMap<ReplicaId, Vec<Idle>, BuildHasherDefault<ReplicaHasher>>>,
}

#[derive(Debug)]
struct Idle {
    stream: Plain,
    address: SocketAddr,
    /// Monotonic microseconds.
    since: u64,
}

impl IdleConnections {
    /// A kept connection to `upstream`, the one used last first. `repeatable` says whether the request may be sent again
    /// if the connection turns out to be dead.
    pub(crate) fn take(&self, upstream: &Upstream, repeatable: bool) -> Option<Plain> {
        let limit = if repeatable {
            IDLE_TIME
        } else {
            UNREPEATABLE_IDLE_TIME
        };
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(&upstream.replica_id)?;
        // Those used last are at the end: when one is too old, so are all before it.
        while kept.last().is_some_and(|idle| idle.is_younger_than(limit)) {
            let idle = kept.pop()?;
            if idle.address == upstream.address && idle.stream.is_quiet() {
                return Some(idle.stream);
            }
        }
        None
    }

    /// Keeps a connection whose request is over.
    pub(crate) fn put(&self, upstream: &Upstream, stream: Plain) {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.entry(upstream.replica_id).or_default();
        if kept.len() < MAX_IDLE_PER_REPLICA {
            stream.rest();
            kept.push(Idle {
                stream,
                address: upstream.address,
                since: coarse_now(),
            });
        }
    }

    /// Closes connections that were idle for too long, closed by the replica, or lead to none of `upstreams`.
    pub(crate) fn sweep(&self, upstreams: &[Upstream]) {
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            return;
        }
        idle.retain(|replica, kept| {
            kept.retain(|idle| idle.is_younger_than(IDLE_TIME) && idle.stream.is_quiet());
            !kept.is_empty()
                && upstreams
                    .iter()
                    .any(|upstream| upstream.replica_id == *replica)
        });
    }
}

impl Idle {
    fn is_younger_than(&self, limit: Duration) -> bool {
        let age = coarse_now().saturating_sub(self.since);
        Duration::from_micros(age) < limit
    }
}

/// Opens a connection to a replica.
pub(crate) async fn connect(address: SocketAddr, limit: Duration) -> io::Result<Plain> {
    Plain::from_tokio(connect_on_tokio(address, limit).await?)
}

/// The same for those who need tokio's own.
pub(crate) async fn connect_on_tokio(
    address: SocketAddr,
    limit: Duration,
) -> io::Result<TcpStream> {
    let stream = timeout(limit, TcpStream::connect(address))
        .await
        .map_err(|_| {
            let message = format!("no answer within {} s", limit.as_secs_f64());
            io::Error::new(io::ErrorKind::TimedOut, message)
        })??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Numbers of replicas are given out one by one: they need no mixing against an attacker.
#[derive(Default)]
pub(crate) struct ReplicaHasher(u64);

impl Hasher for ReplicaHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        // The table looks at the highest bits and at the lowest: the product of an odd constant has both.
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }
}
