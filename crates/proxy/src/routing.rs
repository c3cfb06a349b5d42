//! The table in force of one service, shared by all threads.
//!
//! A table is published whole, under a number that grows (the *epoch*). A thread keeps the published table that it saw
//! last ([`View`]) and asks for nothing but the epoch before it uses it, so choosing a replica takes no lock.
//!
//! What an acknowledgement means rests on an order. A selection first counts the request at the replica and then reads
//! the epoch; a swap first raises the epoch and then reads the counts. So for each pair at least one sees the other: either
//! the swap finds the request counted, or the selection finds its table outdated, takes the count back and chooses again.
//! After a swap no request goes to a replica that the new table does not name, but for those that the swap has counted.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use balance::{PrefixIndex, Ring, Roster};
use plan::figures::CanaryCounts;
use plan::routing::{Arrivals, Generation, ReplicaId, RoutingTable, Version};
use plan::time::Timestamp;
use rustls::ServerConfig;
use spec::LoadBalancingPolicy;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::arrivals::ArrivalWindow;
use crate::clock;
use crate::connections::Connections;
use crate::keys::Keys;
use crate::lease::ReplicaLoad;
use crate::metrics::ServiceMetrics;
use crate::selection::Cursor;
use crate::settings::Settings;
use crate::split::{Groups, is_same_share};
use crate::waiting::Line;

/// Failures waiting to be reported; more are dropped, since the controller probes on the first.
pub(crate) const FAILURE_QUEUE: usize = 256;

/// A connection to a replica failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) service: Arc<str>,
    pub(crate) replica_id: ReplicaId,
    pub(crate) error: String,
}

/// Where services tell the control plane that something wants to be reported.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    /// The last request of a replica that left the table has ended.
    pub(crate) drained: Arc<Notify>,
    /// Failed connections.
    pub(crate) failures: mpsc::Sender<Failure>,
}

/// One service: its table in force, the load of its replicas, its arrivals.
#[derive(Debug)]
pub(crate) struct Service {
    name: Arc<str>,
    /// Number of the published table.
    epoch: AtomicU64,
    routing: Mutex<Routing>,
    /// Whose turn it is, for all threads.
    pub(crate) cursor: Cursor,
    /// The same among the replicas of a version that has a share of the traffic.
    pub(crate) new_cursor: Cursor,
    /// Requests that wait for a replica.
    pub(crate) line: Arc<Line>,
    /// Who has served which prompts lately.
    prefixes: Mutex<Option<Box<PrefixIndex>>>,
    tls: Mutex<Option<Arc<ServerConfig>>>,
    /// Connections of clients.
    pub(crate) connections: Connections,
    /// What is counted for Prometheus.
    pub(crate) metrics: Arc<ServiceMetrics>,
    arrivals: Mutex<ArrivalWindow>,
    signals: Signals,
    /// Cancelled when the endpoint closes: idle connections end, busy ones after their request.
    closing: CancellationToken,
    /// The same, to be looked at by each request.
    is_closing: AtomicBool,
}

#[derive(Debug)]
struct Routing {
    published: Arc<Published>,
    /// Replicas that left the table with requests in flight.
    leaving: Vec<Arc<ReplicaLoad>>,
}

/// A table and what is kept beside it.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) table: RoutingTable,
    /// One per upstream of the table, in the same order.
    pub(crate) loads: Vec<Arc<ReplicaLoad>>,
    pub(crate) settings: Settings,
    /// `None`: everyone may use the endpoint.
    pub(crate) keys: Option<Keys>,
    /// For `session_affinity`.
    pub(crate) ring: Option<Ring>,
    /// For `prefix_affinity`.
    pub(crate) roster: Option<Roster>,
    /// How the traffic is split; `None`: not at all.
    pub(crate) groups: Option<Groups>,
    /// See [`Self::slow_start_end`].
    pub(crate) slow_start_until: Timestamp,
}

