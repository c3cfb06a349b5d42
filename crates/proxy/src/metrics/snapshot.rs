//! Everything there is to say of a service at one moment.

use std::collections::BTreeMap;

use plan::routing::{ReplicaId, Version};

use super::Key;
use super::cell::{CLASSES, ReplicaCell, ServiceCell};
use super::count::HistogramSum;
use super::reason::Reason;
use crate::routing::Service;

/// One service.
#[derive(Debug, Default)]
pub(crate) struct ServiceSnapshot {
    pub(super) name: String,
    pub(super) connections: u32,
    /// Seconds until its certificate ends.
    pub(crate) certificate_expiry: Option<i64>,
    pub(super) queue_depth: u32,
    pub(super) queue_wait: HistogramSum,
    /// The version that has a share of the traffic, and how large that is in percent.
    pub(super) share: Option<(Version, f64)>,
    pub(super) diverted: u64,
    /// As [`Reason::ALL`].
    pub(super) refused: [u64; Reason::ALL.len()],
    pub(super) replicas: BTreeMap<Key, ReplicaSnapshot>,
}

/// One replica and version.
#[derive(Debug, Default)]
pub(super) struct ReplicaSnapshot {
    /// Whether the table in force names it.
    pub(super) is_upstream: bool,
    pub(super) in_flight: u32,
    pub(super) retries: u64,
    pub(super) ejections: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// Those that have occurred.
    pub(super) classes: [Option<Box<ClassSnapshot>>; CLASSES.len()],
}

/// One status class.
#[derive(Debug, Default)]
pub(super) struct ClassSnapshot {
    pub(super) duration: HistogramSum,
    pub(super) first_byte: HistogramSum,
}

impl ServiceSnapshot {
    /// Reads a service; `in_flight` counts what earlier workers still have in flight as well.
    pub(crate) fn of(service: &Service, in_flight: &[(ReplicaId, u32)]) -> Self {
        let mut snapshot = Self {
            name: service.name().to_string(),
            connections: service.connections.count(),
            queue_depth: service.line.len(),
            share: service.share(),
            ..Self::default()
        };
        let mut versions: BTreeMap<ReplicaId, Version> = BTreeMap::new();
        for (replica_id, version) in service.upstreams() {
            versions.insert(replica_id, version);
            let replica = snapshot.replicas.entry(Some((replica_id, version)));
            replica.or_default().is_upstream = true;
        }
        service.metrics.read(&mut snapshot);
        for (replica_id, version) in snapshot.replicas.keys().flatten() {
            // Of a replica that left the table, the version it had last.
            if !snapshot.is_upstream(*replica_id, versions.get(replica_id)) {
                let known = versions.entry(*replica_id).or_default();
                *known = (*known).max(*version);
            }
        }
        for (replica_id, count) in in_flight {
            let version = versions.get(replica_id).copied().unwrap_or_default();
            let replica = snapshot.replicas.entry(Some((*replica_id, version)));
            replica.or_default().in_flight = *count;
        }
        snapshot
    }

    fn is_upstream(&self, replica_id: ReplicaId, version: Option<&Version>) -> bool {
        version
            .and_then(|version| self.replicas.get(&Some((replica_id, *version))))
            .is_some_and(|replica| replica.is_upstream)
    }

    pub(super) fn add_service(&mut self, cell: &ServiceCell) {
        self.queue_wait.add(&cell.queue_wait);
        self.diverted += cell.diverted.get();
        for (sum, count) in self.refused.iter_mut().zip(&cell.refused) {
            *sum += count.get();
        }
    }
}

impl ReplicaSnapshot {
    pub(super) fn add(&mut self, cell: &ReplicaCell) {
        self.retries += cell.retries.get();
        self.bytes_in = self.bytes_in.wrapping_add(cell.bytes_in.get());
        self.bytes_out = self.bytes_out.wrapping_add(cell.bytes_out.get());
        for (sum, class) in self.classes.iter_mut().zip(&cell.classes) {
            if let Some(class) = class.get() {
                let sum = sum.get_or_insert_default();
                sum.duration.add(&class.duration);
                sum.first_byte.add(&class.first_byte);
            }
        }
    }
}
