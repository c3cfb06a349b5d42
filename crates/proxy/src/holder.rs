//! The holder: the process that keeps every listening socket and does nothing else.
//!
//! # Problem
//!
//! The process that serves requests is large and will one day crash or be upgraded. When it is
//! gone, connections must wait instead of being refused, and requests must be served again at once.
//!
//! # Rules
//!
//! - One holder per home directory, by a lock that lasts exactly as long as the process.
//! - The holder binds and keeps sockets, starts a worker and gives it copies. It reads no request
//!   and no table.
//! - A worker that ends is replaced at once; one that keeps ending at once is replaced after growing, capped delays.
//! - A worker that wants a successor serves until that one is prepared, and serves on if it never is (`succession`).
//! - SIGTERM or SIGINT is the orderly end of both: listeners are closed, requests in flight may
//!   finish.
//!
//! # Cold start
//!
//! Lock, control socket, worker. The worker loads its saved tables, is told to serve, asks for what they need and says
//! when that is all.
//!
//! # Recovery
//!
//! A holder that was killed is started again by the worker, which sends it the sockets before
//! anything else. A holder goes on as another program (`renewal`) when a worker wants that. A holder that was adopted in this way and loses its worker goes on as if it had
//! started it.

mod leaving;
mod listeners;
mod renewal;
mod succession;
mod worker_process;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use tokio::signal::unix::{self, SignalKind};
use tokio::time::sleep;

use self::leaving::LeavingWorkers;
use self::listeners::Listeners;
use self::renewal::Inheritance;
use self::worker_process::WorkerProcess;
use crate::error::ProxyError;
use crate::handover::{
    self, ADOPT_HOLDER, ADOPT_VARIABLE, Carried, Channel, HolderMessage, ListenerName, ServiceLoad,
    WorkerMessage,
};
use crate::log::{Event, append_event};
use crate::paths::ProxyPaths;

/// A worker that lived this long is not one that keeps dying.
const STEADY_TIME: Duration = Duration::from_secs(10);
/// Delay before the second quick restart; doubles from there.
const FIRST_RESTART_DELAY: Duration = Duration::from_millis(100);
/// Longest delay before a restart.
const MAX_RESTART_DELAY: Duration = Duration::from_secs(5);
/// How long an adopted holder waits for the lock of the one that died.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Runs the holder of `paths.home` until it is told to end (SIGTERM, SIGINT). `worker_command`
/// starts a process that calls [`run_worker`](crate::run_worker); it must leave standard input
/// alone before that.
///
/// # Errors
///
/// [`ProxyError::AlreadyRunning`] when another holder has the home directory: the caller should say
/// so and end cleanly. Others when the home directory, the control socket or the command cannot be
/// used.
pub fn run_holder(paths: &ProxyPaths, worker_command: Vec<OsString>) -> Result<(), ProxyError> {
    paths.prepare()?;
    // A session of its own, so that no terminal's hang-up or Ctrl-C reaches it. Fails harmlessly
    // for a process that leads a group already.
    let _ = rustix::process::setsid();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ProxyError::Runtime)?;
    runtime.block_on(async {
        let (mut holder, worker) = Holder::start(paths.clone(), worker_command).await?;
        holder.run(worker).await
    })
}

/// The lock of the home directory; held until dropped or the process ends, however that comes
/// about.
fn take_lock(paths: &ProxyPaths, patience: Duration) -> Result<File, ProxyError> {
    let path = paths.lock_file();
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(ProxyError::file("open", &path))?;
    let deadline = std::time::Instant::now() + patience;
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(ProxyError::file("lock", &path)(error.into()));
        }
        if std::time::Instant::now() >= deadline {
            let mut process = String::new();
            let _ = file.read_to_string(&mut process);
            let holder = format!("process {}", process.trim());
            return Err(ProxyError::AlreadyRunning {
                home: paths.home.clone(),
                holder,
            });
        }
        std::thread::sleep(LOCK_RETRY_INTERVAL);
    }
    file.set_len(0)
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()))
        .map_err(ProxyError::file("write", &path))?;
    Ok(file)
}

/// What comes next, as the holder sees it.
enum Next {
    Message(WorkerMessage, Vec<OwnedFd>),
    WorkerGone,
    Carried(Carried),
    Stop,
}

struct Holder {
    /// Held as long as the process lives.
    lock: File,
    paths: ProxyPaths,
    worker_command: Vec<OsString>,
    listeners: Listeners,
    leaving: LeavingWorkers,
    terminate: unix::Signal,
    interrupt: unix::Signal,
    /// Only so that a hang-up does not end the process.
    _hang_up: unix::Signal,
    quick_deaths: u32,
}

