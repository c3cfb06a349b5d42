//! What the proxy counts of each version while it splits the traffic.

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use crate::routing::{Generation, Version};
use crate::time::Timestamp;

/// Counts of one service. They only grow, until a proxy begins anew.
///
/// Requests are counted when they end, if they began under the split that is in force. (Of requests that began before it
/// one side would have more: what ends at once would look more frequent on the side that has just got more traffic.) Those
/// that asked for the new version by header or cookie are left out: they are somebody's tests, not a sample of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryFigures {
    /// When the proxy began to count. Another instant than before: all counts have begun anew.
    pub counting_since: Timestamp,
    /// The table in force when the counts were read.
    pub generation: Generation,
    /// Each version that has had requests, in ascending order.
    pub versions: Vec<VersionFigures>,
}

/// Counts of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionFigures {
    /// The version.
    pub version: Version,
    /// Requests given to it. One that failed there and was given to another replica counts for both.
    pub requests: u64,
    /// Those of them that failed: answered with a status of 5xx, not answered at all, an answer that broke off, or given
    /// to another replica.
    pub errors: u64,
    /// How long the answered ones took, but for those with a status of 5xx.
    pub latency: Histogram,
    /// Until the head of their answers.
    pub first_byte: Histogram,
}
