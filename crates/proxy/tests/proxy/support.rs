//! What the tests stand on: a proxy of two processes, a controller, replicas and clients over plain
//! sockets.

pub(crate) mod black_hole;
pub(crate) mod client;
pub(crate) mod controller;
pub(crate) mod grpc;
pub(crate) mod http2;
pub(crate) mod message;
pub(crate) mod process;
pub(crate) mod recorder;
pub(crate) mod replica;
pub(crate) mod settings;
pub(crate) mod tls;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use plan::routing::{Generation, RoutingTable, Upstream};
use spec::{LoadBalancer, LoadBalancingPolicy, Queue, ReplicaProtocol};

/// Nothing that is waited for takes this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An address of this machine on which nobody listens. Below the range from which the system takes
/// the ports of outgoing connections, so that none of the tests' many clients takes it meanwhile.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 12_000 + u16::try_from(std::process::id() % 64).unwrap() * 256;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::SeqCst);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

/// Waits for something that cannot be waited for otherwise.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A table of service `svc` with replicas numbered from 1 at `addresses`.
pub(crate) fn table(
    listen: SocketAddr,
    generation: Generation,
    addresses: impl IntoIterator<Item = SocketAddr>,
) -> RoutingTable {
    numbered_table(listen, generation, (1..).zip(addresses))
}

/// A table of service `svc` with these replicas.
pub(crate) fn numbered_table(
    listen: SocketAddr,
    generation: Generation,
    replicas: impl IntoIterator<Item = (u32, SocketAddr)>,
) -> RoutingTable {
    let upstreams = replicas.into_iter().map(|(replica_id, address)| Upstream {
        replica_id,
        version: 1,
        address,
        weight: 1.0,
        ready_since: None,
    });
    RoutingTable {
        service: "svc".to_owned(),
        generation,
        listen,
        policy: LoadBalancingPolicy::RoundRobin,
        load_balancer: LoadBalancer {
            stream_timeout_seconds: 60.0,
            queue: Queue {
                max_requests: 0,
                ..Queue::default()
            },
            ..LoadBalancer::default()
        },
        tls: None,
        api_keys: None,
        split: None,
        upstreams: upstreams.collect(),
    }
}

/// A table whose replicas speak HTTP/2.
pub(crate) fn h2c_table(addresses: &[SocketAddr]) -> RoutingTable {
    let mut table = table(free_address(), 1, addresses.iter().copied());
    table.load_balancer.replica_protocol = ReplicaProtocol::H2c;
    table
}