impl Holder {
    /// A holder, and the worker that it has or has started.
    async fn start(
        paths: ProxyPaths,
        worker_command: Vec<OsString>,
    ) -> Result<(Self, WorkerProcess), ProxyError> {
        let adopted = match std::env::var_os(ADOPT_VARIABLE) {
            Some(from) if from == ADOPT_HOLDER => {
                let inheritance = Inheritance::receive(handover::take_from_stdin()?).await?;
                return inheritance.into_holder(paths, worker_command);
            }
            Some(_) => Some(handover::take_from_stdin()?),
            None => None,
        };
        let patience = if adopted.is_some() {
            LOCK_PATIENCE
        } else {
            Duration::ZERO
        };
        let lock = take_lock(&paths, patience)?;
        let mut holder = Self::new(lock, paths, worker_command)?;
        let worker = match adopted {
            Some(channel) => {
                holder.event("holder_adopted", "took over the sockets of a worker");
                WorkerProcess::new(channel, None)?
            }
            None => {
                let bound = holder.listeners.bind(ListenerName::Control, 1);
                bound.map_err(|refusal| refusal.into_error(&holder.paths))?;
                let detail = format!("home {}", holder.paths.home.display());
                holder.event("holder_started", detail);
                holder.start_worker(&holder.worker_command).await?
            }
        };
        Ok((holder, worker))
    }

    fn new(
        lock: File,
        paths: ProxyPaths,
        worker_command: Vec<OsString>,
    ) -> Result<Self, ProxyError> {
        let signal = |kind| unix::signal(kind).map_err(ProxyError::Runtime);
        Ok(Self {
            lock,
            listeners: Listeners::new(paths.socket(), paths.relay_socket()),
            leaving: LeavingWorkers::new(),
            paths,
            worker_command,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _hang_up: signal(SignalKind::hangup())?,
            quick_deaths: 0,
        })
    }

    async fn run(&mut self, mut worker: WorkerProcess) -> Result<(), ProxyError> {
        loop {
            match self.next(&worker).await {
                Next::Message(WorkerMessage::WantsSuccessor { command }, _) => {
                    match self.hand_over(worker, command).await? {
                        Some(next) => worker = next,
                        None => break,
                    }
                }
                Next::Message(WorkerMessage::Leaving { in_flight }, _) => {
                    self.event("worker_leaving", worker.describe());
                    match self.succeed(worker, in_flight).await? {
                        Some(next) => worker = next,
                        None => break,
                    }
                }
                Next::Message(WorkerMessage::RenewHolder { command }, _) => {
                    let error = self.renew(&worker, &command).await;
                    self.event("holder_not_renewed", error.to_string());
                }
                Next::Carried(carried) => worker.tell(&HolderMessage::Carried(carried)).await,
                Next::Message(message, sockets) => {
                    // A worker that cannot be answered is about to be noticed as gone.
                    let _ = self.handle(&mut worker, message, sockets).await;
                }
                Next::WorkerGone => {
                    self.event("worker_died", worker.describe());
                    match self.replace(&worker).await? {
                        Some(next) => worker = next,
                        None => break,
                    }
                }
                Next::Stop => {
                    self.stop(worker).await;
                    break;
                }
            }
        }
        self.clean_up();
        Ok(())
    }

    async fn stop(&mut self, worker: WorkerProcess) {
        self.event("holder_stopping", worker.describe());
        self.listeners.close_all();
        worker.stop().await;
    }

    async fn next(&mut self, worker: &WorkerProcess) -> Next {
        tokio::select! {
            _ = self.terminate.recv() => Next::Stop,
            _ = self.interrupt.recv() => Next::Stop,
            carried = self.leaving.next() => Next::Carried(carried),
            received = worker.channel.receive() => match received {
                Ok(Some((message, sockets))) => Next::Message(message, sockets),
                Ok(None) | Err(_) => Next::WorkerGone,
            },
        }
    }

    async fn handle(
        &mut self,
        worker: &mut WorkerProcess,
        message: WorkerMessage,
        sockets: Vec<OwnedFd>,
    ) -> io::Result<()> {
        match message {
            WorkerMessage::Prepared { process } => {
                worker.process = Some(process);
                self.let_serve(worker).await;
            }
            WorkerMessage::Bind { name, count } => match self.listeners.bind(name, count) {
                Ok(listeners) => send_listeners(&worker.channel, listeners).await?,
                Err(refusal) => {
                    let refused = HolderMessage::Refused {
                        reason: refusal.to_string(),
                    };
                    worker.channel.send(&refused, &[]).await?;
                }
            },
            WorkerMessage::Release { address } => {
                self.listeners.release(address);
                worker.channel.send(&HolderMessage::Released, &[]).await?;
            }
            WorkerMessage::Adopt { name } => self.listeners.adopt(name, sockets),
            WorkerMessage::Ready { process } => {
                worker.process = Some(process);
                self.listeners.close_unasked();
                let text = json!({ "holder": std::process::id(), "worker": process }).to_string();
                let _ = fs::write(self.paths.pid_file(), format!("{text}\n"));
            }
            // These are met where they mean something.
            WorkerMessage::WantsSuccessor { .. }
            | WorkerMessage::Leaving { .. }
            | WorkerMessage::RenewHolder { .. }
            | WorkerMessage::Unknown => {}
        }
        Ok(())
    }

