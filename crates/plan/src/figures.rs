//! What the proxy counts of the two sides of a canary: requests, failures, and how long they took. Plain data that adds
//! up; what may be concluded from it is `analysis`'s.

use serde::{Deserialize, Serialize};

use crate::routing::Version;

/// What both sides of a canary did in the same span of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CanaryFigures {
    /// The version that is tried.
    pub version: Version,
    /// What its replicas did.
    pub new: Figures,
    /// What all others did.
    pub old: Figures,
}

/// What the replicas of one side did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Requests that ended.
    pub requests: u64,
    /// Those of them that failed by the replica's fault: answered with 5xx, cut off, or not answered.
    pub errors: u64,
    /// How long they took, from the request's head to the end of the answer.
    pub latency: Histogram,
    /// How long the first byte of the answer took.
    pub time_to_first_byte: Histogram,
}

/// Counts by size: each bucket's upper bound in seconds, ascending, and how many were at most that and more than the
/// bound before. What is beyond the last bound stands in a bucket with the bound `f64::MAX`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    /// The buckets.
    pub buckets: Vec<(f64, u64)>,
}

impl CanaryFigures {
    /// Adds what happened in another span of time.
    pub fn add(&mut self, other: &Self) {
        self.new.add(&other.new);
        self.old.add(&other.old);
    }
}

impl Figures {
    /// Adds what happened in another span of time.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.latency.add(&other.latency);
        self.time_to_first_byte.add(&other.time_to_first_byte);
    }
}

impl Histogram {
    /// Adds other counts; bounds that are not there yet are taken over.
    pub fn add(&mut self, other: &Self) {
        for (bound, count) in &other.buckets {
            let place = self
                .buckets
                .binary_search_by(|(known, _)| known.total_cmp(bound));
            match place {
                Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(*count),
                Err(at) => self.buckets.insert(at, (*bound, *count)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_bucket_by_bucket() {
        let some = |buckets: &[(f64, u64)]| Histogram {
            buckets: buckets.to_vec(),
        };
        let mut sum = some(&[(0.1, 3), (0.5, 1)]);
        sum.add(&some(&[(0.1, 2), (0.2, 4), (f64::MAX, 1)]));
        assert_eq!(sum, some(&[(0.1, 5), (0.2, 4), (0.5, 1), (f64::MAX, 1)]));
        let text = serde_json::to_string(&sum).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), sum);
    }
}
