//! A published table as [`balance`] sees it: who may be chosen now.

use std::sync::atomic::Ordering;

use balance::{Candidate, Candidates, slow_start_share};
use plan::routing::ReplicaId;
use plan::time::Timestamp;

use crate::lease::ReplicaLoad;
use crate::routing::Published;
use crate::split::Group;

/// The replicas of a table at one moment.
pub(crate) struct TableCandidates<'a> {
    pub(crate) published: &'a Published,
    /// Only these of them, and counted among themselves; `None`: all.
    pub(crate) group: Option<&'a Group>,
    /// Not to be chosen again.
    pub(crate) tried: &'a [ReplicaId],
    /// Monotonic microseconds.
    pub(crate) now: u64,
    /// Wall time, where a replica is in its slow start.
    pub(crate) slow_start_now: Option<Timestamp>,
    /// Whether ejected replicas may be chosen: there is nobody else.
    pub(crate) even_ejected: bool,
}

impl TableCandidates<'_> {
    /// Whether one would be chosen if it had not as many requests as it may.
    pub(crate) fn is_any_busy(&self) -> bool {
        let limit = self.published.settings.max_requests_per_replica;
        let mut loads = (0..self.count()).filter_map(|index| self.load(index));
        loads.any(|load| {
            load.in_flight() >= limit
                && !load.is_ejected(self.now)
                && !self.tried.contains(&load.replica_id)
        })
    }

    /// Where a candidate stands in the table.
    pub(crate) fn index_in_table(&self, index: usize) -> Option<usize> {
        match self.group {
            Some(group) => group.indices.get(index).copied(),
            None => Some(index),
        }
    }

    fn load(&self, index: usize) -> Option<&ReplicaLoad> {
        let load = self.published.loads.get(self.index_in_table(index)?);
        load.map(|load| &**load)
    }
}

impl Candidates for TableCandidates<'_> {
    fn count(&self) -> usize {
        self.group
            .map_or(self.published.loads.len(), |group| group.indices.len())
    }

    fn candidate(&self, index: usize) -> Option<Candidate> {
        let index = self.index_in_table(index)?;
        let load = self.published.loads.get(index)?;
        let upstream = self.published.table.upstreams.get(index)?;
        let in_flight = load.in_flight();
        if in_flight >= self.published.settings.max_requests_per_replica
            || (load.is_ejected(self.now) && !self.even_ejected)
            || (!self.tried.is_empty() && self.tried.contains(&load.replica_id))
        {
            return None;
        }
        let ramp = match (self.slow_start_now, upstream.ready_since) {
            (Some(now), Some(since)) => {
                let ready_seconds = now.0.saturating_sub(since.0) as f64 / 1e6;
                slow_start_share(ready_seconds, self.published.settings.slow_start_seconds)
            }
            _ => 1.0,
        };
        Some(Candidate {
            in_flight,
            weight: upstream.weight,
            suspect: load.is_suspect(self.now),
            ramp,
        })
    }
}

impl Published {
    /// Wall time up to which any of its replicas is in its slow start.
    pub(crate) fn slow_start_end(&self) -> Timestamp {
        let micros = (self.settings.slow_start_seconds * 1e6) as i64;
        let ready = self
            .table
            .upstreams
            .iter()
            .filter_map(|upstream| upstream.ready_since);
        let last = ready.map(|since| since.0).max().unwrap_or(i64::MIN);
        Timestamp(last.saturating_add(micros))
    }

    /// How many of its replicas are ejected.
    pub(crate) fn ejected(&self, now: u64) -> usize {
        self.loads
            .iter()
            .filter(|load| load.is_ejected(now))
            .count()
    }
}

/// Where the next turn of `round_robin` begins, for all threads.
pub(crate) type Cursor = std::sync::atomic::AtomicUsize;

/// Reads the cursor; a turn that another thread takes at the same moment is taken twice, which evens out.
pub(crate) fn read(cursor: &Cursor) -> usize {
    cursor.load(Ordering::Relaxed)
}