impl Published {
    /// `split_since`: since when the table's split stands, if not from now on; in monotonic microseconds.
    fn new(
        table: RoutingTable,
        loads: Vec<Arc<ReplicaLoad>>,
        split_since: Option<u64>,
    ) -> Arc<Self> {
        let ids: Vec<ReplicaId> = loads.iter().map(|load| load.replica_id).collect();
        let ring = table.policy == LoadBalancingPolicy::SessionAffinity;
        let roster = table.policy == LoadBalancingPolicy::PrefixAffinity;
        let mut published = Self {
            settings: Settings::of(&table.load_balancer),
            keys: table.api_keys.as_deref().map(Keys::new),
            ring: ring.then(|| Ring::new(&ids)),
            roster: roster.then(|| Roster::new(&ids)),
            groups: table.split.as_ref().map(|split| {
                let since = split_since.unwrap_or_else(clock::monotonic_micros);
                Groups::new(split, &table.upstreams, table.policy, since)
            }),
            slow_start_until: Timestamp(i64::MIN),
            table,
            loads,
        };
        published.slow_start_until = published.slow_start_end();
        Arc::new(published)
    }
}

/// A published table as one thread saw it last.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) service: Arc<Service>,
    pub(crate) epoch: u64,
    pub(crate) published: Arc<Published>,
}

