//! The peers: our proxy, nginx and HAProxy, each set up as well as we know how, for the same two backends.
//!
//! # What is equal
//!
//! One worker per processor, a listener of its own for each worker (`SO_REUSEPORT`), connections to the backends kept
//! open, the backend with the fewest requests in flight, no access log, events passed on at once.

mod haproxy;
mod nginx;
mod sky;

pub(crate) use self::sky::role_command;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::interrupt;
use crate::process::Process;
use crate::wrk::version;

const START_PATIENCE: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Below the range from which the system takes the ports of outgoing connections.
const FIRST_PORT: u16 = 12_000;
const PORTS: u16 = 18_000;

/// A program that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum PeerKind {
    /// Our proxy.
    Sky,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
}

impl PeerKind {
    /// All, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Sky, Self::Nginx, Self::Haproxy];

    /// Name and version, or `None` where it is not installed.
    pub(crate) fn version(self) -> Option<String> {
        match self {
            Self::Sky => Some(format!("sky {}", env!("CARGO_PKG_VERSION"))),
            Self::Nginx => version("nginx", "-v").map(|line| line.replace("nginx version: ", "")),
            Self::Haproxy => version("haproxy", "-v").map(|line| before(&line, " - ")),
        }
    }
}

/// What stands before `end`; all where that is nowhere.
pub(crate) fn before(text: &str, end: &str) -> String {
    text.split(end).next().unwrap_or_default().to_owned()
}

impl fmt::Display for PeerKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Sky => "sky",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        })
    }
}

/// What a peer is to do.
#[derive(Clone, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) backends: &'a [SocketAddr],
    pub(crate) certificate: Option<&'a Certificate>,
    /// Services of our proxy; only the first is given load.
    pub(crate) services: usize,
    /// Bytes of HAProxy's buffers. Its default, 16,384, cannot hold the large POST with its head, which would slow it
    /// down; where memory is measured, more than the default would be held against it.
    pub(crate) haproxy_buffer_bytes: u32,
}

impl<'a> Setup<'a> {
    pub(crate) fn new(backends: &'a [SocketAddr]) -> Self {
        Self {
            backends,
            certificate: None,
            services: 1,
            haproxy_buffer_bytes: 32_768,
        }
    }
}

/// A running peer; ended when dropped.
pub(crate) struct Peer {
    pub(crate) kind: PeerKind,
    pub(crate) addresses: Addresses,
    process: Process,
    /// The connection of a controller, which a real proxy has too.
    _control: Option<sky::Control>,
    _directory: TempDir,
}

/// Where a peer answers.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) plain: SocketAddr,
    /// For event streams.
    pub(crate) streams: SocketAddr,
    /// With TLS, or why not.
    pub(crate) tls: Result<SocketAddr, String>,
}

impl Peer {
    /// Starts it and waits until it answers.
    pub(crate) fn start(kind: PeerKind, setup: &Setup<'_>) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("bench-proxy-")?;
        let path = directory.path();
        let started = match kind {
            PeerKind::Sky => sky::start(path, setup),
            PeerKind::Nginx => nginx::start(path, setup),
            PeerKind::Haproxy => haproxy::start(path, setup),
        };
        let Started {
            mut process,
            addresses,
            control,
        } = started.with_context(|| kind.to_string())?;
        await_answer(&mut process, addresses.plain)
            .with_context(|| format!("{kind}: {}", output(path)))?;
        Ok(Self {
            kind,
            addresses,
            process,
            _control: control,
            _directory: directory,
        })
    }

    /// All its processes.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.process.tree()
    }

    /// Fails when it has ended by itself.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        let kind = self.kind;
        self.process.check_alive().with_context(|| kind.to_string())
    }
}

struct Started {
    process: Process,
    addresses: Addresses,
    control: Option<sky::Control>,
}

/// Name of the file in a peer's directory that has its output.
const OUTPUT: &str = "output.log";

fn output(directory: &Path) -> String {
    let text = std::fs::read_to_string(directory.join(OUTPUT)).unwrap_or_default();
    text.lines().take(5).collect::<Vec<_>>().join("; ")
}

/// Workers of each peer: as many as our proxy has.
fn workers() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn await_answer(process: &mut Process, address: SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    while TcpStream::connect_timeout(&address, START_PATIENCE).is_err() {
        interrupt::check()?;
        process.check_alive()?;
        if Instant::now() > deadline {
            bail!("does not listen at {address}");
        }
        thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

/// An address of this machine on which nobody listens; never the same one twice.
fn free_address() -> anyhow::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() % 100)? * 180;
    for _ in 0..PORTS {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST_PORT + offset.wrapping_add(number) % PORTS;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port is free")
}
