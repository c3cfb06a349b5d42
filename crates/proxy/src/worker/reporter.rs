//! Which reports of traffic are worth sending: those that say something new.

use std::collections::HashMap;
use std::sync::Arc;

use plan::figures::CanaryCounts;
use plan::routing::{Generation, ProxyReport, ReplicaId};

use crate::routing::Service;

/// The generation in force and the requests in flight per replica.
pub(super) type InFlight = (Generation, Vec<(ReplicaId, u32)>);

/// What the present controller was told last, per service.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    told: HashMap<Arc<str>, InFlight>,
    /// Of the split of each service's traffic.
    counted: HashMap<Arc<str>, CanaryCounts>,
}

impl Reporter {
    /// A new controller knows nothing.
    pub(super) fn forget(&mut self) {
        self.told.clear();
        self.counted.clear();
    }

    /// The service is gone and will not be spoken of again.
    pub(super) fn forget_service(&mut self, service: &str) {
        self.told.remove(service);
        self.counted.remove(service);
    }

    /// The counts of each version, if the traffic is split and they have changed since they were told.
    pub(super) fn canary(&mut self, service: &Service) -> Option<ProxyReport> {
        let counts = service.canary_counts()?;
        if self.counted.get(service.name()) == Some(&counts) {
            return None;
        }
        self.counted
            .insert(Arc::clone(service.name()), counts.clone());
        let service = service.name().to_string();
        Some(ProxyReport::Canary { service, counts })
    }

    /// A report if anything in `now` changed or arrived since the last one. The arrivals in it count as reported.
    pub(super) fn traffic(&mut self, service: &Service, now: InFlight) -> Option<ProxyReport> {
        let arrivals = service.take_arrivals();
        if arrivals.is_empty() && self.told.get(service.name()) == Some(&now) {
            return None;
        }
        self.told.insert(Arc::clone(service.name()), now.clone());
        let (generation, in_flight) = now;
        let service = service.name().to_string();
        Some(ProxyReport::Traffic {
            service,
            generation,
            in_flight,
            arrivals,
        })
    }
}
