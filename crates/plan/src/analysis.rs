//! Whether a canary is as good as what it is to replace: new against old over the same minutes.
//!
//! [`Evidence`] gathers what the proxy counts; [`judge`] says what follows from it. Both are pure, and both may be asked
//! at any moment, as often as one likes: every test here is *always valid*.
//!
//! # Why looking often does no harm
//!
//! A test that is right in 95 of 100 cases when it is asked once is wrong far more often when it is asked every second
//! until it says what one waits for. So no p-value is worked out. Each test plays a game that is fair, or worse, as long
//! as the new version is good enough: it starts with a stake of 1 and multiplies it by a factor for each request, whose
//! expectation is at most 1. By Ville's inequality (1939) such a stake *ever* reaches 1/α with a probability of at most α,
//! whenever and however often one looks (Shafer, "Testing by betting", 2021; Waudby-Smith and Ramdas, "Estimating means of
//! bounded random variables by betting", 2024). No count is too small for that: the factors are exact, no normal curve
//! stands in for them, and one failed request of two simply does not multiply a stake by much. The games are in
//! `bets.rs`.
//!
//! # What is compared
//!
//! - The share of failed requests, period by period ([`PERIOD_SECONDS`]): the new version is compared only with what the
//!   old one did in the same seconds. So it may get another share of the traffic, and the day may turn bad for both (a
//!   database that fails), without either being held against it.
//! - Median and 95th percentile of the latency and of the time to the first byte, within one step of the canary: while the
//!   shares of the traffic stand, both sides see the same mixture of hours. A quantile of the new version is too long when
//!   its lower confidence bound is above the allowed multiple of the upper one of the old.
//!
//! # The level
//!
//! `confidence` 0.95 is an α of 0.05 for the canary as a whole: that is the chance to undo a version which is no worse
//! than allowed in any respect. Errors have all of α where nothing else is asked, else half; the quantiles share the rest
//! evenly; of each share step *i* has 1/(i(i+1)), which sums to 1 however many steps there are.
//!
//! # When it is good
//!
//! Nothing shows a version to be harmless. It is promoted when nothing speaks against it that could have: both sides have
//! answered `min_requests` (and never fewer than [`LEAST_REQUESTS`]), and what was measured is within what is allowed. A
//! version that fails one request in ten would have been seen to fail by then with a probability of 95 %.
//!
//! # How soon a bad version is caught
//!
//! Requests that the new version has had by then in 95 of 100 simulated canaries (`tests.rs`), at a confidence of 0.95; the
//! old one fails 1 %, and 1 % more is allowed.
//!
//! | the new version | weight 5 % | weight 50 % |
//! |---|---|---|
//! | fails all requests | 16 | |
//! | fails 30 % | 32 | 81 |
//! | fails 10 % | 183 | 314 |
//! | takes 3 times as long, where 1.5 times is allowed | 190 | 413 |

//! # Example
//!
//! ```
//! use plan::analysis::{Evidence, Verdict, judge};
//! use plan::figures::{CanaryFigures, Figures};
//! use plan::{Span, Timestamp};
//!
//! let analysis = spec::update::Analysis::default();
//! // When the canary begins; `next_step` whenever its share of the traffic changes.
//! let mut evidence = Evidence::new(2, analysis.max_error_increase);
//! let mut now = Timestamp(0);
//! let figures = |requests, errors| Figures { requests, errors, ..Figures::default() };
//! // With each event of figures; `judge` at any time.
//! for _ in 0..3 {
//!     let span = CanaryFigures { version: 2, new: figures(20, 9), old: figures(380, 2) };
//!     evidence.take(&span, now);
//!     now = now + Span::from_seconds(10.0);
//! }
//! assert!(matches!(judge(&evidence, &analysis), Verdict::Undo { .. }));
//! ```

mod bets;
mod evidence;
mod quantile;

use serde::{Deserialize, Serialize};
use spec::update::Analysis;

pub use self::evidence::{Evidence, PERIOD_SECONDS};

use self::quantile::Quantile;
use crate::figures::{Figures, Histogram};

/// Requests that each side must have answered before a version is promoted, whatever the settings say.
pub const LEAST_REQUESTS: u64 = 30;
/// Failed requests without which no version is undone for its errors. A test takes failures for independent of each other,
/// which two requests of one client may not be.
pub const LEAST_ERRORS: u64 = 3;

/// What follows from the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// Nothing speaks against the new version that could have by now.
    Promote,
    /// It is worse than allowed.
    Undo {
        /// In what respect, with the figures, for a person.
        reason: String,
    },
    /// Not known yet.
    Wait {
        /// What is missing, for a person.
        reason: String,
    },
}

