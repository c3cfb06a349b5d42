//! `Evidence`: what is known of a canary, gathered span by span.

use serde::{Deserialize, Serialize};

use super::bets::{self, Counts, TABLE};
use crate::figures::{CanaryFigures, Figures};
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

/// See the module above. A part of the planner's state: small, whatever time a canary takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    version: Version,
    /// The period at hand and when it began.
    period: CanaryFigures,
    period_since: Option<Timestamp>,
    /// Number of the step, from 0.
    step: u32,
    /// Since the step began.
    in_step: CanaryFigures,
    /// Since the canary began, without its durations.
    in_all: CanaryFigures,
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
            period: CanaryFigures::default(),
            period_since: None,
            step: 0,
            in_step: CanaryFigures::default(),
            in_all: CanaryFigures::default(),
            increase_nanos: nanos(increase_of(max_error_increase)),
            stakes: vec![0; TABLE],
        }
    }

    /// The version it is about.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Takes what both sides did up to `now`, since the last time. Figures of another version are none of this one's.
    pub fn take(&mut self, figures: &CanaryFigures, now: Timestamp) {
        if figures.version != self.version {
            return;
        }
        self.period.add(figures);
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
        self.in_step = CanaryFigures::default();
    }

    fn end_period(&mut self) {
        let period = std::mem::take(&mut self.period);
        if !period.is_comparable() {
            return;
        }
        let increase = self.increase_nanos as f64 / NANONATS;
        let gains = bets::period(counts(&period.new), counts(&period.old), increase);
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
        self.in_step.add(&period);
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
    pub fn new_in_step(&self) -> &Figures {
        &self.in_step.new
    }

    /// What the others did in the same time.
    #[must_use]
    pub fn old_in_step(&self) -> &Figures {
        &self.in_step.old
    }

    /// What the new version did since the canary began; durations are not kept for so long.
    #[must_use]
    pub fn new_in_all(&self) -> &Figures {
        &self.in_all.new
    }

    /// What the others did in the same time.
    #[must_use]
    pub fn old_in_all(&self) -> &Figures {
        &self.in_all.old
    }
}

fn counts(figures: &Figures) -> Counts {
    Counts {
        requests: figures.requests,
        errors: figures.errors.min(figures.requests),
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
