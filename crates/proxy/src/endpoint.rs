//! One service as one serving thread sees it: the table it saw last, its own connections to replicas, what it has counted
//! and not yet handed on. Nothing here is shared with another thread, so nothing here is locked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plan::routing::ReplicaId;
use tokio_util::task::TaskTracker;

use crate::arrivals::ArrivalWindow;
use crate::clock;
use crate::h2::Pool;
use crate::lease::Lease;
use crate::log::{AccessLines, LogSender};
use crate::routing::{Service, View};
use crate::select::{Candidate, choose};
use crate::upstream::IdleConnections;

/// Kept connections are looked through once in this many ticks, and when the table has changed.
const TICKS_PER_POOL_SWEEP: u32 = 10;

/// A service on a serving thread.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) service: Arc<Service>,
    view: RefCell<Rc<View>>,
    arrivals: RefCell<ArrivalWindow>,
    /// Kept connections of the HTTP/1.1 path.
    pub(crate) idle: IdleConnections,
    /// Kept connections of the path for everything else.
    pub(crate) pool: Pool,
    pub(crate) logs: LogSender,
    lines: AccessLines,
    /// Everything that must end before the thread may.
    pub(crate) tasks: TaskTracker,
    closing_told: Cell<bool>,
    ticks: Cell<u32>,
    /// Number of the table by which kept connections were last looked through.
    swept: Cell<u64>,
}

impl Endpoint {
    pub(crate) fn new(service: Arc<Service>, logs: LogSender, tasks: TaskTracker) -> Rc<Self> {
        Rc::new(Self {
            view: RefCell::new(Rc::new(service.view())),
            arrivals: RefCell::default(),
            idle: IdleConnections::default(),
            pool: Pool::default(),
            lines: AccessLines::new(Arc::clone(service.name())),
            logs,
            tasks,
            closing_told: Cell::new(false),
            ticks: Cell::new(0),
            swept: Cell::new(0),
            service,
        })
    }

    /// The table in force.
    pub(crate) fn view(&self) -> Rc<View> {
        let mut view = self.view.borrow_mut();
        if view.epoch != self.service.epoch() {
            *view = Rc::new(self.service.view());
        }
        Rc::clone(&view)
    }

    /// Chooses a replica that is not among `tried` and counts the request as in flight there.
    pub(crate) fn select(&self, tried: &[ReplicaId]) -> Option<Lease> {
        loop {
            let view = self.view();
            let index = self.choose(&view, tried)?;
            // Nothing comes of it when the table has been swapped in between.
            if let Some(lease) = Lease::take(&view, index) {
                return Some(lease);
            }
        }
    }

    fn choose(&self, view: &View, tried: &[ReplicaId]) -> Option<usize> {
        let published = &view.published;
        let mut cursor = self.service.cursor.load(Ordering::Relaxed);
        let chosen = choose(
            published.table.policy,
            published.loads.len().min(published.table.upstreams.len()),
            &mut cursor,
            |index| {
                let load = published.loads.get(index)?;
                let upstream = published.table.upstreams.get(index)?;
                (tried.is_empty() || !tried.contains(&load.replica_id)).then(|| Candidate {
                    in_flight: load.in_flight(),
                    weight: upstream.weight,
                    suspect: load.is_suspect(),
                })
            },
        );
        self.service.cursor.store(cursor, Ordering::Relaxed);
        chosen
    }

    /// Counts a request that arrived.
    pub(crate) fn record_arrival(&self, monotonic_micros: u64) {
        let at = clock::wall_of(monotonic_micros);
        self.arrivals.borrow_mut().record(at);
    }

    /// Writes a line of the access log.
    pub(crate) fn access(&self, write: impl FnOnce(&mut Vec<u8>)) {
        self.lines.append(&self.logs, write);
    }

    /// Whether the endpoint is closed, so that connections end after their request.
    pub(crate) fn is_closing(&self) -> bool {
        self.service.closing().is_cancelled()
    }

    /// Hands on what was counted and written; closes connections that were idle for too long. True when the endpoint has
    /// closed since the last time.
    pub(crate) fn sweep(&self) -> bool {
        self.hand_on();
        let view = self.view();
        let ticks = self.ticks.get();
        self.ticks.set(ticks.wrapping_add(1));
        if ticks.is_multiple_of(TICKS_PER_POOL_SWEEP)
            || self.swept.replace(view.epoch) != view.epoch
        {
            let upstreams = &view.published.table.upstreams;
            self.idle.sweep(upstreams);
            self.pool.sweep(upstreams);
        }
        self.is_closing() && !self.closing_told.replace(true)
    }

    fn hand_on(&self) {
        let mut arrivals = self.arrivals.borrow_mut();
        if !arrivals.is_empty() {
            self.service.record_arrivals(&mut arrivals);
        }
        self.lines.hand_on(&self.logs);
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.hand_on();
    }
}
