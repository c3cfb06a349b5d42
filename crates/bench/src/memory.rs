//! Memory of each peer, freshly started: idle, with idle connections, with slow streams.
//!
//! Resident memory of all its processes, as the kernel counts it; the kernel's own memory for sockets is not in it.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::backends::Backends;
use crate::options::Options;
use crate::peer::{Peer, PeerKind, Setup};
use crate::run::connection_limit;
use crate::usage::memory_kib;
use crate::{interrupt, streams};

const PATIENCE: Duration = Duration::from_secs(30);
/// Between the last answer and the look at memory.
const SETTLE: Duration = Duration::from_millis(700);
/// The first answers bring code into memory and open connections to the backends.
const WARM_UP_CONNECTIONS: usize = 20;
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// HAProxy's default.
const HAPROXY_BUFFER_BYTES: u32 = 16_384;

/// The memory of one peer.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) kind: PeerKind,
    /// KiB; pages that processes share count for each.
    pub(crate) idle_kib: u64,
    /// KiB that it shares with nobody.
    pub(crate) private_kib: u64,
    /// KiB more for each idle connection, or why not.
    pub(crate) connection_kib: Result<f64, String>,
    /// KiB more for each stream, or why not.
    pub(crate) stream_kib: Result<f64, String>,
}

/// All peers, and the number of connections with which they were measured.
#[derive(Clone, Debug)]
pub(crate) struct Memories {
    pub(crate) connections: usize,
    pub(crate) peers: Vec<Memory>,
}

pub(crate) fn measure(kinds: &[PeerKind], options: &Options) -> anyhow::Result<Memories> {
    let connections = options.memory_connections().min(connection_limit());
    let backends = Backends::start()?;
    let mut setup = Setup::new(&backends.addresses);
    setup.haproxy_buffer_bytes = HAPROXY_BUFFER_BYTES;
    let mut peers = Vec::new();
    for kind in kinds {
        eprintln!("Memory: {kind}");
        peers.push(one(*kind, &setup, connections)?);
    }
    Ok(Memories { connections, peers })
}

fn one(kind: PeerKind, setup: &Setup<'_>, connections: usize) -> anyhow::Result<Memory> {
    let peer = Peer::start(kind, setup)?;
    let (idle_kib, private_kib) = settled(&peer)?;
    let connection_kib = growth(&peer, peer.addresses.plain, "/", connections);
    drop(peer);
    interrupt::check()?;
    // A new one: what the connections took may not have been given back.
    let peer = Peer::start(kind, setup)?;
    let stream_kib = growth(&peer, peer.addresses.streams, "/slow", connections);
    interrupt::check()?;
    Ok(Memory {
        kind,
        idle_kib,
        private_kib,
        connection_kib: connection_kib.map_err(|error| format!("{error:#}")),
        stream_kib: stream_kib.map_err(|error| format!("{error:#}")),
    })
}

/// KiB that each of `count` connections adds.
fn growth(peer: &Peer, address: SocketAddr, path: &str, count: usize) -> anyhow::Result<f64> {
    drop(streams::open(address, path, WARM_UP_CONNECTIONS, PATIENCE)?);
    let (before, _) = settled(peer)?;
    let open = streams::open(address, path, count, PATIENCE)?;
    let (after, _) = settled(peer)?;
    drop(open);
    Ok(after.saturating_sub(before) as f64 / count as f64)
}

fn settled(peer: &Peer) -> anyhow::Result<(u64, u64)> {
    let until = Instant::now() + SETTLE;
    while Instant::now() < until {
        interrupt::check()?;
        sleep(LOOK_INTERVAL);
    }
    let memory = peer.processes().into_iter().filter_map(memory_kib);
    memory
        .reduce(|left, right| (left.0 + right.0, left.1 + right.1))
        .context("/proc tells no memory")
}
