//! Workers that are leaving: they serve what they have in flight, and their counts are passed on to
//! the worker that speaks to the controller, so that no replica is stopped under them.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::worker_process::WorkerProcess;
use crate::handover::{Carried, ServiceLoad, WorkerMessage};

/// Messages of leaving workers that may wait.
const QUEUE: usize = 16;

/// The workers that have left and not ended.
#[derive(Debug)]
pub(super) struct LeavingWorkers {
    last: u32,
    in_flight: BTreeMap<u32, Vec<ServiceLoad>>,
    sender: mpsc::Sender<Carried>,
    receiver: mpsc::Receiver<Carried>,
}

impl LeavingWorkers {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Self {
            last: 0,
            in_flight: BTreeMap::new(),
            sender,
            receiver,
        }
    }

    /// Listens to a worker until it ends, and gives what it has in flight for others to be told. Must be called within the
    /// runtime.
    pub(super) fn add(&mut self, old: WorkerProcess, in_flight: Vec<ServiceLoad>) -> Carried {
        self.last = self.last.wrapping_add(1);
        let worker = self.last;
        self.in_flight.insert(worker, in_flight.clone());
        let sender = self.sender.clone();
        let WorkerProcess { channel, child, .. } = old;
        tokio::spawn(async move {
            while let Ok(Some((message, _))) = channel.receive().await {
                if let WorkerMessage::Leaving { in_flight } = message {
                    let _ = sender.send(Carried { worker, in_flight }).await;
                }
            }
            let _ = sender
                .send(Carried {
                    worker,
                    in_flight: Vec::new(),
                })
                .await;
            if let Some(mut child) = child {
                let _ = child.wait().await;
            }
        });
        Carried { worker, in_flight }
    }

    /// The next change.
    pub(super) async fn next(&mut self) -> Carried {
        match self.receiver.recv().await {
            Some(carried) => {
                if carried.in_flight.is_empty() {
                    self.in_flight.remove(&carried.worker);
                } else {
                    self.in_flight
                        .insert(carried.worker, carried.in_flight.clone());
                }
                carried
            }
            // Not while this has a sender itself.
            None => std::future::pending().await,
        }
    }

    /// What all of them have in flight.
    pub(super) fn carried(&self) -> Vec<Carried> {
        let carried = |(worker, in_flight): (&u32, &Vec<ServiceLoad>)| Carried {
            worker: *worker,
            in_flight: in_flight.clone(),
        };
        self.in_flight.iter().map(carried).collect()
    }
}
