//! What the proxy counts of the two sides of a canary: requests, failures, and how long they took. Plain data that adds
//! up; what may be concluded from it is `analysis`'s.
//!
//! The proxy tells counts that only grow ([`CanaryCounts`]), so that nothing is lost or counted twice when a report is; what
//! both sides did in the same span of time ([`CanaryFigures`]) is the difference of two of them.

mod histogram;

use serde::{Deserialize, Serialize};

pub use self::histogram::{BUCKETS, Histogram, bucket_of};

use crate::routing::Version;
use crate::time::Timestamp;

/// What the proxy has counted of one service. The counts only grow, until a proxy begins anew.
///
/// Requests are counted when they end, if they began under the split that is in force. (Of requests that began before it
/// one side would have more: what ends at once would look more frequent on the side that has just got more traffic.) Those
/// that asked for the new version by header or cookie are left out: they are somebody's tests, not a sample of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CanaryCounts {
    /// When the proxy began to count. Another instant than before: all counts have begun anew.
    pub counting_since: Timestamp,
    /// Each version that has had requests, in ascending order.
    pub versions: Vec<(Version, Figures)>,
}

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
    /// Requests that were given to them and ended. One that failed at one replica and was given to another counts for
    /// both.
    pub requests: u64,
    /// Those of them that failed: answered with 5xx, broken off, not answered, or given to another replica.
    pub errors: u64,
    /// How long the answered ones took, but for those answered with 5xx: from the request's head to the end of the answer.
    pub latency: Histogram,
    /// How long the head of the answer took.
    pub time_to_first_byte: Histogram,
}

impl CanaryCounts {
    /// What happened since `earlier`, for a canary of `version`. Where the counts have begun anew since, all they have is
    /// new; the same goes for counts that went down, which cannot be.
    #[must_use]
    pub fn since(&self, earlier: &Self, version: Version) -> CanaryFigures {
        let mut figures = CanaryFigures {
            version,
            ..CanaryFigures::default()
        };
        let is_same = earlier.counting_since == self.counting_since;
        for (number, counts) in &self.versions {
            let known = earlier.versions.iter().find(|(known, _)| known == number);
            let known = known.filter(|_| is_same).map(|(_, known)| known);
            let side = if *number == version {
                &mut figures.new
            } else {
                &mut figures.old
            };
            side.add(&counts.since(known));
        }
        figures
    }
}

impl CanaryFigures {
    /// Adds what happened in another span of time.
    pub fn add(&mut self, other: &Self) {
        self.new.add(&other.new);
        self.old.add(&other.old);
    }

    /// Whether both sides had requests, so that they can be compared.
    #[must_use]
    pub fn is_comparable(&self) -> bool {
        self.new.requests > 0 && self.old.requests > 0
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

    /// The share of its requests that failed; 0 where there was none.
    #[must_use]
    pub fn error_share(&self) -> f64 {
        self.errors as f64 / self.requests.max(1) as f64
    }

    fn since(&self, known: Option<&Self>) -> Self {
        let known =
            known.filter(|known| known.requests <= self.requests && known.errors <= self.errors);
        let Some(known) = known else {
            return self.clone();
        };
        Self {
            requests: self.requests - known.requests,
            errors: self.errors - known.errors,
            latency: self.latency.since(&known.latency),
            time_to_first_byte: self.time_to_first_byte.since(&known.time_to_first_byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(requests: u64, errors: u64, micros: u64) -> Figures {
        let mut figures = Figures {
            requests,
            errors,
            ..Figures::default()
        };
        figures.latency.count_micros(micros, requests);
        figures
    }

    fn counts(since: i64, versions: &[(Version, Figures)]) -> CanaryCounts {
        CanaryCounts {
            counting_since: Timestamp(since),
            versions: versions.to_vec(),
        }
    }

    #[test]
    fn what_is_new_is_told_side_by_side() {
        let before = counts(7, &[(1, figures(10, 1, 500)), (3, figures(2, 0, 500))]);
        let after = counts(
            7,
            &[
                (1, figures(15, 1, 500)),
                (2, figures(4, 4, 500)),
                (3, figures(3, 1, 500)),
            ],
        );
        let new = after.since(&before, 3);
        assert_eq!((new.new.requests, new.new.errors), (1, 1));
        assert_eq!((new.old.requests, new.old.errors), (9, 4));
        assert_eq!(new.old.latency.count(), 9);
        assert!(new.is_comparable());
        assert!(!before.since(&before, 3).is_comparable());
    }

    #[test]
    fn a_proxy_that_began_anew_has_counted_only_what_is_new() {
        let before = counts(7, &[(1, figures(10, 1, 500))]);
        let anew = counts(8, &[(1, figures(12, 0, 500))]);
        assert_eq!(anew.since(&before, 2).old.requests, 12);
        let impossible = counts(7, &[(1, figures(3, 0, 500))]);
        assert_eq!(impossible.since(&before, 2).old.requests, 3);
    }
}
