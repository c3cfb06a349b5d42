//! `Evidence`: what is known of a canary, gathered from counts that only grow.

use serde::{Deserialize, Serialize};

use super::bets::{self, Counts, TABLE};
use super::figures::{CanaryFigures, VersionFigures};
use super::histogram::Histogram;
use crate::routing::Version;
use crate::time::{Span, Timestamp};

/// Versions are compared period by period. A period lasts so many seconds, or until the new version has had
/// [`PERIOD_REQUESTS`], and until both have had some. What ends it has nothing to do with how the requests went, and must
/// not.
pub const PERIOD_SECONDS: f64 = 10.0;
/// Requests of the new version that end a period early.
const PERIOD_REQUESTS: u64 = 20;
/// A period in which one side had nothing for so long compares nothing and is forgotten.
const LONGEST_PERIOD_SECONDS: f64 = 600.0;
/// Stakes are kept in nanonats, rounded down: whole numbers are stored and read again as they were.
const NANONATS: f64 = 1e9;

/// What one side did in a length of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Requests given to it.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// How long the answered ones took, in microseconds.
    pub latency: Histogram,
    /// Until the heads of their answers.
    pub first_byte: Histogram,
}

/// Both sides over the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pair {
    new: Sample,
    old: Sample,
}

/// See the module above. A part of the planner's state: small, whatever time a canary takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    version: Version,
    /// Counts as they were reported last; the differences to them are new.
    seen: Option<CanaryFigures>,
    /// The period at hand and when it began.
    period: Pair,
    period_since: Option<Timestamp>,
    /// Number of the step, from 0.
    step: u32,
    /// Since the step began.
    in_step: Pair,
    /// Since the canary began, without its durations.
    in_all: Pair,
    /// For the increase that the stakes below belong to.
    increase_nanos: i64,
    /// Logarithms of the stakes.
    stakes: Vec<i64>,
}

impl Evidence {
    /// Nothing is known of this version yet. `max_error_increase`: the increase of the share of failed requests that is
    /// allowed, as a share.
    #[must_use]
    pub fn new(version: Version, max_error_increase: f64) -> Self {
        Self {
            version,
            seen: None,
            period: Pair::default(),
            period_since: None,
            step: 0,
            in_step: Pair::default(),
            in_all: Pair::default(),
            increase_nanos: nanos(increase_of(max_error_increase)),
            stakes: vec![0; TABLE],
        }
    }

    /// The version it is about.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Takes what the proxy has counted by `now`. The first report only says where the counts begin, unless the proxy
    /// began to count after one that was known.
    pub fn take(&mut self, figures: &CanaryFigures, now: Timestamp) {
        if let Some(seen) = &self.seen {
            let is_same = seen.counting_since == figures.counting_since;
            let before = if is_same { &seen.versions[..] } else { &[] };
            for counts in &figures.versions {
                let known = before.iter().find(|known| known.version == counts.version);
                let new = since(counts, known);
                let side = if counts.version == self.version {
                    &mut self.period.new
                } else {
                    &mut self.period.old
                };
                side.merge(&new);
            }
        }
        self.seen = Some(figures.clone());
        let since = *self.period_since.get_or_insert(now);
        let has_lasted = |seconds| now - since >= Span::from_seconds(seconds);
        let is_over = self.period.is_comparable()
            && (has_lasted(PERIOD_SECONDS) || self.period.new.requests >= PERIOD_REQUESTS);
        // A clock that was set back ends the period, too.
        if is_over || now < since || has_lasted(LONGEST_PERIOD_SECONDS) {
            self.end_period();
            self.period_since = Some(now);
        }
    }

    /// The shares of the traffic change: what durations are compared with begins anew.
    pub fn next_step(&mut self) {
        self.end_period();
        self.period_since = None;
        self.step = self.step.saturating_add(1);
        self.in_step = Pair::default();
    }

    fn end_period(&mut self) {
        let period = std::mem::take(&mut self.period);
        if !period.is_comparable() {
            return;
        }
        let increase = self.increase_nanos as f64 / NANONATS;
        let gains = bets::period(period.new.counts(), period.old.counts(), increase);
        for (stake, gain) in self.stakes.iter_mut().zip(gains) {
            *stake = stake.saturating_add(nanos(gain));
        }
        for (sum, sample) in [
            (&mut self.in_all.new, &period.new),
            (&mut self.in_all.old, &period.old),
        ] {
            sum.requests = sum.requests.saturating_add(sample.requests);
            sum.errors = sum.errors.saturating_add(sample.errors);
        }
        self.in_step.new.merge(&period.new);
        self.in_step.old.merge(&period.old);
    }

    /// How certain it is that the new version fails more often than allowed: the logarithm of a stake. Of an increase
    /// that is not the one bet on nothing is known.
    pub(super) fn error_evidence(&self, max_error_increase: f64) -> f64 {
        if nanos(increase_of(max_error_increase)) != self.increase_nanos {
            return f64::NEG_INFINITY;
        }
        bets::mean(self.stakes.iter().map(|stake| *stake as f64 / NANONATS))
    }

    /// Number of the step, from 0.
    pub(super) fn step(&self) -> u32 {
        self.step
    }

    /// What the new version did in this step, in all periods that have ended and in which both sides had requests.
    #[must_use]
    pub fn new_in_step(&self) -> &Sample {
        &self.in_step.new
    }

    /// What the others did in the same time.
    #[must_use]
    pub fn old_in_step(&self) -> &Sample {
        &self.in_step.old
    }

    /// What the new version did since the canary began; durations are not kept for so long.
    #[must_use]
    pub fn new_in_all(&self) -> &Sample {
        &self.in_all.new
    }

    /// What the others did in the same time.
    #[must_use]
    pub fn old_in_all(&self) -> &Sample {
        &self.in_all.old
    }
}

impl Pair {
    fn is_comparable(&self) -> bool {
        self.new.requests > 0 && self.old.requests > 0
    }
}

impl Sample {
    /// The share of its requests that failed; 0 where there was none.
    #[must_use]
    pub fn error_share(&self) -> f64 {
        self.errors as f64 / self.requests.max(1) as f64
    }

    fn counts(&self) -> Counts {
        Counts {
            requests: self.requests,
            errors: self.errors.min(self.requests),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.latency.merge(&other.latency);
        self.first_byte.merge(&other.first_byte);
    }
}

/// What a version did since it was `known` to have done that. Counts that went down began anew.
fn since(counts: &VersionFigures, known: Option<&VersionFigures>) -> Sample {
    let nothing = VersionFigures::default();
    let known = known
        .filter(|known| known.requests <= counts.requests && known.errors <= counts.errors)
        .unwrap_or(&nothing);
    Sample {
        requests: counts.requests - known.requests,
        errors: counts.errors - known.errors,
        latency: counts.latency.since(&known.latency),
        first_byte: counts.first_byte.since(&known.first_byte),
    }
}

/// An increase that can be bet on: a share below 1.
fn increase_of(max_error_increase: f64) -> f64 {
    if max_error_increase.is_nan() {
        return 0.0;
    }
    max_error_increase.clamp(0.0, 1.0)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates, which is what is wanted"
)]
fn nanos(number: f64) -> i64 {
    (number * NANONATS).floor() as i64
}
