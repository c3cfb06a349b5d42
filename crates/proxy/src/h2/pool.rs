//! Connections to replicas, kept for the next request: one pool per thread and service.

mod heard;
pub(super) mod http1;
mod http2;
mod trailing;

use plan::routing::{ReplicaId, Upstream};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

pub(crate) use self::http1::Sender as Http1Sender;
pub(crate) use self::http2::Slot as Http2Slot;
pub(crate) use self::trailing::TrailerSlot;

type Key = (ReplicaId, SocketAddr);

/// The connections of one thread to the replicas of one service.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Of HTTP/1.1: each serves one request at a time.
    pub(super) http1: http1::Connections,
    /// Of HTTP/2: each serves many.
    pub(super) http2: http2::Connections,
}

impl Pool {
    /// Closes connections that were idle for too long, closed by the replica, or lead to none of `upstreams`.
    pub(crate) fn sweep(&self, upstreams: &[Upstream]) {
        self.http1.sweep(upstreams);
        self.http2.sweep(upstreams);
    }
}

fn key(upstream: &Upstream) -> Key {
    (upstream.replica_id, upstream.address)
}

async fn connect_tcp(address: SocketAddr, limit: Duration) -> Result<TcpStream, String> {
    crate::upstream::connect_on_tokio(address, limit)
        .await
        .map_err(|error| format!("cannot connect to {address}: {error}"))
}
