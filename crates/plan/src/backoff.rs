//! When to try again: a pure function of how often it failed and of a seed. It never sleeps; it
//! names an instant.
//!
//! A replica that lived for a while is replaced at once: its crash is an accident. One that did not
//! is replaced after about a second, the next after about ten, each further one after twice as
//! long, up to five minutes. The jitter is drawn from the seed, so that many services that failed
//! together do not return together, and a replay returns the same instants.

use serde::{Deserialize, Serialize};

use crate::time::{Span, Timestamp};

const FIRST_SECONDS: f64 = 1.0;
const BASE_SECONDS: f64 = 10.0;
const CAP_SECONDS: f64 = 300.0;
/// The delay is spread by this share to both sides.
const JITTER: f64 = 0.2;
/// Failures closer to each other than this are one.
const TOGETHER_SECONDS: f64 = 1.0;
/// A replica that lives this long forgives the failures before it.
pub const FORGIVE_AFTER_SECONDS: f64 = 60.0;

/// Failures in a row, and when the next attempt may be made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    /// Failures in a row.
    pub failures: u32,
    /// No attempt before this instant.
    pub not_before: Option<Timestamp>,
    /// When the last failure was; launches before it forgive nothing.
    pub last_failure_at: Option<Timestamp>,
}

impl Backoff {
    /// Notes the failure at `now` of a replica that lived so long. Replicas that fail together
    /// count as one failure.
    pub fn fail(&mut self, now: Timestamp, lived_seconds: f64, seed: &str) {
        let together = Span::from_seconds(TOGETHER_SECONDS);
        if self
            .last_failure_at
            .is_some_and(|last| now >= last && now - last < together)
        {
            return;
        }
        if lived_seconds >= FORGIVE_AFTER_SECONDS {
            // An accident, with which a launch that fails in the same moment has nothing in common.
            return self.reset();
        }
        self.last_failure_at = Some(now);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + delay(self.failures, seed));
    }

    /// Forgets all failures.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether an attempt may be made at `now`. An instant further away than any delay comes from a
    /// clock that has been set back since, and binds nobody.
    #[must_use]
    pub fn allows(&self, now: Timestamp) -> bool {
        let longest = Span::from_seconds(CAP_SECONDS * (1.0 + JITTER));
        bug!(NoBackoff)
            || self
                .not_before
                .is_none_or(|instant| now >= instant || instant - now > longest)
    }
}

/// How long to wait after the `failures`-th failure in a row.
#[must_use]
pub fn delay(failures: u32, seed: &str) -> Span {
    let seconds = match failures {
        0 => return Span::ZERO,
        1 => FIRST_SECONDS,
        _ => {
            let exponent = i32::try_from((failures - 2).min(16)).unwrap_or(16);
            (BASE_SECONDS * 2f64.powi(exponent)).min(CAP_SECONDS)
        }
    };
    let unit = f64::from(fnv1a(seed, failures)) / f64::from(u32::MAX);
    Span::from_seconds(seconds * (1.0 - JITTER + 2.0 * JITTER * unit))
}

/// FNV-1a over the seed and a counter: small, fixed for ever, and good enough to spread retries.
fn fnv1a(seed: &str, counter: u32) -> u32 {
    let bytes = seed.bytes().chain(counter.to_le_bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    // The low bits of FNV move first; fold the high ones in.
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        assert_eq!(delay(0, "s"), Span::ZERO);
        for (failures, middle) in [
            (1, 1.0),
            (2, 10.0),
            (3, 20.0),
            (4, 40.0),
            (7, 300.0),
            (1000, 300.0),
        ] {
            let seconds = delay(failures, "s").as_seconds();
            assert!(
                (middle * 0.8..=middle * 1.2).contains(&seconds),
                "failure {failures}: {seconds}"
            );
        }
    }

    #[test]
    fn a_long_life_is_followed_by_a_new_one_at_once_and_failures_together_are_one() {
        let mut backoff = Backoff::default();
        let at = |seconds: f64| Timestamp::from_seconds(seconds);
        backoff.fail(at(100.0), 0.0, "s");
        backoff.fail(at(100.5), 0.0, "s");
        assert_eq!(backoff.failures, 1);
        assert!(!backoff.allows(at(100.5)) && backoff.allows(at(102.0)));
        backoff.fail(at(110.0), 5.0, "s");
        assert_eq!(backoff.failures, 2);
        backoff.fail(at(500.0), 90.0, "s");
        assert!(backoff.allows(at(500.0)));
        backoff.fail(at(500.2), 0.0, "s");
        assert!(
            !backoff.allows(at(500.2)),
            "its successor could not be launched"
        );
    }

    #[test]
    fn jitter_depends_on_the_seed_only() {
        assert_eq!(delay(5, "a"), delay(5, "a"));
        let distinct: std::collections::BTreeSet<_> =
            (0..50).map(|n| delay(5, &format!("service-{n}"))).collect();
        assert!(distinct.len() > 40);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_hold_launches_up() {
        let mut backoff = Backoff::default();
        let now = Timestamp::from_seconds(1_700_000_000.0);
        for n in 0..9 {
            backoff.fail(now + Span::from_seconds(f64::from(n) * 2.0), 0.0, "s");
        }
        assert!(!backoff.allows(now + Span::from_seconds(20.0)));
        assert!(backoff.allows(now - Span::from_seconds(3600.0)));
    }
}
