//! The services of this worker, and what it takes to put a table in force.

mod certificates;
mod check;
mod metrics;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use plan::routing::{Generation, ProxyReport, ReplicaId, RoutingTable};
use tokio::sync::{mpsc, oneshot};

use self::certificates::{CertificateState, certificate_for};
use super::holder_link::HolderLink;
use super::relay_listener::Relayed;
use super::reporter::InFlight;
use super::serving_thread::{self, Order};
use crate::error::ProxyError;
use crate::handover::{Carried, ServiceLoad};
use crate::log::{Event, LogSender};
use crate::paths::ProxyPaths;
use crate::relay::{self, SUCCESSOR};
use crate::routing::{Service, Signals};
use crate::saved_tables::SavedTables;

/// All services, and the threads that serve them.
#[derive(Debug)]
pub(super) struct Registry {
    entries: BTreeMap<String, Entry>,
    /// What workers before this one still have in flight.
    carried: BTreeMap<u32, Vec<ServiceLoad>>,
    /// Withdrawn services that still have requests in flight.
    leaving: Vec<Arc<Service>>,
    threads: Vec<mpsc::UnboundedSender<Order>>,
    /// Which of them serves the next connection of a worker that has left.
    next_thread: usize,
    /// Where requests are brought once this worker has left.
    relay: PathBuf,
    saved: SavedTables,
    signals: Signals,
    logs: LogSender,
}

#[derive(Clone, Debug)]
struct Entry {
    service: Arc<Service>,
    listen: SocketAddr,
    /// False while the endpoint of a restored table could not be bound.
    bound: bool,
    tls: CertificateState,
}

impl Registry {
    /// Starts the serving threads, one per core.
    pub(super) fn new(
        paths: &ProxyPaths,
        signals: Signals,
        logs: LogSender,
    ) -> Result<Self, ProxyError> {
        let threads = (0..available_parallelism().map_or(1, usize::from))
            .map(|number| serving_thread::start(number, logs.clone()))
            .collect::<Result<_, _>>()
            .map_err(ProxyError::Runtime)?;
        let saved = SavedTables::new(paths.table_file());
        Ok(Self {
            entries: BTreeMap::new(),
            carried: BTreeMap::new(),
            leaving: Vec::new(),
            threads,
            next_thread: 0,
            relay: paths.relay_socket(),
            saved,
            signals,
            logs,
        })
    }

    /// Loads what was in force when the last worker ended, or is in force while that one still serves.
    pub(super) fn restore(&mut self) {
        let tables = self.saved.load().unwrap_or_else(|error| {
            self.logs
                .event(Event::new("saved_tables_unreadable", error.to_string()));
            Vec::new()
        });
        for table in tables {
            if let Err(reason) = self.check(&table) {
                self.logs
                    .event(Event::new("saved_table_refused", reason).of(&table.service));
                continue;
            }
            let (name, listen) = (table.service.clone(), table.listen);
            let certificate = self.certificate_at_start(&table);
            let service = Service::new(table, self.signals.clone());
            service.set_tls(certificate.as_ref().map(|known| Arc::clone(&known.config)));
            self.entries.insert(
                name,
                Entry {
                    service,
                    listen,
                    bound: false,
                    tls: CertificateState::new(certificate),
                },
            );
        }
    }

    /// Serves what was loaded.
    pub(super) async fn open_all(&mut self, holder: &mut HolderLink) {
        let restored: Vec<_> = self.entries.values().cloned().collect();
        for entry in restored {
            if let Err(reason) = self.bind_again(&entry, holder).await {
                let detail = format!("{reason}; trying on");
                let event = Event::new("endpoint_not_bound", detail);
                self.logs.event(event.of(entry.service.name()));
            }
        }
    }

