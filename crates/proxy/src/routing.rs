//! The table in force of one service, shared by all threads.
//!
//! Selection, counting and the swap of the table happen under one short lock. So a swap is one
//! instant for all threads: a selection before it is already counted when the swap returns, and a
//! selection after it reads the new table. This is what an acknowledgement means.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plan::routing::{Arrivals, Generation, ReplicaId, RoutingTable};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::arrivals::ArrivalWindow;
use crate::clock;
use crate::lease::{Lease, ReplicaLoad};
use crate::select::{Candidate, choose};

/// Longest stream timeout, in seconds: longer ones are as good as none.
const MAX_STREAM_TIMEOUT_SECONDS: f64 = 366.0 * 24.0 * 3600.0;
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
    routing: Mutex<Routing>,
    arrivals: Mutex<ArrivalWindow>,
    signals: Signals,
    /// Cancelled when the endpoint closes: idle connections end, busy ones after their request.
    closing: CancellationToken,
}

#[derive(Debug)]
struct Routing {
    table: RoutingTable,
    stream_timeout: Duration,
    /// One per upstream of the table, in the same order.
    loads: Vec<Arc<ReplicaLoad>>,
    /// Replicas that left the table with requests in flight.
    leaving: Vec<Arc<ReplicaLoad>>,
    cursor: usize,
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
            routing: Mutex::new(Routing {
                stream_timeout: stream_timeout(&table),
                table,
                loads,
                leaving: Vec::new(),
                cursor: 0,
            }),
            arrivals: Mutex::default(),
            signals,
            closing: CancellationToken::new(),
        })
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The table in force.
    pub(crate) fn table(&self) -> RoutingTable {
        self.routing().table.clone()
    }

    pub(crate) fn generation(&self) -> Generation {
        self.routing().table.generation
    }

    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Puts `table` in force. When this returns, no new request goes to a replica that `table` does
    /// not name.
    pub(crate) fn swap(&self, table: RoutingTable) {
        let mut routing = self.routing();
        let before: Vec<_> = {
            let Routing { loads, leaving, .. } = &mut *routing;
            loads.drain(..).chain(leaving.drain(..)).collect()
        };
        for upstream in &table.upstreams {
            let known = before
                .iter()
                .find(|load| load.replica_id == upstream.replica_id);
            let load = known.map_or_else(|| ReplicaLoad::new(upstream.replica_id), Arc::clone);
            load.set_retired(false);
            routing.loads.push(load);
        }
        for load in before {
            if !routing.loads.iter().any(|kept| Arc::ptr_eq(kept, &load)) {
                load.set_retired(true);
                if load.in_flight() > 0 {
                    routing.leaving.push(load);
                }
            }
        }
        routing.stream_timeout = stream_timeout(&table);
        routing.table = table;
    }

    /// Takes the service out of force: nothing can be selected from now on.
    pub(crate) fn close(&self) {
        let mut table = self.table();
        table.upstreams.clear();
        self.swap(table);
        self.closing.cancel();
    }

    /// Chooses a replica that is not among `tried` and counts the request as in flight there.
    pub(crate) fn select(self: &Arc<Self>, tried: &[ReplicaId]) -> Option<Lease> {
        let mut guard = self.routing();
        let Routing {
            table,
            stream_timeout,
            loads,
            cursor,
            ..
        } = &mut *guard;
        let index = choose(
            table.policy,
            loads.len().min(table.upstreams.len()),
            cursor,
            |index| {
                let (load, upstream) = (loads.get(index)?, table.upstreams.get(index)?);
                (!tried.contains(&load.replica_id)).then(|| Candidate {
                    in_flight: load.in_flight(),
                    weight: upstream.weight,
                    suspect: load.is_suspect(),
                })
            },
        )?;
        let (load, upstream) = (loads.get(index)?, table.upstreams.get(index)?);
        Some(Lease::take(self, load, upstream, *stream_timeout))
    }

    /// Generation and requests in flight: the replicas of the table, then those that left with
    /// some.
    pub(crate) fn in_flight(&self) -> (Generation, Vec<(ReplicaId, u32)>) {
        let mut routing = self.routing();
        routing.leaving.retain(|load| load.in_flight() > 0);
        let counts = routing
            .loads
            .iter()
            .chain(&routing.leaving)
            .map(|load| (load.replica_id, load.in_flight()))
            .collect();
        (routing.table.generation, counts)
    }

    /// Whether any request of this service is in flight.
    pub(crate) fn is_busy(&self) -> bool {
        let routing = self.routing();
        routing
            .loads
            .iter()
            .chain(&routing.leaving)
            .any(|load| load.in_flight() > 0)
    }

    /// Counts a request that arrived.
    pub(crate) fn record_arrival(&self) {
        self.arrivals().record(clock::now());
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

fn stream_timeout(table: &RoutingTable) -> Duration {
    let seconds = table
        .load_balancer
        .stream_timeout_seconds
        .min(MAX_STREAM_TIMEOUT_SECONDS);
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests;
