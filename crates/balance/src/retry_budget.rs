//! `RetryBudget`: how many requests may be sent a second time.
//!
//! A share of the requests of the last ten seconds, and a few a second however few requests there are; when it is used
//! up, failures are passed on instead of being multiplied (Finagle's `RetryBudget`). Two parts:
//!
//! - the *minimum*: a bucket that fills at `minimum_per_second` and holds one second's worth, and never less than one
//!   retry;
//! - the *share*: each request puts `percent` of a retry in; what is not used for ten seconds is gone.
//!
//! The share is used up first, because the minimum is there when no requests are. Times are microseconds of a clock
//! that never goes back.

/// Seconds for which a request counts.
const WINDOW_SECONDS: usize = 10;
const MICROSECONDS: u64 = 1_000_000;

/// The retries that one service may make. One for each serving thread, with its part of the minimum, so
/// that the path of a request takes no lock.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    /// Millionths of a retry that a request is worth.
    per_request: u64,
    minimum_per_second: f64,
    /// Retries in the bucket of the minimum.
    minimum: f64,
    minimum_at: u64,
    /// Millionths of a retry left of each of the last seconds; the place is the second modulo their number.
    seconds: [u64; WINDOW_SECONDS],
    /// Their sum.
    share: u64,
    /// The second that is under way.
    second: u64,
}

impl RetryBudget {
    /// Retries a second that are always allowed, by default.
    pub const DEFAULT_MINIMUM_PER_SECOND: f64 = 10.0;

    /// A budget of this share of requests, in percent (0 to 100; anything else counts as the nearer of the two), and
    /// at least so many retries a second (0 or more). What is not a number counts as 0.
    #[must_use]
    pub fn new(percent: f64, minimum_per_second: f64, now_microseconds: u64) -> Self {
        let percent = up_to(100.0, percent);
        let minimum_per_second = up_to(1e9, minimum_per_second);
        Self {
            per_request: (percent * MICROSECONDS as f64 / 100.0) as u64,
            minimum_per_second,
            minimum: most_saved(minimum_per_second),
            minimum_at: now_microseconds,
            seconds: [0; WINDOW_SECONDS],
            share: 0,
            second: now_microseconds / MICROSECONDS,
        }
    }

    /// A request arrived (not a retry).
    pub fn request(&mut self, now_microseconds: u64) {
        self.advance(now_microseconds);
        let at = self.second as usize % WINDOW_SECONDS;
        if let Some(second) = self.seconds.get_mut(at) {
            *second += self.per_request;
            self.share += self.per_request;
        }
    }

    /// Whether a request may be sent once more; if so, that retry is spent.
    pub fn try_retry(&mut self, now_microseconds: u64) -> bool {
        self.advance(now_microseconds);
        if self.share >= MICROSECONDS {
            self.spend_share();
            return true;
        }
        let passed = now_microseconds.saturating_sub(self.minimum_at);
        self.minimum_at = self.minimum_at.max(now_microseconds);
        let filled = passed as f64 / MICROSECONDS as f64 * self.minimum_per_second;
        self.minimum = (self.minimum + filled).min(most_saved(self.minimum_per_second));
        if self.minimum >= 1.0 {
            self.minimum -= 1.0;
            return true;
        }
        false
    }

    /// Forgets the seconds that have left the window.
    fn advance(&mut self, now: u64) {
        let second = now / MICROSECONDS;
        if second <= self.second {
            return;
        }
        let passed = (second - self.second).min(WINDOW_SECONDS as u64);
        for later in 1..=passed {
            let at = (self.second + later) as usize % WINDOW_SECONDS;
            if let Some(old) = self.seconds.get_mut(at) {
                self.share -= *old;
                *old = 0;
            }
        }
        self.second = second;
    }

    /// Takes one retry, from the oldest second first.
    fn spend_share(&mut self) {
        let mut owed = MICROSECONDS;
        for later in 1..=WINDOW_SECONDS as u64 {
            let at = (self.second + later) as usize % WINDOW_SECONDS;
            if let Some(second) = self.seconds.get_mut(at) {
                let paid = owed.min(*second);
                *second -= paid;
                owed -= paid;
            }
        }
        self.share -= MICROSECONDS;
    }
}

fn up_to(most: f64, value: f64) -> f64 {
    if value.is_nan() {
        0.0
    } else {
        value.clamp(0.0, most)
    }
}