    /// Binds the endpoints of restored tables that are not bound yet.
    pub(super) async fn bind_missing(&mut self, holder: &mut HolderLink) {
        let missing: Vec<_> = self
            .entries
            .values()
            .filter(|entry| !entry.bound)
            .cloned()
            .collect();
        for entry in missing {
            // The reason was told when it was tried first; what matters is when it succeeds.
            if self.bind_again(&entry, holder).await.is_ok() {
                let detail = entry.listen.to_string();
                self.logs
                    .event(Event::new("endpoint_bound", detail).of(entry.service.name()));
            }
        }
    }

    /// A probe of the controller has succeeded.
    pub(super) fn probe_succeeded(&self, service: &str, replica_id: ReplicaId) {
        let entry = self.entries.get(service);
        if entry.is_some_and(|entry| entry.service.probe_succeeded(replica_id)) {
            let detail = format!("replica {replica_id} gets requests again: a probe succeeded");
            self.logs
                .event(Event::new("replica_returned", detail).of(service));
        }
    }

    /// Puts a table in force; the report says how that went.
    pub(super) async fn apply(
        &mut self,
        table: RoutingTable,
        holder: &mut HolderLink,
    ) -> ProxyReport {
        let (service, generation) = (table.service.clone(), table.generation);
        match self.try_apply(table, holder).await {
            Ok(in_force) => {
                let (generation, in_flight) = self.in_flight(&in_force);
                ProxyReport::Acknowledged {
                    service,
                    generation,
                    in_flight,
                }
            }
            Err(reason) => {
                let detail = format!("generation {generation}: {reason}");
                self.logs
                    .event(Event::new("table_refused", detail).of(&service));
                ProxyReport::Refused {
                    service,
                    generation,
                    reason,
                }
            }
        }
    }

    /// The service with `table` or a newer one in force, or why the one before stays in force.
    async fn try_apply(
        &mut self,
        table: RoutingTable,
        holder: &mut HolderLink,
    ) -> Result<Arc<Service>, String> {
        let before = self.entries.get(&table.service).cloned();
        if let Some(entry) = &before
            && entry.service.generation() >= table.generation
        {
            self.bind_again(entry, holder).await?;
            return Ok(Arc::clone(&entry.service));
        }
        self.check(&table)?;
        let tls = certificate_for(&table, before.as_ref().map(|entry| &entry.tls))?;
        let config = tls
            .certificate
            .as_ref()
            .map(|known| Arc::clone(&known.config));
        let (name, generation, listen) = (table.service.clone(), table.generation, table.listen);
        let replicas = table.upstreams.len();
        let service = match &before {
            Some(entry) => Arc::clone(&entry.service),
            None => Service::new(table.clone(), self.signals.clone()),
        };
        self.tell_carried(&service);
        let listens = before
            .as_ref()
            .is_some_and(|old| old.bound && old.listen == listen);
        if !listens {
            self.open(&service, listen, holder).await?;
        }
        if let Err(reason) = self.save_with(&table) {
            if before.is_none() {
                service.close();
            }
            if !listens {
                self.shut(listen, holder).await;
            }
            return Err(reason);
        }
        // A connection that is accepted in between is not served in clear: it sees that there is a certificate to come.
        if table.tls.is_some() {
            service.set_tls(config.clone());
        }
        service.swap(table);
        if config.is_none() {
            service.set_tls(None);
        }
        if let Some(old) = before.filter(|old| old.bound && old.listen != listen) {
            self.shut(old.listen, holder).await;
        }
        let detail = format!("generation {generation}, {replicas} replicas");
        self.logs
            .event(Event::new("table_applied", detail).of(&name));
        self.entries.insert(
            name,
            Entry {
                service: Arc::clone(&service),
                listen,
                bound: true,
                tls,
            },
        );
        Ok(service)
    }

    /// Binds the endpoint of a restored table if it is not bound yet.
    async fn bind_again(&mut self, entry: &Entry, holder: &mut HolderLink) -> Result<(), String> {
        if !entry.bound {
            self.open(&entry.service, entry.listen, holder).await?;
            if let Some(entry) = self.entries.get_mut(&**entry.service.name()) {
                entry.bound = true;
            }
        }
        Ok(())
    }

