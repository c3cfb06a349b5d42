//! Workers that are leaving: they serve what they have in flight, and their counts are passed on to
//! the worker that speaks to the controller, so that no replica is stopped under them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::worker_process::WorkerProcess;
use crate::handover::{Carried, Channel, ServiceLoad, WorkerMessage};

/// Messages of leaving workers that may wait.
const QUEUE: usize = 16;

/// The workers that have left and not ended.
#[derive(Debug)]
pub(super) struct LeavingWorkers {
    last: u32,
    workers: BTreeMap<u32, Leaving>,
    sender: mpsc::Sender<Change>,
    receiver: mpsc::Receiver<Change>,
}

/// What one of them has in flight now, and whether it has ended.
#[derive(Debug)]
struct Change {
    carried: Carried,
    has_ended: bool,
}

/// One of them, until it ends.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) channel: Arc<Channel>,
    pub(super) process: Option<u32>,
    pub(super) in_flight: Vec<ServiceLoad>,
}

impl LeavingWorkers {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Self {
            last: 0,
            workers: BTreeMap::new(),
            sender,
            receiver,
        }
    }

    /// Listens to a worker until it ends, and gives what it has in flight for others to be told. Must be called within the
    /// runtime.
    pub(super) fn add(&mut self, old: WorkerProcess, in_flight: Vec<ServiceLoad>) -> Carried {
        let number = self.last.wrapping_add(1);
        self.add_as(number, old, in_flight)
    }

    /// The same with the number that others know it by.
    pub(super) fn add_as(
        &mut self,
        number: u32,
        old: WorkerProcess,
        in_flight: Vec<ServiceLoad>,
    ) -> Carried {
        self.last = self.last.max(number);
        let channel = Arc::new(old.channel);
        let leaving = Leaving {
            channel: Arc::clone(&channel),
            process: old.process,
            in_flight: in_flight.clone(),
        };
        self.workers.insert(number, leaving);
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let tell = async |in_flight, has_ended| {
                let worker = number;
                let carried = Carried { worker, in_flight };
                let _ = sender.send(Change { carried, has_ended }).await;
            };
            while let Ok(Some((message, _))) = channel.receive().await {
                if let WorkerMessage::Leaving { in_flight } = message {
                    tell(in_flight, false).await;
                }
            }
            tell(Vec::new(), true).await;
            if let Some(mut child) = old.child {
                let _ = child.wait().await;
            }
        });
        Carried {
            worker: number,
            in_flight,
        }
    }

    /// The next change.
    pub(super) async fn next(&mut self) -> Carried {
        match self.receiver.recv().await {
            Some(Change { carried, has_ended }) => {
                if has_ended {
                    self.workers.remove(&carried.worker);
                } else if let Some(leaving) = self.workers.get_mut(&carried.worker) {
                    leaving.in_flight.clone_from(&carried.in_flight);
                }
                carried
            }
            // Not while this has a sender itself.
            None => std::future::pending().await,
        }
    }

    /// What all of them have in flight.
    pub(super) fn carried(&self) -> Vec<Carried> {
        let carried = |(worker, leaving): (&u32, &Leaving)| Carried {
            worker: *worker,
            in_flight: leaving.in_flight.clone(),
        };
        self.workers.iter().map(carried).collect()
    }

    /// All of them, with the numbers that others know them by.
    pub(super) fn workers(&self) -> impl Iterator<Item = (u32, &Leaving)> {
        self.workers
            .iter()
            .map(|(number, leaving)| (*number, leaving))
    }
}