/// One second's worth, but at least one retry: a small part of a minimum that is divided among many threads must not be
/// nothing.
fn most_saved(per_second: f64) -> f64 {
    if per_second > 0.0 {
        per_second.max(1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn retries(budget: &mut RetryBudget, now: u64) -> usize {
        (0..).take_while(|_| budget.try_retry(now)).count()
    }

    #[test]
    fn a_few_a_second_are_allowed_without_any_request() {
        let mut budget = RetryBudget::new(20.0, 10.0, 0);
        assert_eq!(retries(&mut budget, 0), 10);
        assert_eq!(retries(&mut budget, MICROSECONDS / 2), 5);
        assert_eq!(retries(&mut budget, 100 * MICROSECONDS), 10);
    }

    #[test]
    fn a_share_of_the_requests_is_allowed_beyond_that() {
        let mut budget = RetryBudget::new(20.0, 10.0, 0);
        for _ in 0..1000 {
            budget.request(0);
        }
        assert_eq!(retries(&mut budget, 0), 200 + 10);
    }

    #[test]
    fn requests_count_for_ten_seconds() {
        let mut budget = RetryBudget::new(50.0, 0.0, 0);
        for second in 0..20 {
            for _ in 0..10 {
                budget.request(second * MICROSECONDS);
            }
        }
        assert_eq!(retries(&mut budget, 19 * MICROSECONDS), 50);
        for _ in 0..10 {
            budget.request(20 * MICROSECONDS);
        }
        assert_eq!(retries(&mut budget.clone(), 29 * MICROSECONDS), 5);
        assert_eq!(retries(&mut budget, 30 * MICROSECONDS), 0);
    }

    #[test]
    fn what_is_about_to_be_forgotten_is_spent_first() {
        let mut budget = RetryBudget::new(50.0, 0.0, 0);
        for second in [0, 5] {
            for _ in 0..10 {
                budget.request(second * MICROSECONDS);
            }
        }
        for _ in 0..5 {
            assert!(budget.try_retry(5 * MICROSECONDS));
        }
        assert_eq!(retries(&mut budget, 10 * MICROSECONDS), 5);
    }

    #[test]
    fn a_part_of_a_minimum_is_not_nothing() {
        let mut budget = RetryBudget::new(0.0, 0.25, 0);
        assert_eq!(retries(&mut budget, 0), 1);
        let mut allowed = 0;
        for step in 1..=1000 {
            allowed += retries(&mut budget, step * MICROSECONDS / 10);
        }
        assert!((24..=25).contains(&allowed), "{allowed} in 100 seconds");
    }

    #[test]
    fn nonsense_is_taken_for_the_nearest_sense() {
        for (percent, allowed) in [(-5.0, 0), (f64::NAN, 0), (1e9, 10), (100.0, 10)] {
            let mut budget = RetryBudget::new(percent, f64::NAN, 0);
            for _ in 0..10 {
                budget.request(0);
            }
            assert_eq!(retries(&mut budget, 0), allowed, "{percent}");
        }
    }

    #[test]
    fn a_clock_that_goes_back_does_no_harm() {
        let mut budget = RetryBudget::new(20.0, 10.0, 50 * MICROSECONDS);
        budget.request(1);
        assert_eq!(retries(&mut budget, 0), 10);
        assert_eq!(retries(&mut budget, 50 * MICROSECONDS), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// In no history are there more retries than the share of requests, the minimum for the time that
        /// passed, and what was saved.
        #[test]
        fn no_more_than_the_budget(
            percent in 0.0_f64..100.0,
            minimum in 0.0_f64..20.0,
            history in prop::collection::vec((any::<bool>(), 0_u64..MICROSECONDS), 0..500),
        ) {
            let mut budget = RetryBudget::new(percent, minimum, 0);
            let (mut now, mut requests, mut retried) = (0, 0_u32, 0_u32);
            for (request, later) in history {
                now += later;
                if request {
                    budget.request(now);
                    requests += 1;
                } else if budget.try_retry(now) {
                    retried += 1;
                }
                let seconds = now as f64 / MICROSECONDS as f64 + 1.0;
                let most = f64::from(requests) * percent / 100.0 + minimum * seconds + 1.0;
                prop_assert!(f64::from(retried) <= most + 1e-6, "{retried} of {most}");
                prop_assert_eq!(budget.share, budget.seconds.iter().sum::<u64>());
            }
        }
    }
}
