//! Requests in flight per replica: draining rests on these counts.
//!
//! A [`Lease`] is taken in the moment of selection, under the lock of the table, and counts until
//! it is dropped: at the end of the answer's body, when the client goes away, when both ends of an
//! upgraded connection have closed, on every error. It cannot be counted off twice or forgotten.
//!
//! Counts belong to a replica, not to a table: they survive every change of the table until the
//! last request of a replica that left has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use plan::routing::{ReplicaId, Upstream};

use crate::clock;
use crate::routing::Service;

/// How long a replica that failed without an answer is chosen only as the last resort.
const SUSPECT_TIME: Duration = Duration::from_secs(1);
/// At most one failure of a replica is reported in this time.
const FAILURE_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What all threads know of one replica, whatever table is in force.
#[derive(Debug)]
pub(crate) struct ReplicaLoad {
    pub(crate) replica_id: ReplicaId,
    in_flight: AtomicU32,
    /// Not in the table in force. Set and cleared under the lock of the table.
    retired: AtomicBool,
    /// Until when it is suspect, in monotonic microseconds; 0 when it is not.
    suspect_until: AtomicU64,
    /// Earliest time of the next report of a failure, in monotonic microseconds.
    next_failure_report: AtomicU64,
}

impl ReplicaLoad {
    pub(crate) fn new(replica_id: ReplicaId) -> Arc<Self> {
        Arc::new(Self {
            replica_id,
            in_flight: AtomicU32::new(0),
            retired: AtomicBool::new(false),
            suspect_until: AtomicU64::new(0),
            next_failure_report: AtomicU64::new(0),
        })
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    pub(crate) fn set_retired(&self, retired: bool) {
        self.retired.store(retired, Ordering::SeqCst);
    }

    pub(crate) fn is_suspect(&self) -> bool {
        let until = self.suspect_until.load(Ordering::Relaxed);
        until != 0 && clock::monotonic_micros() < until
    }

    fn suspect(&self) {
        self.suspect_until
            .store(after(SUSPECT_TIME), Ordering::Relaxed);
    }

    /// Whether a failure may be reported now; counts as the report if so.
    fn may_report_failure(&self) -> bool {
        let next = self.next_failure_report.load(Ordering::Relaxed);
        clock::monotonic_micros() >= next
            && self
                .next_failure_report
                .compare_exchange(
                    next,
                    after(FAILURE_REPORT_INTERVAL),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }
}

fn after(span: Duration) -> u64 {
    clock::monotonic_micros().saturating_add(span.as_micros().try_into().unwrap_or(u64::MAX))
}

/// One request given to one replica; counts as in flight until dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    service: Arc<Service>,
    load: Arc<ReplicaLoad>,
    upstream: Upstream,
    stream_timeout: Duration,
}

impl Lease {
    /// Counts the request. Only to be called under the lock of the table that named `upstream`.
    pub(crate) fn take(
        service: &Arc<Service>,
        load: &Arc<ReplicaLoad>,
        upstream: &Upstream,
        stream_timeout: Duration,
    ) -> Self {
        load.in_flight.fetch_add(1, Ordering::SeqCst);
        Self {
            service: Arc::clone(service),
            load: Arc::clone(load),
            upstream: upstream.clone(),
            stream_timeout,
        }
    }

    /// The replica as the table at the time of the selection described it.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Silence after which the request is given up.
    pub(crate) fn stream_timeout(&self) -> Duration {
        self.stream_timeout
    }

    /// Whether the replica has left the table since.
    pub(crate) fn is_retired(&self) -> bool {
        self.load.is_retired()
    }

    /// A connection to the replica failed: tell the controller, unless it was told a moment ago.
    pub(crate) fn report_failure(&self, error: &str) {
        if self.load.may_report_failure() {
            self.service.report_failure(self.load.replica_id, error);
        }
    }

    /// The replica does not take connections or drops them without an answer: report it, and let
    /// others be chosen first for a moment.
    pub(crate) fn failed(&self, error: &str) {
        self.load.suspect();
        self.report_failure(error);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let was = self.load.in_flight.fetch_sub(1, Ordering::SeqCst);
        // The swap of the table marks a replica retired before it reads its count, and this reads
        // the mark after the count: at least one of the two sees the other, so the end of a drain
        // is never missed.
        if was == 1 && self.load.is_retired() {
            self.service.replica_drained();
        }
    }
}
