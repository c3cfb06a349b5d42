//! Many event streams at once: how soon the first event comes, how long each takes on its way, and whether events
//! come one by one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::statistics::percentile;
use crate::{event, interrupt};

/// What a stream gets beyond the time that it should take.
const MARGIN: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) streams: usize,
    /// Events of each stream.
    pub(crate) events: u32,
    pub(crate) pause: Duration,
}

/// What came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) events: u64,
    /// Reads that brought events. As many as events where none was held back.
    pub(crate) reads: u64,
    /// Streams that did not come whole.
    pub(crate) errors: u64,
    pub(crate) elapsed: Duration,
    /// From connecting to the first event.
    pub(crate) first_p50_ns: Option<u64>,
    pub(crate) first_p99_ns: Option<u64>,
    /// From the time in an event to its arrival.
    pub(crate) p50_ns: Option<u64>,
    pub(crate) p99_ns: Option<u64>,
}

/// Opens all streams at once and reads them to their ends.
///
/// # Errors
///
/// When the run is interrupted. Streams that fail are counted.
pub(crate) fn run(address: SocketAddr, plan: Plan) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(all(address, plan))
}

async fn all(address: SocketAddr, plan: Plan) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let limit = plan.pause * plan.events + MARGIN;
    let mut streams = JoinSet::new();
    for _ in 0..plan.streams {
        streams.spawn(timeout(limit, one(address, plan)));
    }
    let (mut outcome, mut latencies, mut firsts) = (Outcome::default(), Vec::new(), Vec::new());
    loop {
        match timeout(LOOK_INTERVAL, streams.join_next()).await {
            Err(_) => interrupt::check()?,
            Ok(None) => break,
            Ok(Some(Ok(Ok(Ok(stream))))) => {
                outcome.reads += stream.reads;
                firsts.push(stream.first_ns);
                latencies.extend(stream.latencies_ns);
            }
            Ok(Some(_)) => outcome.errors += 1,
        }
    }
    latencies.sort_unstable();
    firsts.sort_unstable();
    outcome.events = latencies.len() as u64;
    outcome.elapsed = started.elapsed();
    outcome.first_p50_ns = percentile(&firsts, 50.0);
    outcome.first_p99_ns = percentile(&firsts, 99.0);
    outcome.p50_ns = percentile(&latencies, 50.0);
    outcome.p99_ns = percentile(&latencies, 99.0);
    Ok(outcome)
}

#[derive(Default)]
struct Stream {
    reads: u64,
    first_ns: u64,
    latencies_ns: Vec<u64>,
}

async fn one(address: SocketAddr, plan: Plan) -> anyhow::Result<Stream> {
    let started = Instant::now();
    let mut connection = TcpStream::connect(address).await?;
    connection.set_nodelay(true)?;
    let interval_ms = plan.pause.as_millis();
    let path = format!("/sse?chunks={}&interval_ms={interval_ms}", plan.events);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut stream = Stream::default();
    let (mut received, mut end) = (Vec::new(), Vec::new());
    let mut buffer = [0; 8 * 1024];
    loop {
        let count = connection.read(&mut buffer).await?;
        let arrived_ns = event::now_ns();
        received.extend_from_slice(&buffer[..count]);
        let before = stream.latencies_ns.len();
        event::take_times(&mut received, |written_ns| {
            let latency = arrived_ns.saturating_sub(written_ns);
            stream.latencies_ns.push(latency);
        });
        if stream.latencies_ns.len() > before {
            stream.reads += 1;
            if before == 0 {
                stream.first_ns = u64::try_from(started.elapsed().as_nanos())?;
            }
        }
        end.extend_from_slice(&buffer[..count]);
        end.drain(..end.len().saturating_sub(LAST_CHUNK.len()));
        if end == LAST_CHUNK || count == 0 {
            break;
        }
    }
    if stream.latencies_ns.len() != plan.events as usize || end != LAST_CHUNK {
        bail!("the stream came incomplete");
    }
    Ok(stream)
}

/// Opens `count` connections one after the other, sends a GET of `path` on each, waits for the first bytes of its
/// answer and gives the connections back, open.
///
/// # Errors
///
/// When they cannot all be had within `patience`, and when the run is interrupted.
pub(crate) fn open(
    address: SocketAddr,
    path: &str,
    count: usize,
    patience: Duration,
) -> anyhow::Result<Vec<StdTcpStream>> {
    let deadline = Instant::now() + patience;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut connections = Vec::with_capacity(count);
    for number in 1..=count {
        interrupt::check()?;
        let left = deadline.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_millis(1));
        let mut connection = StdTcpStream::connect_timeout(&address, left)?;
        connection.set_read_timeout(Some(left))?;
        connection.write_all(request.as_bytes())?;
        let mut buffer = [0; 4096];
        let read = connection.read(&mut buffer);
        let read = read.with_context(|| format!("answer {number} of {count}"))?;
        if !buffer[..read].starts_with(b"HTTP/1.1 200") {
            bail!("answer {number} of {count} is not 200");
        }
        connections.push(connection);
    }
    Ok(connections)
}
