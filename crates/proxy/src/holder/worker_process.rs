//! A worker as its holder knows it: a process, and the channel to it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Child;
use tokio::time::{Instant, timeout};

use crate::error::ProxyError;
use crate::handover::{Channel, HolderMessage};
use crate::worker::DRAIN_TIME;

/// What a stopping worker gets beyond the time in which requests may finish.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// A worker that has the sockets, or is to have them.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    pub(super) channel: Channel,
    /// `None` for one that was not started by this holder.
    pub(super) child: Option<Child>,
    pub(super) process: Option<u32>,
    pub(super) started: Instant,
}

impl WorkerProcess {
    pub(super) fn new(channel: OwnedFd, child: Option<Child>) -> Result<Self, ProxyError> {
        let process = child.as_ref().and_then(Child::id);
        let channel = Channel::new(channel).map_err(ProxyError::Handover)?;
        Ok(Self {
            channel,
            child,
            process,
            started: Instant::now(),
        })
    }

    /// For a person.
    pub(super) fn describe(&self) -> String {
        self.process.map_or_else(
            || "worker".to_owned(),
            |process| format!("worker {process}"),
        )
    }

    /// A worker that cannot be told is about to be noticed as gone.
    pub(super) async fn tell(&self, message: &HolderMessage) {
        let _ = self.channel.send(message, &[]).await;
    }

    /// Lets the worker finish, and ends it when it does not.
    pub(super) async fn stop(self) {
        self.tell(&HolderMessage::Stop).await;
        let gone = async { while let Ok(Some(_)) = self.channel.receive::<Value>().await {} };
        if timeout(DRAIN_TIME + STOP_MARGIN, gone).await.is_err() {
            self.kill().await;
        }
    }

    /// Ends it.
    pub(super) async fn kill(mut self) {
        match (&mut self.child, self.process) {
            (Some(child), _) => {
                let _ = child.kill().await;
            }
            (None, Some(process)) => {
                // Its end of the channel is still open, so the number is still its own.
                if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
                    let _ = kill_process(process, Signal::KILL);
                }
            }
            (None, None) => {}
        }
    }
}