    /// No other worker serves, or has anything in flight that this one was not told of.
    async fn let_serve(&mut self, worker: &WorkerProcess) {
        self.listeners.forget_asked();
        worker.tell(&HolderMessage::Serve).await;
    }

    async fn start_worker(&self, command: &[OsString]) -> Result<WorkerProcess, ProxyError> {
        let (ours, theirs) = Channel::pair().map_err(ProxyError::Handover)?;
        let child = handover::start_process(command, "worker", theirs, false)?;
        let worker = WorkerProcess::new(ours, Some(child))?;
        // It reads this before it is told to serve, so it knows before it speaks to a controller.
        for carried in self.leaving.carried() {
            worker.tell(&HolderMessage::Carried(carried)).await;
        }
        Ok(worker)
    }

    /// A worker in place of one that has left already; `None` when told to end while waiting.
    async fn succeed(
        &mut self,
        old: WorkerProcess,
        in_flight: Vec<ServiceLoad>,
    ) -> Result<Option<WorkerProcess>, ProxyError> {
        self.leaving.add(old, in_flight);
        self.quick_deaths = 0;
        self.keep_starting().await
    }

    /// A worker in place of one that died; `None` when told to end while waiting.
    async fn replace(&mut self, dead: &WorkerProcess) -> Result<Option<WorkerProcess>, ProxyError> {
        let steady = dead.started.elapsed() >= STEADY_TIME;
        self.quick_deaths = if steady {
            0
        } else {
            self.quick_deaths.saturating_add(1)
        };
        self.keep_starting().await
    }

    async fn keep_starting(&mut self) -> Result<Option<WorkerProcess>, ProxyError> {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Ok(None),
                _ = self.interrupt.recv() => return Ok(None),
                () = sleep(restart_delay(self.quick_deaths)) => {}
            }
            match self.start_worker(&self.worker_command).await {
                Ok(worker) => return Ok(Some(worker)),
                Err(error @ ProxyError::NoCommand(_)) => return Err(error),
                // Out of memory or processes: that may pass, and the sockets must be held
                // meanwhile.
                Err(error) => {
                    self.event("worker_not_started", format!("{error:?}"));
                    self.quick_deaths = self.quick_deaths.saturating_add(1);
                }
            }
        }
    }

    fn clean_up(&self) {
        let paths = &self.paths;
        for path in [paths.socket(), paths.relay_socket(), paths.pid_file()] {
            let _ = fs::remove_file(path);
        }
        self.event("holder_stopped", "");
    }

    fn event(&self, name: &'static str, detail: impl Into<String>) {
        append_event(&self.paths.event_log(), &Event::new(name, detail));
    }
}

/// Nothing for the first death, then doubling.
fn restart_delay(quick_deaths: u32) -> Duration {
    match quick_deaths.checked_sub(2) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_RESTART_DELAY
            .saturating_mul(1 << doublings.min(16))
            .min(MAX_RESTART_DELAY),
    }
}

async fn send_listeners(channel: &Channel, listeners: &[OwnedFd]) -> io::Result<()> {
    let mut chunks = listeners
        .chunks(handover::MAX_SOCKETS_PER_MESSAGE)
        .peekable();
    while let Some(chunk) = chunks.next() {
        let more = chunks.peek().is_some();
        let message = HolderMessage::Listeners {
            count: chunk.len(),
            more,
        };
        channel.send(&message, chunk).await?;
    }
    Ok(())
}

impl listeners::Refusal {
    fn into_error(self, paths: &ProxyPaths) -> ProxyError {
        match self {
            Self::SocketPath { length, limit } => ProxyError::SocketPathTooLong {
                path: paths.socket(),
                length,
                limit,
            },
            other => {
                let source = io::Error::new(ErrorKind::AddrNotAvailable, other.to_string());
                ProxyError::File {
                    action: "bind",
                    path: paths.socket(),
                    source,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_are_immediate_first_and_capped_later() {
        let delays: Vec<u128> = [0, 1, 2, 3, 4, 60, u32::MAX]
            .map(|n| restart_delay(n).as_millis())
            .to_vec();
        assert_eq!(delays, [0, 0, 100, 200, 400, 5000, 5000]);
    }

    #[test]
    fn the_lock_is_exclusive_and_names_its_holder() {
        let home = tempfile::tempdir().unwrap();
        let paths = ProxyPaths {
            home: home.path().to_path_buf(),
        };
        let lock = take_lock(&paths, Duration::ZERO).unwrap();
        let refused = take_lock(&paths, Duration::ZERO).unwrap_err();
        let expected = format!("process {}", std::process::id());
        assert!(refused.to_string().contains(&expected), "{refused}");
        drop(lock);
        take_lock(&paths, Duration::ZERO).unwrap();
    }
}
