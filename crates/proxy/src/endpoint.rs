//! One service as one serving thread sees it: the table it saw last, its own connections to replicas, what it has counted
//! and not yet handed on. Nothing here is shared with another thread, so nothing here is locked.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use balance::{Key, PrefixChain, RetryBudget, Share, Turn, choose};
use plan::routing::ReplicaId;
use spec::LoadBalancingPolicy;
use tokio_util::task::TaskTracker;

use crate::arrivals::ArrivalWindow;
use crate::clock;
use crate::deadline::coarse_now;
use crate::h2::Pool;
use crate::lease::Lease;
use crate::log::{AccessLines, LogSender};
use crate::metrics::EndpointMetrics;
use crate::routing::{Service, View};
use crate::selection::{self, Cursor, TableCandidates};
use crate::split::{Side, Wish};
use crate::upstream::IdleConnections;

/// When no replica took a connection, they are asked again after this time, or when the table has changed.
pub(crate) const REFUSED_PAUSE: Duration = Duration::from_millis(500);
/// Kept connections are looked through once in this many ticks, and when the table has changed.
const TICKS_PER_POOL_SWEEP: u32 = 10;

/// What a request prefers a replica by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Affinity<'a> {
    /// Nothing but load.
    None,
    /// The hash of its session.
    Session(u64),
    /// The beginnings of its prompt.
    Prompt(&'a PrefixChain),
}

/// A service on a serving thread.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) service: Arc<Service>,
    view: RefCell<Rc<View>>,
    turn: RefCell<Turn>,
    /// Which requests go to the version that has a share.
    share: RefCell<Share>,
    budget: RefCell<RetryBudget>,
    arrivals: RefCell<ArrivalWindow>,
    /// Kept connections of the HTTP/1.1 path.
    pub(crate) idle: IdleConnections,
    /// Kept connections of the path for everything else.
    pub(crate) pool: Pool,
    pub(crate) logs: LogSender,
    lines: AccessLines,
    pub(crate) metrics: EndpointMetrics,
    /// Everything that must end before the thread may.
    pub(crate) tasks: TaskTracker,
    closing_told: Cell<bool>,
    ticks: Cell<u32>,
    /// Number of the table by which kept connections were last looked through.
    swept: Cell<u64>,
}

