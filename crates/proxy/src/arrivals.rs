//! When requests arrived: what the autoscaler lives on.
//!
//! Counts are kept in buckets of 100 ms for 60 s. A controller that connects gets the whole window
//! once, then only what is new; without a controller the window rolls on, so memory is bounded
//! either way.

use std::collections::VecDeque;

use plan::routing::Arrivals;
use plan::time::Timestamp;

/// Length of a bucket in microseconds.
const BUCKET_MICROS: i64 = 100_000;
/// Buckets older than this are forgotten, in microseconds. SkyServe's autoscaler looks back 60 s.
const WINDOW_MICROS: i64 = 60_000_000;

/// The arrivals of one service during the last minute.
#[derive(Debug, Default)]
pub(crate) struct ArrivalWindow {
    buckets: VecDeque<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    at: Timestamp,
    count: u32,
    reported: u32,
}

impl ArrivalWindow {
    /// Counts one request.
    pub(crate) fn record(&mut self, now: Timestamp) {
        self.add(Timestamp(now.0 - now.0.rem_euclid(BUCKET_MICROS)), 1, now);
    }

    fn add(&mut self, at: Timestamp, count: u32, now: Timestamp) {
        match self.buckets.back_mut() {
            // A clock that went back does not open a bucket before the last one.
            Some(last) if last.at >= at => last.count = last.count.saturating_add(count),
            _ => {
                self.forget_old(now);
                self.buckets.push_back(Bucket {
                    at,
                    count,
                    reported: 0,
                });
            }
        }
    }

    /// Whether nothing is counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Takes over what another window counted, which is empty afterwards.
    pub(crate) fn absorb(&mut self, other: &mut Self, now: Timestamp) {
        for bucket in other.buckets.drain(..) {
            self.add(bucket.at, bucket.count, now);
        }
    }

    /// What has not been reported yet; it counts as reported from now on.
    pub(crate) fn take_new(&mut self, now: Timestamp) -> Vec<Arrivals> {
        self.forget_old(now);
        let mut new = Vec::new();
        for bucket in self.buckets.iter_mut().rev() {
            if bucket.count == bucket.reported {
                break;
            }
            new.push(Arrivals {
                at: bucket.at,
                count: bucket.count - bucket.reported,
            });
            bucket.reported = bucket.count;
        }
        new.reverse();
        new
    }

    /// Makes the whole window new again, for a controller that has just connected.
    pub(crate) fn report_again(&mut self) {
        for bucket in &mut self.buckets {
            bucket.reported = 0;
        }
    }

    fn forget_old(&mut self, now: Timestamp) {
        let oldest = Timestamp(now.0.saturating_sub(WINDOW_MICROS));
        while self
            .buckets
            .front()
            .is_some_and(|bucket| bucket.at < oldest)
        {
            self.buckets.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp(1_000_000_000 + milliseconds * 1000)
    }

    fn counts(arrivals: &[Arrivals]) -> Vec<u32> {
        arrivals.iter().map(|arrival| arrival.count).collect()
    }

    #[test]
    fn requests_close_together_share_a_bucket() {
        let mut window = ArrivalWindow::default();
        for millisecond in [0, 1, 99, 100, 350] {
            window.record(at(millisecond));
        }
        let new = window.take_new(at(400));
        assert_eq!(counts(&new), [3, 1, 1]);
        assert_eq!(new[0].at, at(0));
    }

    #[test]
    fn a_bucket_that_fills_further_is_reported_for_the_rest_only() {
        let mut window = ArrivalWindow::default();
        window.record(at(0));
        assert_eq!(counts(&window.take_new(at(1))), [1]);
        assert!(window.take_new(at(2)).is_empty());
        window.record(at(3));
        window.record(at(150));
        assert_eq!(counts(&window.take_new(at(151))), [1, 1]);
    }

    #[test]
    fn a_new_controller_gets_the_last_minute_once() {
        let mut window = ArrivalWindow::default();
        window.record(at(0));
        window.record(at(50_000));
        window.take_new(at(50_000));
        window.report_again();
        assert_eq!(
            counts(&window.take_new(at(60_500))),
            [1],
            "the first is over a minute old"
        );
        assert!(window.take_new(at(60_500)).is_empty());
    }

    #[test]
    fn memory_is_bounded_without_a_controller() {
        let mut window = ArrivalWindow::default();
        for tick in 0..10_000 {
            window.record(at(tick * 100));
        }
        assert!(window.buckets.len() <= 602, "{}", window.buckets.len());
    }

    #[test]
    fn a_clock_that_goes_back_loses_nothing() {
        let mut window = ArrivalWindow::default();
        window.record(at(500));
        window.record(at(100));
        assert_eq!(counts(&window.take_new(at(600))), [2]);
    }
}
