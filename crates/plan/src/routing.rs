//! What the planner tells the proxy and what it hears back: routing tables with generations, and
//! reports.
//!
//! A table is complete: it replaces the one before it in one step, for all worker threads at once.
//! Its generation only grows. The proxy acknowledges a generation once no new request can be given
//! to a replica that the table does not name; requests already given away go on and stay in the
//! in-flight counts until they end. (Promise 1, "route before stop".)
//!
//! On the wire (a Unix socket) each value is one line of JSON.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use spec::{CanaryMatch, LoadBalancer, LoadBalancingPolicy, Tls};

use crate::figures::CanaryCounts;
use crate::time::Timestamp;

/// Number of a replica, from 1, never used twice within a service.
pub type ReplicaId = u32;
/// Number of a version, from 1.
pub type Version = u32;
/// Number of a routing table of one service; grows by one with each table.
pub type Generation = u64;

/// Everything the proxy must know of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoutingTable {
    /// Name of the service.
    pub service: String,
    /// Number of this table.
    pub generation: Generation,
    /// Address and port of the endpoint.
    pub listen: SocketAddr,
    /// How a replica is chosen.
    pub policy: LoadBalancingPolicy,
    /// Timeouts, limits, queue and affinity.
    #[serde(default)]
    pub load_balancer: LoadBalancer,
    /// TLS at the endpoint; the paths are absolute. `None` is plain HTTP.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Who may use the endpoint. `None`: everyone who reaches it.
    #[serde(default)]
    pub api_keys: Option<Vec<ApiKeyHash>>,
    /// The replicas that may be given requests.
    pub upstreams: Vec<Upstream>,
    /// How requests are shared out between one version and the others. `None`: all upstreams alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
}

/// A share of requests goes to upstreams of one version, all others to upstreams of the other
/// versions. Where the side chosen has no upstream, the other side is given the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// The version.
    pub version: Version,
    /// Its share, in percent, 0 to 100.
    pub weight_percent: f64,
    /// Requests with this header go to the version whatever the weight.
    #[serde(default)]
    pub header: Option<CanaryMatch>,
    /// Requests with this cookie go to the version whatever the weight.
    #[serde(default)]
    pub cookie: Option<CanaryMatch>,
}

/// BLAKE3 of an API key, in lower-case hexadecimal (64 digits). The key itself is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApiKeyHash(pub String);

/// One replica in a routing table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// The replica.
    pub replica_id: ReplicaId,
    /// Its version.
    pub version: Version,
    /// Where it answers.
    pub address: SocketAddr,
    /// Requests per second it is meant for, for `instance_aware_least_load`; 1 where that says
    /// nothing.
    pub weight: f64,
    /// When it became ready, for the slow start. `None`: long ago.
    #[serde(default)]
    pub ready_since: Option<Timestamp>,
}

/// From the controller to the proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
#[expect(
    clippy::large_enum_variant,
    reason = "few are alive at a time, and each is short-lived"
)]
pub enum ProxyCommand {
    /// Put this table in force. A table whose generation is not newer than the one in force is
    /// acknowledged again and changes nothing.
    Apply {
        /// The table.
        table: RoutingTable,
    },
    /// A probe succeeded at a replica whose failures the proxy has reported; if it gives the replica no requests for now,
    /// it may again. Not answered.
    ProbeSucceeded {
        /// Name of the service.
        service: String,
        /// The replica.
        replica_id: ReplicaId,
    },
    /// Close the endpoint of a service and forget it. Requests in flight go on.
    Withdraw {
        /// Name of the service.
        service: String,
    },
}

/// From the proxy to the controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "report")]
pub enum ProxyReport {
    /// First report on each connection: what is in force.
    Hello {
        /// Process id of the proxy.
        pid: u32,
        /// The services served and the generation of each one's table.
        tables: Vec<(String, Generation)>,
    },
    /// The table of this generation is in force for every worker, and the endpoint listens.
    Acknowledged {
        /// Name of the service.
        service: String,
        /// Generation in force.
        generation: Generation,
        /// Requests in flight per replica, counted after the table came in force: replicas in the
        /// table, and those that left it and still have some. (So that an idle replica can be
        /// stopped at once.)
        in_flight: Vec<(ReplicaId, u32)>,
    },
    /// The table could not be put in force (the port is taken, say); the one before stays in force.
    Refused {
        /// Name of the service.
        service: String,
        /// Generation refused.
        generation: Generation,
        /// Why, for a person.
        reason: String,
    },
    /// The endpoint of the service is closed and forgotten.
    Withdrawn {
        /// Name of the service.
        service: String,
    },
    /// Sent each second for a service that had traffic or whose counts changed, and at once when
    /// the last request of a replica that left the table has ended.
    Traffic {
        /// Name of the service.
        service: String,
        /// Generation in force.
        generation: Generation,
        /// Requests in flight per replica; replicas in the table, and those that left it and still
        /// have some.
        in_flight: Vec<(ReplicaId, u32)>,
        /// Requests that arrived since the last report of this service.
        arrivals: Vec<Arrivals>,
    },
    /// What was counted of each version: sent each second while the traffic is split and the counts change.
    Canary {
        /// Name of the service.
        service: String,
        /// The counts.
        counts: CanaryCounts,
    },
    /// A connection to a replica failed; the controller may want to probe it at once.
    UpstreamFailed {
        /// Name of the service.
        service: String,
        /// The replica.
        replica_id: ReplicaId,
        /// What happened, for a person.
        error: String,
    },
}

/// Requests that arrived at one instant, or close enough to count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrivals {
    /// When.
    pub at: Timestamp,
    /// How many.
    pub count: u32,
}

#[cfg(test)]
mod tests;
