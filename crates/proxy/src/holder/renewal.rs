//! The holder goes on as another program, with all that it has: the other half of an upgrade.
//!
//! # Problem
//!
//! The holder must not end for it: it is what keeps the sockets, the lock, and the counts of workers that have left. But a
//! program that replaces itself (`execve`) keeps nothing that is marked to be closed then, which all its descriptors are.
//!
//! # How
//!
//! Everything is sent into a channel, descriptors attached, of which the other end becomes the standard input: what waits
//! in a channel survives. The program that comes then reads it, until its end. The process stays the same, so its children
//! stay its own and those who watch it see nothing.
//!
//! # When it fails
//!
//! If the program cannot be started, this one goes on. If it starts and does not understand what it reads, it ends, and the
//! worker starts a holder as ever.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::Holder;
use super::worker_process::WorkerProcess;
use crate::error::ProxyError;
use crate::handover::{
    ADOPT_HOLDER, ADOPT_VARIABLE, Channel, ListenerName, MAX_SOCKETS_PER_MESSAGE, ServiceLoad,
    set_stdin,
};
use crate::paths::ProxyPaths;

/// How long the channel may take what is sent into it: nobody reads yet, so it is full if that takes any time.
const SEND_LIMIT: Duration = Duration::from_secs(1);

/// What a holder leaves to the program it goes on as.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "part")]
enum Part {
    /// Attached is the lock of the home directory.
    Lock,
    /// Attached are listeners.
    Listeners { name: ListenerName },
    /// Attached is the channel to the worker.
    Worker { process: Option<u32> },
    /// Attached is the channel to a worker that has left.
    Leaving {
        number: u32,
        process: Option<u32>,
        in_flight: Vec<ServiceLoad>,
    },
    /// What a newer holder leaves that this one does not know is passed over.
    #[serde(other)]
    Unknown,
}

impl Holder {
    /// Goes on as the program of `command`. Returns only if that cannot be, and why.
    pub(super) async fn renew(&self, worker: &WorkerProcess, command: &[String]) -> io::Error {
        self.event("holder_renewing", command.join(" "));
        match self.try_renew(worker, command).await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    async fn try_renew(
        &self,
        worker: &WorkerProcess,
        command: &[String],
    ) -> io::Result<std::convert::Infallible> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| io::Error::other("the command is empty"))?;
        let (ours, theirs) = Channel::pair()?;
        let ours = Channel::new(ours)?;
        timeout(SEND_LIMIT, self.bequeath(worker, &ours))
            .await
            .map_err(|_| io::Error::other("there is too much to be handed over"))??;
        set_stdin(&theirs)?;
        let error = Command::new(program)
            .args(arguments)
            .env(ADOPT_VARIABLE, ADOPT_HOLDER)
            .exec();
        set_stdin(File::open("/dev/null")?)?;
        Err(error)
    }

    async fn bequeath(&self, worker: &WorkerProcess, to: &Channel) -> io::Result<()> {
        let lock = self.lock.as_fd().try_clone_to_owned()?;
        to.send(&Part::Lock, &[lock]).await?;
        for (name, listeners) in self.listeners.held() {
            for chunk in listeners.chunks(MAX_SOCKETS_PER_MESSAGE) {
                to.send(&Part::Listeners { name }, chunk).await?;
            }
        }
        for (number, leaving) in self.leaving.workers() {
            let part = Part::Leaving {
                number,
                process: leaving.process,
                in_flight: leaving.in_flight.clone(),
            };
            to.send(&part, &[leaving.channel.try_clone()?]).await?;
        }
        let process = worker.process;
        let channel = worker.channel.try_clone()?;
        to.send(&Part::Worker { process }, &[channel]).await
    }
}

/// All that was left by the program before.
#[derive(Debug)]
pub(super) struct Inheritance {
    parts: Vec<(Part, Vec<OwnedFd>)>,
}

impl Inheritance {
    /// Reads it to its end.
    pub(super) async fn receive(channel: OwnedFd) -> Result<Self, ProxyError> {
        let channel = Channel::new(channel).map_err(ProxyError::Handover)?;
        let mut parts = Vec::new();
        while let Some(part) = channel.receive().await.map_err(ProxyError::Handover)? {
            parts.push(part);
        }
        Ok(Self { parts })
    }

    /// The holder, and the worker that serves.
    pub(super) fn into_holder(
        self,
        paths: ProxyPaths,
        worker_command: Vec<OsString>,
    ) -> Result<(Holder, WorkerProcess), ProxyError> {
        let missing = |what: &'static str| {
            ProxyError::Handover(io::Error::other(format!("{what} is missing")))
        };
        let mut parts = self.parts.into_iter();
        let lock = match parts.next() {
            Some((Part::Lock, mut lock)) => lock.pop(),
            _ => None,
        };
        let lock = File::from(lock.ok_or_else(|| missing("the lock"))?);
        let mut holder = Holder::new(lock, paths, worker_command)?;
        let (mut worker, mut children) = (None, Vec::new());
        for (part, mut sockets) in parts {
            match part {
                Part::Listeners { name } => holder.listeners.adopt(name, sockets),
                Part::Worker { process } => {
                    let channel = sockets.pop().ok_or_else(|| missing("a channel"))?;
                    let mut known = WorkerProcess::new(channel, None)?;
                    known.process = process;
                    children.extend(process);
                    worker = Some(known);
                }
                Part::Leaving {
                    number,
                    process,
                    in_flight,
                } => {
                    let channel = sockets.pop().ok_or_else(|| missing("a channel"))?;
                    let mut known = WorkerProcess::new(channel, None)?;
                    known.process = process;
                    children.extend(process);
                    holder.leaving.add_as(number, known, in_flight);
                }
                Part::Lock | Part::Unknown => {}
            }
        }
        tokio::spawn(reap(children));
        holder.event("holder_renewed", "goes on as another program");
        Ok((holder, worker.ok_or_else(|| missing("the worker"))?))
    }
}

/// Takes note of the end of children that the program before has started, so that none is left as a zombie.
async fn reap(children: Vec<u32>) {
    let pid = |process| i32::try_from(process).ok().and_then(Pid::from_raw);
    let mut children: Vec<Pid> = children.into_iter().filter_map(pid).collect();
    let Ok(mut ended) = signal(SignalKind::child()) else {
        return;
    };
    loop {
        // One that is no child, as a worker that had started the holder, is none of ours.
        children.retain(|child| matches!(waitpid(Some(*child), WaitOptions::NOHANG), Ok(None)));
        if children.is_empty() {
            return;
        }
        ended.recv().await;
    }
}