/// A respect in which versions are compared by how long something takes.
struct Respect {
    name: &'static str,
    /// How many times as long it may take.
    limit: f64,
    histogram: fn(&Figures) -> &Histogram,
}

/// Says what follows from the evidence; always valid, so to be asked at any time.
#[must_use]
pub fn judge(evidence: &Evidence, analysis: &Analysis) -> Verdict {
    let level = Level::of(analysis);
    let is_certain = evidence.error_evidence(analysis.max_error_increase) >= -level.errors.ln();
    if is_certain && evidence.new_in_all().errors >= LEAST_ERRORS {
        let reason = errors_reason(evidence, analysis);
        return Verdict::Undo { reason };
    }
    let (new, old) = (evidence.new_in_step(), evidence.old_in_step());
    let alpha = level.quantile / step_share(evidence.step());
    let mut doubt = None;
    for respect in respects(analysis) {
        let limit = respect.limit;
        let (new, old) = ((respect.histogram)(new), (respect.histogram)(old));
        for quantile in [Quantile::MEDIAN, Quantile::P95] {
            if let Some(excess) = quantile.excess(new, old, limit, alpha) {
                let reason = excess.reason(respect.name, quantile, limit, true);
                return Verdict::Undo { reason };
            }
            if let Some(excess) = quantile.suspicion(new, old, limit) {
                doubt.get_or_insert_with(|| excess.reason(respect.name, quantile, limit, false));
            }
        }
    }
    promote(evidence, analysis, doubt)
}

/// Whether there is enough to promote, and nothing that looks bad.
fn promote(evidence: &Evidence, analysis: &Analysis, doubt: Option<String>) -> Verdict {
    let least = analysis.min_requests.max(LEAST_REQUESTS);
    for (name, sample) in [
        ("new", evidence.new_in_step()),
        ("old", evidence.old_in_step()),
    ] {
        if sample.requests < least {
            let reason = format!(
                "the {name} version has answered {} of the {least} requests needed to compare",
                sample.requests
            );
            return Verdict::Wait { reason };
        }
    }
    let (new, old) = (evidence.new_in_all(), evidence.old_in_all());
    if new.error_share() - old.error_share() > analysis.max_error_increase {
        let reason = format!("{}; not yet certain", errors_reason(evidence, analysis));
        return Verdict::Wait { reason };
    }
    match doubt {
        Some(doubt) => Verdict::Wait {
            reason: format!("{doubt}; not yet certain"),
        },
        None => Verdict::Promote,
    }
}

/// Those that are asked for.
fn respects(analysis: &Analysis) -> impl Iterator<Item = Respect> {
    let latency = analysis.max_latency_ratio.map(|limit| Respect {
        name: "latency",
        limit,
        histogram: |sample| &sample.latency,
    });
    let first_byte = analysis.max_ttfb_ratio.map(|limit| Respect {
        name: "time to first byte",
        limit,
        histogram: |sample| &sample.time_to_first_byte,
    });
    [latency, first_byte].into_iter().flatten()
}

/// How the chance of a false alarm is spent.
struct Level {
    errors: f64,
    /// For each quantile, over all steps.
    quantile: f64,
}

impl Level {
    fn of(analysis: &Analysis) -> Self {
        // Nothing is ever certain, and the toss of a coin is no test.
        let alpha = (1.0 - analysis.confidence).clamp(1e-9, 0.5);
        let alpha = if alpha.is_nan() { 1e-9 } else { alpha };
        match respects(analysis).count() {
            0 => Self {
                errors: alpha,
                quantile: 0.0,
            },
            count => Self {
                errors: alpha / 2.0,
                quantile: alpha / (4.0 * count as f64),
            },
        }
    }
}

/// Step `step` (from 0) has one part of so many: 1/2 + 1/6 + 1/12 + … = 1.
fn step_share(step: u32) -> f64 {
    let number = f64::from(step) + 1.0;
    number * (number + 1.0)
}

fn errors_reason(evidence: &Evidence, analysis: &Analysis) -> String {
    let (new, old) = (evidence.new_in_all(), evidence.old_in_all());
    format!(
        "the new version fails {} and the old one {} in the same time; {} more is allowed",
        share(new),
        share(old),
        percent(analysis.max_error_increase)
    )
}

fn share(sample: &Figures) -> String {
    format!(
        "{} of its requests ({} of {})",
        percent(sample.error_share()),
        sample.errors,
        sample.requests
    )
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = if percent >= 10.0 || percent == 0.0 {
        0
    } else {
        1
    };
    format!("{percent:.digits$} %")
}

#[cfg(test)]
mod tests;
