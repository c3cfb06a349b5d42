//! What the services tell Prometheus.

use std::sync::Arc;

use super::Registry;
use crate::clock;
use crate::metrics::ServiceSnapshot;
use crate::routing::Service;

impl Registry {
    /// Everything there is to say of each service, for Prometheus.
    pub(in crate::worker) fn snapshots(&self) -> Vec<ServiceSnapshot> {
        let now = clock::now();
        let snapshot = |service: &Arc<Service>| {
            let (_, in_flight) = self.in_flight(service);
            let mut snapshot = ServiceSnapshot::of(service, &in_flight);
            let entry = self.entries.get(&**service.name());
            snapshot.certificate_expiry = entry.and_then(|entry| entry.tls.seconds_left(now));
            snapshot
        };
        self.services().map(snapshot).collect()
    }

    /// Forgets the metrics of replicas that are gone and have not had a request for long.
    pub(in crate::worker) fn forget_idle_metrics(&self) {
        let now = clock::monotonic_micros();
        for service in self.services() {
            service.forget_idle_metrics(now);
        }
    }
}
