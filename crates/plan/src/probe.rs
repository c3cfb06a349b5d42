//! Which replicas are to be probed, how and how often. A pure view of the state; probing changes
//! nothing, so it is no action.

use std::net::SocketAddr;

use spec::ReadinessProbe;

use crate::routing::{ReplicaId, Version};
use crate::state::{ServicePhase, ServiceState};
use crate::status::ReplicaStatus;

/// Seconds between probes of a replica that is not ready: ready means routed within about a second.
pub const EAGER_PROBE_INTERVAL_SECONDS: f64 = 1.0;

/// One replica to probe.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeTarget {
    /// The replica.
    pub replica: ReplicaId,
    /// The version whose probe this is; not the replica's own while it is being adopted by a new
    /// version.
    pub version: Version,
    /// Where.
    pub address: SocketAddr,
    /// How.
    pub probe: ReadinessProbe,
    /// Seconds from one probe's start to the next one's, and no overlap.
    pub interval_seconds: f64,
}

/// Every probe that is due from time to time.
#[must_use]
pub fn targets(state: &ServiceState) -> Vec<ProbeTarget> {
    if state.phase != ServicePhase::Running {
        return Vec::new();
    }
    let mut targets = Vec::new();
    for replica in state.replicas.values() {
        let (Some(address), Some(version)) = (replica.endpoint, state.version(replica.version))
        else {
            continue;
        };
        let probe = &version.spec.readiness_probe;
        let interval_seconds = match replica.status {
            ReplicaStatus::Starting | ReplicaStatus::NotReady => {
                EAGER_PROBE_INTERVAL_SECONDS.min(probe.endpoint_probe_interval_seconds)
            }
            ReplicaStatus::Ready => probe.endpoint_probe_interval_seconds,
            _ => continue,
        };
        targets.push(ProbeTarget {
            replica: replica.id,
            version: replica.version,
            address,
            probe: probe.clone(),
            interval_seconds,
        });
        let adopting = state
            .rollout_in_progress()
            .filter(|r| r.adopting.contains_key(&replica.id));
        if let Some(version) = adopting.and_then(|rollout| state.version(rollout.version)) {
            targets.push(ProbeTarget {
                replica: replica.id,
                version: version.version,
                address,
                probe: version.spec.readiness_probe.clone(),
                interval_seconds: EAGER_PROBE_INTERVAL_SECONDS,
            });
        }
    }
    targets
}

/// `GET /health`. Without the query, which may hold a secret.
#[must_use]
pub fn sentence(probe: &ReadinessProbe) -> String {
    let method = if probe.post_data.is_some() {
        "POST"
    } else {
        "GET"
    };
    let path = probe.path.split('?').next().unwrap_or_default();
    format!("{method} {path}")
}
