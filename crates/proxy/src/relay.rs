//! Requests that come to a worker that has left are brought to the one that serves now.
//!
//! # Problem
//!
//! A worker that has left must not give a request to a replica: its tables are outdated, and limits are counted by its
//! successor. But requests still come to it, on connections that cannot be handed over (of TLS, of HTTP/2), behind an
//! answer that is not over yet, and out of the line of those that waited for a replica.
//!
//! # Rules
//!
//! - To a worker that has left, its successor is a replica, the only one in its last table ([`table`]). So all that is
//!   true of requests to replicas (retries, timeouts, upgrades, both protocols) is true of these, and whoever waits in
//!   line is woken by that table as by any other.
//! - The way is a socket in the home directory that the holder holds, so it leads to whoever serves, through every crash
//!   and upgrade. A connection begins with the name of the service and is good once one byte has come back: until then
//!   nothing was sent, and another may be tried.
//! - The successor takes what comes as the client's own request: it chooses the replica, counts, limits and logs. It adds
//!   nothing to `X-Forwarded-For` and asks for no key, since both have been seen to.
//!
//! # Recovery
//!
//! While nobody serves, connections wait in the queue of the socket. One that was taken by a worker which leaves at that
//! moment is tried again, for as long as connecting may take.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream as StdTcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use plan::routing::{ReplicaId, RoutingTable, Upstream};
use spec::LoadBalancingPolicy;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

/// Stands for the successor where a replica is named. No replica has this number: they are counted from 1.
pub(crate) const SUCCESSOR: ReplicaId = ReplicaId::MAX;
/// What comes back once a connection is served.
pub(crate) const TAKEN: u8 = b'!';
/// How long it may take until that comes, in seconds, where replicas have less: the successor may have to be replaced first.
const CONNECT_SECONDS: f64 = 10.0;

/// Pause before a connection is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// Where requests are brought. A process leaves once, so this is set once.
static WAY: OnceLock<Way> = OnceLock::new();

#[derive(Debug)]
struct Way {
    socket: PathBuf,
    /// By the numbers in their addresses.
    services: Vec<String>,
}

/// From now on the tables of [`table`] lead to `socket`, with `services` by their place in the list.
pub(crate) fn open(socket: PathBuf, services: Vec<String>) {
    let _ = WAY.set(Way { socket, services });
}

/// The last table of a service, the one of this number in the list: like `before`, but the only replica is the successor.
pub(crate) fn table(before: RoutingTable, number: u32) -> RoutingTable {
    let mut table = before;
    let address = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, number);
    table.upstreams = vec![Upstream {
        replica_id: SUCCESSOR,
        version: 0,
        address: address.into(),
        weight: 1.0,
        ready_since: None,
    }];
    // What these are for is done there.
    table.policy = LoadBalancingPolicy::LeastLoad;
    table.split = None;
    let settings = &mut table.load_balancer;
    settings.max_requests_per_replica = None;
    settings.connect_timeout_seconds = settings.connect_timeout_seconds.max(CONNECT_SECONDS);
    // There it may wait in line and then for the replica.
    settings.stream_timeout_seconds += settings.queue.timeout_seconds + CONNECT_SECONDS;
    table
}

/// The service to whose successor an address leads, if it does.
pub(crate) fn service_at(address: SocketAddr) -> Option<u32> {
    match address {
        SocketAddr::V6(address) if address.port() == 0 && address.ip().is_unspecified() => {
            Some(address.scope_id())
        }
        _ => None,
    }
}

/// A connection to the worker that serves now.
//
// It is of another family in truth; to the runtime any stream of bytes is the same.
pub(crate) async fn connect(service: u32, limit: Duration) -> io::Result<TcpStream> {
    let way = WAY.get().ok_or(io::ErrorKind::NotConnected)?;
    let service = usize::try_from(service).map_err(io::Error::other)?;
    let name = way.services.get(service).ok_or(io::ErrorKind::NotFound)?;
    let taken = async {
        loop {
            // Who had taken it may have left at that moment: nothing was sent, so the next one is as good.
            match bring(&way.socket, name).await {
                Ok(stream) => return stream,
                Err(_) => sleep(PAUSE).await,
            }
        }
    };
    let stream = timeout(limit, taken)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    let socket = OwnedFd::from(stream.into_std()?);
    TcpStream::from_std(StdTcpStream::from(socket))
}

async fn bring(socket: &Path, service: &str) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(&preamble(service)).await?;
    match stream.read_u8().await? {
        TAKEN => Ok(stream),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// What a connection begins with: the length of the name in one byte, and the name.
fn preamble(name: &str) -> Vec<u8> {
    // Names are file names, of 200 bytes at most.
    let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    let mut preamble = vec![length];
    preamble.extend_from_slice(name.as_bytes());
    preamble
}

/// Reads the name of the service that a connection is for, and nothing behind it.
pub(crate) async fn read_preamble(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let length = stream.read_u8().await?;
    let mut name = vec![0; usize::from(length)];
    stream.read_exact(&mut name).await?;
    String::from_utf8(name).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_successors_are_taken_for_one() {
        let before = RoutingTable {
            service: "a".to_owned(),
            generation: 7,
            listen: "127.0.0.1:30001".parse().unwrap(),
            policy: LoadBalancingPolicy::RoundRobin,
            load_balancer: spec::LoadBalancer::default(),
            tls: None,
            api_keys: None,
            split: None,
            upstreams: Vec::new(),
        };
        let last = table(before, 3);
        assert_eq!(last.generation, 7);
        assert_eq!(service_at(last.upstreams[0].address), Some(3));
        for other in ["127.0.0.1:0", "[::]:80", "[::1]:0", "0.0.0.0:0"] {
            assert_eq!(service_at(other.parse().unwrap()), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_preamble_is_read_to_its_end_and_no_further() {
        let mut bytes = preamble("chat");
        bytes.extend_from_slice(b"GET /");
        let mut rest = bytes.as_slice();
        assert_eq!(read_preamble(&mut rest).await.unwrap(), "chat");
        assert_eq!(rest, b"GET /");
    }
}
