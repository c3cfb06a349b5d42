//! Brings a running proxy to another program, from outside: what `sky api restart` does.
//!
//! It speaks to the proxy as a controller does, so it is to be used while no controller is connected: the newest connection
//! counts, and either would cut the other off.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use plan::routing::{ProxyCommand, ProxyReport};
use serde_json::Value;

use crate::paths::ProxyPaths;

/// How long a worker may take to be replaced: its successor gets 30 s until it must be prepared.
const REPLACE_LIMIT: Duration = Duration::from_secs(45);
/// How long a holder may take to go on as another program.
const RENEW_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// A proxy that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningProxy {
    /// Process id of the holder.
    pub holder: u32,
    /// Process id of the worker that serves.
    pub worker: u32,
}

/// Why a proxy is not brought to another program. What ran goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The new worker could not take over.
    #[error("the new worker could not take over, the one before goes on: {0}")]
    Stays(String),
    /// The holder did not become the new program in time.
    #[error(
        "the process that holds the sockets goes on as the program that it was; the events in {0} say why"
    )]
    NotRenewed(String),
    /// The proxy could not be spoken to.
    #[error("cannot speak to the proxy")]
    Socket(#[from] io::Error),
}

impl RunningProxy {
    /// The proxy of `paths`, if one runs.
    #[must_use]
    pub fn find(paths: &ProxyPaths) -> Option<Self> {
        let text = fs::read(paths.pid_file()).ok()?;
        let pids: Value = serde_json::from_slice(&text).ok()?;
        let pid = |role: &str| pids.get(role)?.as_u64()?.try_into().ok();
        let (holder, worker) = (pid("holder")?, pid("worker")?);
        // A number may have been given to somebody else since it was written down.
        is_holder(holder).then_some(Self { holder, worker })
    }

    /// Lets a worker that `command` starts take over; answers when it serves. Blocks.
    ///
    /// # Errors
    ///
    /// [`UpgradeError`]: the worker that was there serves on.
    pub fn replace_worker(
        self,
        paths: &ProxyPaths,
        command: Vec<String>,
    ) -> Result<Self, UpgradeError> {
        let deadline = Instant::now() + REPLACE_LIMIT;
        let events = length(&paths.event_log());
        let mut link = Link::open(paths, deadline)?;
        let before = link.worker;
        link.send(&ProxyCommand::ReplaceWorker { words: command })?;
        link.until_closed(deadline)?;
        // The socket is the holder's: whoever serves then accepts.
        let worker = Link::open(paths, deadline)?.worker;
        if worker == before {
            let reason = last_event(&paths.event_log(), events, "successor_failed");
            let reason = reason.unwrap_or_else(|| "another controller came in between".to_owned());
            return Err(UpgradeError::Stays(reason));
        }
        Ok(Self { worker, ..self })
    }

    /// Lets the holder go on as the program that `command` starts; it stays the same process. Blocks.
    ///
    /// # Errors
    ///
    /// [`UpgradeError`]: it goes on as the program that it was.
    pub fn renew_holder(
        self,
        paths: &ProxyPaths,
        command: Vec<String>,
    ) -> Result<(), UpgradeError> {
        let log = paths.event_log();
        let events = length(&log);
        let deadline = Instant::now() + RENEW_LIMIT;
        let mut link = Link::open(paths, deadline)?;
        link.send(&ProxyCommand::RenewHolder { words: command })?;
        while last_event(&log, events, "holder_renewed").is_none() {
            let failure = last_event(&log, events, "holder_not_renewed");
            if failure.is_some() || Instant::now() > deadline {
                return Err(UpgradeError::NotRenewed(log.display().to_string()));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

fn is_holder(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    words
        .windows(2)
        .any(|pair| matches!(pair, [b"proxy", b"hold"]))
}

/// A connection to whichever worker serves.
struct Link {
    reader: BufReader<UnixStream>,
    worker: u32,
}

impl Link {
    /// Connects and reads the first report.
    fn open(paths: &ProxyPaths, deadline: Instant) -> io::Result<Self> {
        let stream = UnixStream::connect(paths.socket())?;
        stream.set_read_timeout(Some(left(deadline)))?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match serde_json::from_str(&line)? {
            ProxyReport::Hello { pid, .. } => Ok(Self {
                reader,
                worker: pid,
            }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn send(&mut self, command: &ProxyCommand) -> io::Result<()> {
        let line = format!("{}\n", serde_json::to_string(command)?);
        self.reader.get_mut().write_all(line.as_bytes())
    }

    /// Reads until the worker lets go of its controller.
    fn until_closed(&mut self, deadline: Instant) -> io::Result<()> {
        self.reader
            .get_ref()
            .set_read_timeout(Some(left(deadline)))?;
        let mut line = String::new();
        while self.reader.read_line(&mut line)? > 0 {
            line.clear();
        }
        Ok(())
    }
}

/// Never nothing, which would mean for ever.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(POLL)
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// The detail of the last event of this name behind the first `from` bytes; of all, where the log is shorter than it was.
fn last_event(log: &Path, from: u64, name: &str) -> Option<String> {
    let text = fs::read(log).ok()?;
    let from = usize::try_from(from)
        .ok()
        .filter(|from| *from <= text.len());
    let text = String::from_utf8_lossy(text.get(from.unwrap_or(0)..)?).into_owned();
    let events = text
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut named = events.filter(|event| event["event"] == name);
    let detail = named.next()?["detail"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    Some(detail)
}
