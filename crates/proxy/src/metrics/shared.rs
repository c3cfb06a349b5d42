//! Metrics of one service: the cells of all threads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plan::figures::CanaryCounts;
use plan::routing::{ReplicaId, Version};

use super::canary::SharedCells;
use super::cell::{ReplicaCell, ServiceCell};
use super::snapshot::{ReplicaSnapshot, ServiceSnapshot};
use super::{KEPT_MICROS, Key};

/// Locked when a thread meets a replica for the first time, when one is ejected, and when all is read; never by a request
/// in the ordinary course.
#[derive(Debug, Default)]
pub(crate) struct ServiceMetrics {
    known: Mutex<Known>,
    pub(super) canary: SharedCells,
}

#[derive(Debug, Default)]
struct Known {
    threads: Vec<Arc<ServiceCell>>,
    replicas: BTreeMap<Key, Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    cells: Vec<Arc<ReplicaCell>>,
    ejections: u64,
    /// Monotonic microseconds; a cell may have been used later.
    since: u64,
}

impl Counted {
    fn last_used(&self) -> u64 {
        let used = self.cells.iter().map(|cell| cell.last_used.get());
        used.max().unwrap_or(0).max(self.since)
    }
}

impl ServiceMetrics {
    pub(super) fn new_thread(&self) -> Arc<ServiceCell> {
        let cell = Arc::<ServiceCell>::default();
        self.known().threads.push(Arc::clone(&cell));
        cell
    }

    pub(super) fn new_cell(&self, key: Key, now: u64) -> Arc<ReplicaCell> {
        let cell = Arc::<ReplicaCell>::default();
        cell.last_used.set(now);
        let mut known = self.known();
        let counted = known.replicas.entry(key).or_default();
        counted.cells.push(Arc::clone(&cell));
        cell
    }

    /// A replica failed so often that it gets no requests for a while.
    pub(crate) fn ejected(&self, replica: (ReplicaId, Version), now: u64) {
        let mut known = self.known();
        let counted = known.replicas.entry(Some(replica)).or_default();
        counted.ejections += 1;
        counted.since = now;
    }

    /// Forgets replicas that have had no request for long, but for those that `is_kept` names.
    pub(crate) fn forget_idle(&self, now: u64, is_kept: impl Fn(ReplicaId) -> bool) {
        self.known().replicas.retain(|key, counted| {
            let Some((replica_id, _)) = key else {
                return true;
            };
            let idle = now.saturating_sub(counted.last_used());
            let keep = idle < KEPT_MICROS || is_kept(*replica_id);
            if !keep {
                counted.cells.iter().for_each(|cell| cell.forget());
            }
            keep
        });
    }

    /// What was counted while the traffic was split.
    pub(crate) fn canary_counts(&self) -> CanaryCounts {
        self.canary.read()
    }

    /// Adds up all threads, into what is known of the service otherwise.
    pub(super) fn read(&self, into: &mut ServiceSnapshot) {
        let known = self.known();
        for cell in &known.threads {
            into.add_service(cell);
        }
        for (key, counted) in &known.replicas {
            let replica = into.replicas.entry(*key).or_default();
            replica.ejections += counted.ejections;
            for cell in &counted.cells {
                ReplicaSnapshot::add(replica, cell);
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
