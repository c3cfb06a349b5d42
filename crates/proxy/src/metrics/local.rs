//! Metrics of one service as one serving thread counts them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use plan::routing::{ReplicaId, Version};

use super::Key;
use super::canary::{Sampled, ThreadCells};
use super::cell::{ReplicaCell, ServiceCell};
use super::reason::Reason;
use super::shared::ServiceMetrics;
use crate::upstream::ReplicaHasher;

/// See the module above: nothing here is contended.
#[derive(Debug)]
pub(crate) struct EndpointMetrics {
    shared: Arc<ServiceMetrics>,
    service: Arc<ServiceCell>,
    /// For requests that no replica was given.
    nobody: Arc<ReplicaCell>,
    replicas: RefCell<Cells>,
    /// While the traffic is split.
    canary: ThreadCells,
}

type Cells = HashMap<(ReplicaId, Version), Arc<ReplicaCell>, BuildHasherDefault<ReplicaHasher>>;

/// How a request went; times in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    /// 0: there was no answer.
    pub(crate) status: u16,
    pub(crate) duration: u64,
    /// From the beginning to the head of the answer.
    pub(crate) first_byte: Option<u64>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// When, on the monotonic clock.
    pub(crate) now: u64,
}

impl EndpointMetrics {
    /// Cells of a thread, made known to the service.
    pub(crate) fn new(shared: &Arc<ServiceMetrics>) -> Self {
        Self {
            service: shared.new_thread(),
            nobody: shared.new_cell(None, 0),
            replicas: RefCell::default(),
            canary: ThreadCells::default(),
            shared: Arc::clone(shared),
        }
    }

    /// A request is given to a replica. Keeps its counts alive for as long as the request may last.
    pub(crate) fn given(&self, replica: (ReplicaId, Version), now: u64) {
        self.with(Some(replica), now, |cell| cell.last_used.set(now));
    }

    /// A request that was given to this replica will be given to one once more.
    pub(crate) fn retried(&self, replica: (ReplicaId, Version), now: u64) {
        self.with(Some(replica), now, |cell| cell.retries.add(1));
    }

    /// A request has waited in the queue for so many microseconds.
    pub(crate) fn waited(&self, micros: u64) {
        self.service.queue_wait.observe(micros);
    }

    /// The proxy refused a request or a connection.
    pub(crate) fn refused(&self, reason: Reason) {
        self.service.refused(reason);
    }

    /// A request has ended; `replica`: the one it was given last.
    pub(crate) fn ended(&self, replica: Key, ended: &Ended) {
        self.with(replica, ended.now, |cell| {
            if let Some(class) = cell.class(ended.status) {
                class.duration.observe(ended.duration);
                if let Some(first_byte) = ended.first_byte {
                    class.first_byte.observe(first_byte);
                }
            }
            cell.bytes_in.add(ended.bytes_in);
            cell.bytes_out.add(ended.bytes_out);
            cell.last_used.set(ended.now);
        });
    }

    /// A request that began under the split in force has ended at a replica of this version.
    pub(crate) fn sampled(&self, version: Version, sampled: Sampled) {
        self.canary.count(&self.shared.canary, version, sampled);
    }

    fn with(&self, key: Key, now: u64, action: impl FnOnce(&ReplicaCell)) {
        let Some(replica) = key else {
            return action(&self.nobody);
        };
        let mut replicas = self.replicas.borrow_mut();
        match replicas.get(&replica).filter(|cell| !cell.is_forgotten()) {
            Some(cell) => action(cell),
            None => {
                let cell = self.shared.new_cell(key, now);
                action(&cell);
                replicas.insert(replica, cell);
            }
        }
    }

    /// Lets go of what the service has forgotten.
    pub(crate) fn sweep(&self) {
        self.replicas
            .borrow_mut()
            .retain(|_, cell| !cell.is_forgotten());
    }
}