    /// Closes the endpoint of a service and forgets it; requests in flight go on. A service that is
    /// not known is withdrawn already.
    pub(super) async fn withdraw(&mut self, name: &str, holder: &mut HolderLink) {
        let Some(entry) = self.entries.remove(name) else {
            return;
        };
        if let Err(error) = self.saved.save(self.tables()) {
            // It would come back after a restart of the worker, until the controller withdraws it
            // again.
            self.logs
                .event(Event::new("tables_not_saved", error.to_string()).of(name));
        }
        entry.service.close();
        self.shut(entry.listen, holder).await;
        self.logs
            .event(Event::new("service_withdrawn", entry.listen.to_string()).of(name));
        self.leaving.push(entry.service);
    }

    /// The services in force, then those withdrawn with requests in flight.
    pub(super) fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        // A service that was withdrawn and made anew is spoken of as it is now.
        let leaving = self
            .leaving
            .iter()
            .filter(|old| !self.entries.contains_key(&**old.name()));
        self.entries
            .values()
            .map(|entry| &entry.service)
            .chain(leaving)
    }

    /// Generation in force and requests in flight of a service, here and in workers before.
    pub(super) fn in_flight(&self, service: &Service) -> InFlight {
        let (generation, mut in_flight) = service.in_flight();
        let carried = self.carried.values().flatten();
        let carried = carried.filter(|load| load.service == **service.name());
        for (replica_id, count) in carried.flat_map(|load| &load.in_flight) {
            match in_flight.iter_mut().find(|(known, _)| known == replica_id) {
                Some((_, here)) => *here = here.saturating_add(*count),
                None => in_flight.push((*replica_id, *count)),
            }
        }
        (generation, in_flight)
    }

    /// What is in flight here alone, for a successor: only what there is.
    pub(super) fn loads(services: &[Arc<Service>]) -> Vec<ServiceLoad> {
        let load = |service: &Arc<Service>| {
            let mut in_flight = service.in_flight().1;
            // What was brought to the successor counts there.
            in_flight.retain(|(replica_id, count)| *count > 0 && *replica_id != SUCCESSOR);
            ServiceLoad {
                service: service.name().to_string(),
                in_flight,
            }
        };
        services
            .iter()
            .map(load)
            .filter(|load| !load.in_flight.is_empty())
            .collect()
    }

    /// A worker before this one has these in flight.
    pub(super) fn carry(&mut self, carried: Carried) {
        if carried.in_flight.is_empty() {
            self.carried.remove(&carried.worker);
        } else {
            self.carried.insert(carried.worker, carried.in_flight);
        }
        self.entries
            .values()
            .for_each(|entry| self.tell_carried(&entry.service));
    }

    /// Tells a service what workers before this one have in flight: its limits are for all of them together.
    fn tell_carried(&self, service: &Service) {
        let carried = self.carried.values().flatten();
        let carried = carried.filter(|load| load.service == **service.name());
        let in_flight = carried.flat_map(|load| load.in_flight.iter().copied());
        service.set_carried(in_flight.collect());
    }

    /// Nobody tells any more what workers before this one have in flight.
    pub(super) fn forget_carried(&mut self) {
        self.carried.clear();
        self.entries
            .values()
            .for_each(|entry| entry.service.set_carried(Vec::new()));
    }

    pub(super) fn generations(&self) -> Vec<(String, Generation)> {
        let generation =
            |(name, entry): (&String, &Entry)| (name.clone(), entry.service.generation());
        self.entries.iter().map(generation).collect()
    }

    /// Forgets the withdrawn services whose last request has ended, and gives them for a last
    /// report.
    pub(super) fn take_finished(&mut self) -> Vec<Arc<Service>> {
        let finished = self.leaving.extract_if(.., |service| !service.is_busy());
        finished
            .filter(|old| !self.entries.contains_key(&**old.name()))
            .collect()
    }

    pub(super) fn describe(&self) -> String {
        format!(
            "{} threads, {} services",
            self.threads.len(),
            self.entries.len()
        )
    }

    /// Gives nothing to replicas any more, but everything to the worker that serves next.
    pub(super) fn lead_to_successor(&self) {
        relay::open(self.relay.clone(), self.entries.keys().cloned().collect());
        for (number, entry) in (0..).zip(self.entries.values()) {
            let last = relay::table(entry.service.table(), number);
            entry.service.swap(last);
        }
    }

    /// Serves a connection of a worker that has left. Who is not served tries again.
    pub(super) fn serve_relayed(&mut self, relayed: Relayed) {
        let Some(entry) = self.entries.get(&relayed.service) else {
            return;
        };
        self.next_thread = self.next_thread.wrapping_add(1);
        let count = self.threads.len().max(1);
        if let Some(thread) = self.threads.get(self.next_thread % count) {
            let _ = thread.send(Order::ServeRelayed {
                service: Arc::clone(&entry.service),
                socket: relayed.socket,
            });
        }
    }

    /// Ends all accepting; completes when no request is in flight any more.
    pub(super) async fn drain(&mut self, accept_waiting: bool) {
        let drained = self.threads.drain(..).map(|thread| {
            let (drained, done) = oneshot::channel();
            let _ = thread.send(Order::Drain {
                accept_waiting,
                drained,
            });
            done
        });
        let drained: Vec<_> = drained.collect();
        for entry in self.entries.values() {
            entry.service.end_connections();
        }
        for done in drained {
            let _ = done.await;
        }
    }

    /// Has every thread accept on its own listener of `listen`; after a failure none is left.
    async fn open(
        &self,
        service: &Arc<Service>,
        listen: SocketAddr,
        holder: &mut HolderLink,
    ) -> Result<(), String> {
        let opened = match holder.bind(listen, self.threads.len()).await {
            Ok(listeners) => self.start_accepting(service, listen, listeners).await,
            Err(reason) => Err(reason),
        };
        if opened.is_err() {
            self.shut(listen, holder).await;
        }
        opened
    }

    async fn start_accepting(
        &self,
        service: &Arc<Service>,
        address: SocketAddr,
        listeners: Vec<OwnedFd>,
    ) -> Result<(), String> {
        // There may be more listeners than threads, of a worker that had more: none may be left
        // without one.
        for (listener, thread) in listeners.into_iter().zip(self.threads.iter().cycle()) {
            let (started, done) = oneshot::channel();
            let service = Arc::clone(service);
            let order = Order::Serve {
                service,
                address,
                listener,
                started,
            };
            let _ = thread.send(order);
            let answer = done
                .await
                .map_err(|_| "a thread of the proxy has died".to_owned())?;
            answer.map_err(|error| format!("cannot accept on {address}: {error}"))?;
        }
        Ok(())
    }

    async fn shut(&self, address: SocketAddr, holder: &mut HolderLink) {
        // First the copies elsewhere, so that the threads' are the last and nothing queues up
        // unseen.
        holder.release(address).await;
        for thread in &self.threads {
            let (closed, done) = oneshot::channel();
            let _ = thread.send(Order::Close { address, closed });
            let _ = done.await;
        }
    }

    fn tables(&self) -> Vec<RoutingTable> {
        self.entries
            .values()
            .map(|entry| entry.service.table())
            .collect()
    }

    fn save_with(&mut self, table: &RoutingTable) -> Result<(), String> {
        let mut tables = self.tables();
        tables.retain(|other| other.service != table.service);
        tables.push(table.clone());
        self.saved
            .save(tables)
            .map_err(|error| format!("cannot save the routing table: {error}"))
    }
}
