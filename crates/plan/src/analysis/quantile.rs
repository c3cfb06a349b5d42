//! Bounds of a quantile from the counts of a histogram.
//!
//! The q-quantile is above a bound b exactly when a share of more than 1 − q of all durations is beyond b. So a lower
//! confidence bound is the largest b for which the durations beyond it are certainly more than that ([`bets::is_above`]),
//! and an upper one the smallest for which they are certainly fewer. It is one test per bound: the fewer durations are
//! beyond b, the less certain, so a false bound implies that the test at the quantile itself is wrong.

use super::bets;
use crate::figures::Histogram;

/// Which share of durations is at most as long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quantile {
    share: f64,
    name: &'static str,
}

/// A quantile of both versions, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Excess {
    new: f64,
    old: f64,
}

impl Quantile {
    pub(super) const MEDIAN: Self = Self {
        share: 0.5,
        name: "median",
    };
    pub(super) const P95: Self = Self {
        share: 0.95,
        name: "95th percentile of the",
    };

    /// The measured values, where the new one is above `limit` times the old one with an error of `alpha` at most.
    pub(super) fn excess(
        self,
        new: &Histogram,
        old: &Histogram,
        limit: f64,
        alpha: f64,
    ) -> Option<Excess> {
        let certain = -(alpha / 2.0).ln();
        let least = self.lower_bound(new, certain)?;
        let most = self.upper_bound(old, certain)?;
        is_beyond(least, most, limit).then(|| Excess {
            new: self.measured(new),
            old: self.measured(old),
        })
    }

    /// The measured values, where they are further apart than `limit`, certain or not.
    pub(super) fn suspicion(self, new: &Histogram, old: &Histogram, limit: f64) -> Option<Excess> {
        let excess = Excess {
            new: self.measured(new),
            old: self.measured(old),
        };
        is_beyond(excess.new, excess.old, limit).then_some(excess)
    }

    /// The largest bound that it is certainly above, in seconds.
    fn lower_bound(self, durations: &Histogram, certain: f64) -> Option<f64> {
        let (count, share) = (durations.count(), 1.0 - self.share);
        let bounds = durations.beyond();
        let certain =
            bounds.take_while(|(_, beyond)| bets::is_above(*beyond, count, share) >= certain);
        certain.last().map(|(bound, _)| bound)
    }

    /// The smallest bound that it is certainly below; `None` when that may be anything.
    fn upper_bound(self, durations: &Histogram, certain: f64) -> Option<f64> {
        let (count, share) = (durations.count(), 1.0 - self.share);
        let mut bounds = durations.beyond();
        let bound = bounds.find(|(_, beyond)| bets::is_below(*beyond, count, share) >= certain);
        bound
            .map(|(bound, _)| bound)
            .filter(|bound| *bound < f64::MAX)
    }

    /// The end of the bucket that it lies in; 0 where there is nothing.
    fn measured(self, durations: &Histogram) -> f64 {
        let most = durations.count() as f64 * (1.0 - self.share);
        let bucket = durations
            .beyond()
            .find(|(_, beyond)| *beyond as f64 <= most);
        bucket.map_or(0.0, |(bound, _)| bound)
    }

    pub(super) fn name(self) -> &'static str {
        self.name
    }
}

fn is_beyond(new: f64, old: f64, limit: f64) -> bool {
    old > 0.0 && new > old * limit
}

impl Excess {
    /// A sentence; `is_certain`: or it only looks like it.
    pub(super) fn reason(
        self,
        what: &str,
        quantile: Quantile,
        limit: f64,
        is_certain: bool,
    ) -> String {
        let name = quantile.name();
        let verb = if is_certain { "is" } else { "looks to be" };
        let times = self.new / self.old;
        format!(
            "the {name} {what} of the new version {verb} {} and {} of the old one in the same time, {times:.1} times as \
             long; {limit} times is allowed",
            duration(self.new),
            duration(self.old),
        )
    }
}

fn duration(seconds: f64) -> String {
    if seconds > 1e6 {
        "endless".to_owned()
    } else if seconds >= 10.0 {
        format!("{seconds:.0} s")
    } else if seconds >= 1.0 {
        format!("{seconds:.1} s")
    } else if seconds >= 0.01 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{:.1} ms", seconds * 1e3)
    }
}
