//! What the proxy counts, for Prometheus, and while the traffic is split for the controller (`canary`).
//!
//! # Who writes and who reads
//!
//! Every serving thread counts in cells of its own ([`EndpointMetrics`]), which nobody else writes: a count is a load, an
//! addition and a store. The cells are known to the service as well ([`ServiceMetrics`]); a scrape adds up those of all
//! threads, while they go on counting. What the proxy knows anyway (in flight, waiting, connections) is not counted twice
//! but read when scraped.
//!
//! # Memory
//!
//! One cell per thread, replica and version, with room for two histograms per status class that has occurred: about
//! 350 bytes each. The cells of a replica that left the table go [`KEPT_MICROS`] after its last request, on all threads at
//! once, so that no sum ever goes down.

mod canary;
mod catalogue;
mod cell;
mod count;
mod local;
mod page;
mod reason;
mod server;
mod shared;
mod snapshot;
#[cfg(test)]
mod tests;

use plan::routing::{ReplicaId, Version};

pub(crate) use self::canary::Sampled;
pub(crate) use self::local::{Ended, EndpointMetrics};
pub(crate) use self::page::render;
pub(crate) use self::reason::Reason;
pub(crate) use self::server::{MetricsServer, Scrape};
pub(crate) use self::shared::ServiceMetrics;
pub(crate) use self::snapshot::ServiceSnapshot;

/// How long counts of a replica that left the table are kept after its last request.
const KEPT_MICROS: u64 = 10 * 60 * 1_000_000;

/// A replica as it ran one version; `None`: requests that no replica was given.
pub(crate) type Key = Option<(ReplicaId, Version)>;