impl Service {
    /// A service with its first table.
    pub(crate) fn new(table: RoutingTable, signals: Signals) -> Arc<Self> {
        let loads = table
            .upstreams
            .iter()
            .map(|up| ReplicaLoad::new(up.replica_id))
            .collect();
        Arc::new(Self {
            name: table.service.as_str().into(),
            epoch: AtomicU64::new(1),
            routing: Mutex::new(Routing {
                published: Published::new(table, loads, None),
                leaving: Vec::new(),
            }),
            cursor: Cursor::new(0),
            new_cursor: Cursor::new(0),
            line: Arc::default(),
            prefixes: Mutex::default(),
            tls: Mutex::default(),
            connections: Connections::default(),
            metrics: Arc::default(),
            arrivals: Mutex::default(),
            signals,
            closing: CancellationToken::new(),
            is_closing: AtomicBool::new(false),
        })
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The table in force.
    pub(crate) fn table(&self) -> RoutingTable {
        self.routing().published.table.clone()
    }

    pub(crate) fn generation(&self) -> Generation {
        self.routing().published.table.generation
    }

    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Number of the table in force.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// The table in force, for a thread to keep.
    pub(crate) fn view(self: &Arc<Self>) -> View {
        let routing = self.routing();
        View {
            service: Arc::clone(self),
            epoch: self.epoch(),
            published: Arc::clone(&routing.published),
        }
    }

    /// Puts `table` in force. When this returns, no new request goes to a replica that `table` does
    /// not name.
    pub(crate) fn swap(&self, table: RoutingTable) {
        let mut routing = self.routing();
        let mut before = std::mem::take(&mut routing.leaving);
        before.extend(routing.published.loads.iter().cloned());
        let loads: Vec<_> = table
            .upstreams
            .iter()
            .map(|upstream| {
                let known = before
                    .iter()
                    .find(|load| load.replica_id == upstream.replica_id);
                let load = known.map_or_else(|| ReplicaLoad::new(upstream.replica_id), Arc::clone);
                load.set_retired(false);
                load
            })
            .collect();
        before.retain(|load| !loads.iter().any(|kept| Arc::ptr_eq(kept, load)));
        for load in &before {
            load.set_retired(true);
        }
        let published = &routing.published;
        let same = is_same_share(published.table.split.as_ref(), table.split.as_ref());
        let groups = published.groups.as_ref().filter(|_| same);
        let split_since = groups.map(|groups| groups.since);
        routing.published = Published::new(table, loads, split_since);
        self.epoch.fetch_add(1, Ordering::SeqCst);
        // Only now: what is counted from here on will be taken back.
        before.retain(|load| load.in_flight() > 0);
        routing.leaving = before;
        drop(routing);
        self.line.wake_first();
    }

    /// Lends the index of prompts.
    pub(crate) fn with_prefixes<T>(&self, action: impl FnOnce(&mut PrefixIndex) -> T) -> T {
        let mut prefixes = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        let index = prefixes
            .get_or_insert_with(|| Box::new(PrefixIndex::new(PrefixIndex::DEFAULT_ENTRIES)));
        action(index)
    }

    /// How connections are encrypted; `None`: they are not.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// From the next connection on.
    pub(crate) fn set_tls(&self, config: Option<Arc<ServerConfig>>) {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// A probe of the controller has succeeded at this replica.
    pub(crate) fn probe_succeeded(&self, replica_id: ReplicaId) -> bool {
        let published = Arc::clone(&self.routing().published);
        let load = published
            .loads
            .iter()
            .find(|load| load.replica_id == replica_id);
        load.is_some_and(|load| load.probe_succeeded().is_some())
    }

    /// Takes the service out of force: nothing can be selected from now on.
    pub(crate) fn close(&self) {
        let mut table = self.table();
        table.upstreams.clear();
        self.swap(table);
        self.end_connections();
    }

    /// From now on connections end after their request.
    pub(crate) fn end_connections(&self) {
        self.is_closing.store(true, Ordering::SeqCst);
        self.closing.cancel();
    }

    /// Whether connections end after their request.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    /// Generation and requests in flight: the replicas of the table, then those that left with
    /// some.
    pub(crate) fn in_flight(&self) -> (Generation, Vec<(ReplicaId, u32)>) {
        let mut routing = self.routing();
        routing.leaving.retain(|load| load.in_flight() > 0);
        let counts = routing
            .published
            .loads
            .iter()
            .chain(&routing.leaving)
            .map(|load| (load.replica_id, load.in_flight()))
            .collect();
        (routing.published.table.generation, counts)
    }

    /// Replicas and their versions in the table in force.
    pub(crate) fn upstreams(&self) -> Vec<(ReplicaId, Version)> {
        let published = Arc::clone(&self.routing().published);
        let upstreams = published.table.upstreams.iter();
        upstreams.map(|up| (up.replica_id, up.version)).collect()
    }

    /// What was counted of each version; `None` while the traffic is not split.
    pub(crate) fn canary_counts(&self) -> Option<CanaryCounts> {
        let is_split = self.routing().published.groups.is_some();
        is_split.then(|| self.metrics.canary_counts())
    }

    /// Forgets the metrics of replicas that are gone and have not had a request for long.
    pub(crate) fn forget_idle_metrics(&self, now: u64) {
        let busy: HashSet<ReplicaId> = self.in_flight().1.into_iter().map(|(id, _)| id).collect();
        self.metrics.forget_idle(now, |id| busy.contains(&id));
    }

    /// Whether any request of this service is in flight.
    pub(crate) fn is_busy(&self) -> bool {
        let routing = self.routing();
        routing
            .published
            .loads
            .iter()
            .chain(&routing.leaving)
            .any(|load| load.in_flight() > 0)
    }

    /// Counts requests that arrived on one thread.
    pub(crate) fn record_arrivals(&self, arrivals: &mut ArrivalWindow) {
        self.arrivals().absorb(arrivals, clock::now());
    }

    /// Arrivals not yet reported.
    pub(crate) fn take_arrivals(&self) -> Vec<Arrivals> {
        self.arrivals().take_new(clock::now())
    }

    /// Makes the arrivals of the last minute new again.
    pub(crate) fn report_arrivals_again(&self) {
        self.arrivals().report_again();
    }

    /// Queues the report of a failed connection.
    pub(crate) fn report_failure(&self, replica_id: ReplicaId, error: &str) {
        let failure = Failure {
            service: self.name.clone(),
            replica_id,
            error: error.to_owned(),
        };
        // A full queue means that the controller has enough to probe already.
        let _ = self.signals.failures.try_send(failure);
    }

    /// The last request of a replica that left the table has ended.
    pub(crate) fn replica_drained(&self) {
        self.signals.drained.notify_one();
    }

    fn routing(&self) -> MutexGuard<'_, Routing> {
        self.routing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrivals(&self) -> MutexGuard<'_, ArrivalWindow> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