impl Endpoint {
    pub(crate) fn new(service: Arc<Service>, logs: LogSender, tasks: TaskTracker) -> Rc<Self> {
        let view = Rc::new(service.view());
        Rc::new(Self {
            turn: RefCell::new(Turn::new(RandomState::new().hash_one(0_u8))),
            share: RefCell::new(Share::new(RandomState::new().hash_one(1_u8))),
            budget: RefCell::new(budget(&view)),
            view: RefCell::new(view),
            arrivals: RefCell::default(),
            idle: IdleConnections::default(),
            pool: Pool::default(),
            lines: AccessLines::new(Arc::clone(service.name())),
            metrics: EndpointMetrics::new(&service.metrics),
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
            let before = view.published.settings.retry_budget_percent;
            *view = Rc::new(self.service.view());
            if view.published.settings.retry_budget_percent != before {
                self.budget.replace(budget(&view));
            }
        }
        Rc::clone(&view)
    }

    /// The side of a request: its own wish, its session's, or what the share says. To be asked once for each.
    pub(crate) fn side(&self, is_wished: bool, session: Option<u64>) -> Side {
        let view = self.view.borrow();
        let Some(groups) = &view.published.groups else {
            return Side::Whole;
        };
        if is_wished {
            return Side::Wished;
        }
        if let Some(hash) = session {
            return groups.side_of_session(hash);
        }
        match self.share.borrow_mut().has_next(groups.weight) {
            true => Side::New,
            false => Side::Old,
        }
    }

    /// Chooses a replica that is not among `tried` and counts the request as in flight there. `None`: there is none, or
    /// each has as many requests as it may.
    pub(crate) fn select(&self, tried: &[ReplicaId], wish: Wish<'_>) -> Option<Lease> {
        loop {
            let view = self.view();
            let index = self.choose(&view, tried, wish)?;
            // Nothing comes of it when the table has been swapped in between, or the replica has no room any more.
            if let Some(lease) = Lease::take(&view, index) {
                return Some(lease);
            }
        }
    }

    fn choose(&self, view: &View, tried: &[ReplicaId], wish: Wish<'_>) -> Option<usize> {
        let published = &*view.published;
        let wall = clock::wall_of(coarse_now());
        let mut candidates = TableCandidates {
            published,
            group: None,
            tried,
            now: coarse_now(),
            slow_start_now: (wall < published.slow_start_until).then_some(wall),
            even_ejected: false,
        };
        if published.groups.is_some() {
            return self.choose_by_side(&mut candidates, wish);
        }
        self.choose_among(&candidates, wish.affinity).or_else(|| {
            // To wait for a sound one is better.
            if candidates.is_any_busy() {
                return None;
            }
            candidates.even_ejected = true;
            self.choose_among(&candidates, wish.affinity)
        })
    }

    /// The same where traffic is split: the request's side first, then the other; and those that are ejected only when
    /// there is nobody else, at all or on the side that the request keeps to.
    fn choose_by_side(
        &self,
        candidates: &mut TableCandidates<'_>,
        wish: Wish<'_>,
    ) -> Option<usize> {
        let groups = candidates.published.groups.as_ref()?;
        let (first, second) = groups.in_order(wish.side);
        let keeps_to_side = wish.side == Side::Wished;
        let (middle, other) = if keeps_to_side {
            ((first, true), (second, false))
        } else {
            ((second, false), (first, true))
        };
        for (group, even_ejected) in [(first, false), middle, other, (second, true)] {
            if even_ejected {
                candidates.group = keeps_to_side.then_some(group);
                // To wait for a sound one is better.
                if candidates.is_any_busy() {
                    return None;
                }
            }
            candidates.group = Some(group);
            candidates.even_ejected = even_ejected;
            if let Some(index) = self.choose_among(candidates, wish.affinity) {
                return Some(index);
            }
        }
        None
    }

    fn choose_among(
        &self,
        candidates: &TableCandidates<'_>,
        affinity: Affinity<'_>,
    ) -> Option<usize> {
        let published = candidates.published;
        let policy = published.table.policy;
        let (ring, roster) = match candidates.group {
            Some(group) => (&group.ring, &group.roster),
            None => (&published.ring, &published.roster),
        };
        let mut turn = self.turn.borrow_mut();
        let chosen = match (affinity, ring, roster) {
            (Affinity::Session(hash), Some(ring), _) => {
                let key = Key::Session { ring, hash };
                choose(policy, candidates, &mut turn, Some(key))
            }
            (Affinity::Prompt(chain), _, Some(roster)) => self.service.with_prefixes(|index| {
                let key = Key::Prefix {
                    index,
                    roster,
                    chain,
                };
                choose(policy, candidates, &mut turn, Some(key))
            }),
            _ if policy == LoadBalancingPolicy::RoundRobin => {
                let cursor = self.cursor(candidates);
                let mut shared = Turn::starting_at(selection::read(cursor), coarse_now());
                let chosen = choose(policy, candidates, &mut shared, None);
                cursor.store(shared.cursor(), Ordering::Relaxed);
                chosen
            }
            _ => choose(policy, candidates, &mut turn, None),
        };
        candidates.index_in_table(chosen?)
    }

    fn cursor(&self, candidates: &TableCandidates<'_>) -> &Cursor {
        let groups = candidates.published.groups.as_ref();
        match (candidates.group, groups) {
            (Some(group), Some(groups)) if std::ptr::eq(group, &groups.new) => {
                &self.service.new_cursor
            }
            _ => &self.service.cursor,
        }
    }

    /// Whether a request may be sent once more though a replica may have read it.
    pub(crate) fn may_retry(&self) -> bool {
        self.budget
            .borrow_mut()
            .try_retry(clock::monotonic_micros())
    }

    /// Counts a request that arrived.
    pub(crate) fn record_arrival(&self, monotonic_micros: u64) {
        let at = clock::wall_of(monotonic_micros);
        self.arrivals.borrow_mut().record(at);
        self.budget.borrow_mut().request(monotonic_micros);
    }

    /// Writes a line of the access log.
    pub(crate) fn access(&self, write: impl FnOnce(&mut Vec<u8>, &[u8])) {
        self.lines.append(&self.logs, write);
    }

    /// Whether the endpoint is closed, so that connections end after their request.
    pub(crate) fn is_closing(&self) -> bool {
        self.service.is_closing()
    }

    /// Whether no replica will come any more: the service was withdrawn, or another process serves it.
    pub(crate) fn has_closed(&self) -> bool {
        self.is_closing() && self.view().published.table.upstreams.is_empty()
    }

    /// Hands on what was counted and written; closes connections that were idle for too long. True when the endpoint has
    /// closed since the last time.
    pub(crate) fn sweep(&self) -> bool {
        self.hand_on();
        self.service.line.wake_first();
        let view = self.view();
        let ticks = self.ticks.get();
        self.ticks.set(ticks.wrapping_add(1));
        if ticks.is_multiple_of(TICKS_PER_POOL_SWEEP)
            || self.swept.replace(view.epoch) != view.epoch
        {
            let upstreams = &view.published.table.upstreams;
            self.idle.sweep(upstreams);
            self.pool.sweep(upstreams);
            self.metrics.sweep();
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

/// The retries that one thread of the service may make.
fn budget(view: &View) -> RetryBudget {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let minimum = RetryBudget::DEFAULT_MINIMUM_PER_SECOND / threads as f64;
    let percent = view.published.settings.retry_budget_percent;
    RetryBudget::new(percent, minimum, clock::monotonic_micros())
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.hand_on();
    }
}

#[cfg(test)]
mod tests;
