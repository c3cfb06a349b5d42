//! A worker is replaced by another while both run: an upgrade.
//!
//! # Rules
//!
//! - The old one serves until the new one has loaded everything that takes time, so that nobody waits for that.
//! - At no moment does more than one give requests to replicas: the new one is told to serve when the old one has said what
//!   it has in flight. Connections that come in between wait in the queue of the listening sockets, which is a matter of a
//!   few messages.
//! - A new one that does not come so far takes nothing down: the old one goes on.

use std::ffi::OsString;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::Holder;
use super::worker_process::WorkerProcess;
use crate::error::ProxyError;
use crate::handover::{HolderMessage, ServiceLoad, WorkerMessage};

/// How long a new worker may take until it is prepared. Its program may have to be read from a slow disk.
const PREPARE_LIMIT: Duration = Duration::from_secs(30);
/// How long an old worker may take to say what it has in flight.
const YIELD_LIMIT: Duration = Duration::from_secs(10);

/// What became of a worker that is to be the next one.
enum Preparation {
    Done,
    Failed(String),
    /// The old one has ended meanwhile.
    Needed,
    /// The holder is told to end.
    Stop,
}

impl Holder {
    /// The worker that serves after `old` has asked for a successor, which `command` starts; `None` when told to end
    /// meanwhile.
    pub(super) async fn hand_over(
        &mut self,
        mut old: WorkerProcess,
        command: Option<Vec<String>>,
    ) -> Result<Option<WorkerProcess>, ProxyError> {
        self.event("worker_wants_successor", old.describe());
        let command = match command {
            Some(words) => words.into_iter().map(OsString::from).collect(),
            None => self.worker_command.clone(),
        };
        let mut next = match self.start_worker(&command).await {
            Ok(next) => next,
            Err(error) => return Ok(Some(self.keep(old, describe(&error)).await)),
        };
        match self.until_prepared(&mut old, &mut next).await {
            Preparation::Done => {}
            Preparation::Failed(reason) => {
                next.kill().await;
                return Ok(Some(self.keep(old, reason).await));
            }
            Preparation::Needed => {
                self.event("worker_died", old.describe());
                return Ok(Some(next));
            }
            Preparation::Stop => {
                next.kill().await;
                self.stop(old).await;
                return Ok(None);
            }
        }
        self.worker_command = command;
        self.quick_deaths = 0;
        self.exchange(old, &next).await;
        Ok(Some(next))
    }

    /// `old` goes on.
    async fn keep(&self, old: WorkerProcess, reason: String) -> WorkerProcess {
        self.event("successor_failed", reason.clone());
        old.tell(&HolderMessage::Stay { reason }).await;
        old
    }

    async fn until_prepared(
        &mut self,
        old: &mut WorkerProcess,
        next: &mut WorkerProcess,
    ) -> Preparation {
        let limit = Instant::now() + PREPARE_LIMIT;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Preparation::Stop,
                _ = self.interrupt.recv() => return Preparation::Stop,
                carried = self.leaving.next() => {
                    // Either may be the one that reports it.
                    old.tell(&HolderMessage::Carried(carried.clone())).await;
                    next.tell(&HolderMessage::Carried(carried)).await;
                }
                received = old.channel.receive() => match received {
                    Ok(Some((message, sockets))) => {
                        let _ = self.handle(old, message, sockets).await;
                    }
                    Ok(None) | Err(_) => return Preparation::Needed,
                },
                received = next.channel.receive() => match received {
                    Ok(Some((WorkerMessage::Prepared { process }, _))) => {
                        next.process = Some(process);
                        return Preparation::Done;
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => {
                        return Preparation::Failed("it ended before it could serve".to_owned());
                    }
                },
                () = sleep_until(limit) => {
                    let seconds = PREPARE_LIMIT.as_secs();
                    return Preparation::Failed(format!("it could not serve within {seconds} s"));
                }
            }
        }
    }

    /// `old` gives nothing to replicas any more, and `next` begins.
    async fn exchange(&mut self, old: WorkerProcess, next: &WorkerProcess) {
        self.event("worker_leaving", old.describe());
        old.tell(&HolderMessage::Yield).await;
        match timeout(YIELD_LIMIT, yielded(&old)).await {
            Ok(Some(in_flight)) => {
                let carried = self.leaving.add(old, in_flight);
                next.tell(&HolderMessage::Carried(carried)).await;
            }
            Ok(None) => self.event("worker_died", old.describe()),
            Err(_) => {
                self.event("worker_killed", format!("{} did not yield", old.describe()));
                old.kill().await;
            }
        }
        self.let_serve(next).await;
    }
}

/// What a worker that was told to yield has in flight; `None` when it has ended.
async fn yielded(old: &WorkerProcess) -> Option<Vec<ServiceLoad>> {
    loop {
        match old.channel.receive().await {
            Ok(Some((WorkerMessage::Leaving { in_flight }, _))) => return Some(in_flight),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// An error and its cause, in one line.
fn describe(error: &ProxyError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
