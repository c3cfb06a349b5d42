//! Requests in flight per replica: draining rests on these counts.
//!
//! A [`Lease`] is taken in the moment of selection (see [`crate::routing`] for the order that makes it safe), and counts
//! until it is dropped: at the end of the answer's body, when the client goes away, when both ends of an
//! upgraded connection have closed, on every error. It cannot be counted off twice or forgotten.
//!
//! Counts belong to a replica, not to a table: they survive every change of the table until the
//! last request of a replica that left has ended.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use balance::{Health, HealthEvent};
use plan::routing::{ReplicaId, Upstream};

use crate::clock;
use crate::routing::View;
use crate::settings::Settings;

/// How long a replica that failed without an answer is chosen only as the last resort.
const SUSPECT_TIME: Duration = Duration::from_secs(1);
/// At most one failure of a replica is reported in this time.
const FAILURE_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What all threads know of one replica, whatever table is in force.
#[derive(Debug)]
pub(crate) struct ReplicaLoad {
    pub(crate) replica_id: ReplicaId,
    in_flight: AtomicU32,
    /// Requests that workers before this one have in flight there.
    carried: AtomicU32,
    /// Not in the table in force. Set and cleared under the lock of the table.
    retired: AtomicBool,
    /// Until when it is suspect, in monotonic microseconds; 0 when it is not.
    suspect_until: AtomicU64,
    /// Until when it is ejected, in the same; 0 when it is not.
    ejected_until: AtomicU64,
    /// Whether a success would not change its health.
    is_flawless: AtomicBool,
    health: Mutex<Health>,
    /// Earliest time of the next report of a failure, in monotonic microseconds.
    next_failure_report: AtomicU64,
}

impl ReplicaLoad {
    pub(crate) fn new(replica_id: ReplicaId) -> Arc<Self> {
        Arc::new(Self {
            replica_id,
            in_flight: AtomicU32::new(0),
            carried: AtomicU32::new(0),
            retired: AtomicBool::new(false),
            suspect_until: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
            is_flawless: AtomicBool::new(true),
            health: Mutex::default(),
            next_failure_report: AtomicU64::new(0),
        })
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Requests in flight at the replica, those of workers before this one included: what a limit is for.
    pub(crate) fn occupied(&self) -> u32 {
        let carried = self.carried.load(Ordering::SeqCst);
        self.in_flight().saturating_add(carried)
    }

    /// Workers before this one have so many in flight there.
    pub(crate) fn set_carried(&self, count: u32) {
        self.carried.store(count, Ordering::SeqCst);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    pub(crate) fn set_retired(&self, retired: bool) {
        self.retired.store(retired, Ordering::SeqCst);
    }

    pub(crate) fn is_suspect(&self, now: u64) -> bool {
        now < self.suspect_until.load(Ordering::Relaxed)
    }

    /// Whether it has failed so often that it gets nothing for a while.
    pub(crate) fn is_ejected(&self, now: u64) -> bool {
        now < self.ejected_until.load(Ordering::Relaxed)
    }

    /// A probe of the controller has succeeded.
    pub(crate) fn probe_succeeded(&self) -> Option<HealthEvent> {
        self.change_health(|health| health.probe_succeeded(clock::monotonic_micros()))
    }

    /// Changes its health, and what all threads can read of it.
    fn change_health<T>(&self, change: impl FnOnce(&mut Health) -> T) -> T {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut health);
        let until = health.ejected_until().unwrap_or(0);
        self.ejected_until.store(until, Ordering::Relaxed);
        self.is_flawless
            .store(health.is_flawless(), Ordering::Relaxed);
        result
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

/// One request given to one replica; counts as in flight until it ends or is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    view: Rc<View>,
    /// Exists in the view: that was looked at when the lease was taken.
    index: usize,
    is_counted: Cell<bool>,
}

impl Lease {
    /// Counts a request at the replica of this index of the view; `None` when the view has turned out to be outdated, has
    /// no such index, or another thread has given the replica the last request that it may have.
    pub(crate) fn take(view: &Rc<View>, index: usize) -> Option<Self> {
        let load = view.published.loads.get(index)?;
        view.published.table.upstreams.get(index)?;
        let limit = view.published.settings.max_requests_per_replica;
        let carried = load.carried.load(Ordering::SeqCst);
        let before = load.in_flight.fetch_add(1, Ordering::SeqCst);
        let has_room = before.saturating_add(carried) < limit;
        let lease = Self {
            view: Rc::clone(view),
            index,
            is_counted: Cell::new(true),
        };
        (has_room && view.service.epoch() == view.epoch).then_some(lease)
    }

    /// The replica as the table at the time of the selection described it.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.view.published.table.upstreams[self.index]
    }

    fn load(&self) -> &ReplicaLoad {
        &self.view.published.loads[self.index]
    }

    /// Timeouts and limits as they were at the time of the selection.
    pub(crate) fn settings(&self) -> &Settings {
        &self.view.published.settings
    }

    /// Silence after which the request is given up.
    pub(crate) fn stream_timeout(&self) -> Duration {
        self.settings().stream_timeout
    }

    /// Whether the replica has left the table since.
    pub(crate) fn is_retired(&self) -> bool {
        self.load().is_retired()
    }

    /// The replica failed: tell the controller, unless it was told a moment ago.
    pub(crate) fn report_failure(&self, error: &str) {
        let load = self.load();
        if load.may_report_failure() {
            self.view.service.report_failure(load.replica_id, error);
        }
    }

    /// The replica does not take connections or drops them without an answer: report it, and let
    /// others be chosen first for a moment; when that goes on, for longer.
    pub(crate) fn failed(&self, error: &str) {
        self.load().suspect();
        self.report_failure(error);
        self.count_failure(balance::Failure::Connection, error);
    }

    /// The replica has answered with this status.
    pub(crate) fn answered(&self, status: u16) {
        let load = self.load();
        if status >= 500 {
            let error = format!("it answers with {status}");
            self.count_failure(balance::Failure::ServerError, &error);
        } else if !load.is_flawless.load(Ordering::Relaxed) {
            load.change_health(|health| health.succeeded(clock::monotonic_micros()));
        }
    }

    fn count_failure(&self, failure: balance::Failure, error: &str) {
        let now = clock::monotonic_micros();
        let published = &self.view.published;
        let may_eject = balance::health::may_eject(published.ejected(now), published.loads.len());
        let event = self
            .load()
            .change_health(|health| health.failed(now, failure, may_eject));
        if let Some(HealthEvent::Ejected {
            until_microseconds, ..
        }) = event
        {
            let upstream = self.upstream();
            let replica = (upstream.replica_id, upstream.version);
            self.view.service.metrics.ejected(replica, now);
            let seconds = until_microseconds.saturating_sub(now) / 1_000_000;
            let error = format!("{error}; it gets no requests for {seconds} s");
            self.view
                .service
                .report_failure(self.load().replica_id, &error);
        }
    }
}

impl Lease {
    /// The replica is done with the request, though the client may not have all of the answer yet.
    pub(crate) fn end(&self) {
        if !self.is_counted.replace(false) {
            return;
        }
        let was = self.load().in_flight.fetch_sub(1, Ordering::SeqCst);
        // The swap of the table marks a replica retired before it reads its count, and this reads
        // the mark after the count: at least one of the two sees the other, so the end of a drain
        // is never missed.
        if was == 1 && self.load().is_retired() {
            self.view.service.replica_drained();
        }
        self.view.service.line.wake_first();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end();
    }
}
