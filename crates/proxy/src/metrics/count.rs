//! Numbers that one thread writes and others may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number with a single writer.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Adds. With a single writer that needs no atomic addition, which would cost ten times as much.
    pub(super) fn add(&self, amount: u64) {
        self.set(self.get().wrapping_add(amount));
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets in microseconds, and as Prometheus has them, in seconds: from a cached answer to the
/// longest generation that is usual.
pub(super) const BOUNDS: [(u64, &str); 17] = [
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
    (30_000_000, "30"),
    (60_000_000, "60"),
    (120_000_000, "120"),
    (300_000_000, "300"),
];

/// Buckets of a histogram; the last has no bound.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// How often durations fell into each bucket, with a single writer.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [Count; BUCKETS],
    sum_micros: Count,
}

impl Histogram {
    pub(super) fn observe(&self, micros: u64) {
        // Most are short, and found at once.
        let index = BOUNDS.iter().position(|(bound, _)| micros <= *bound);
        if let Some(bucket) = self.buckets.get(index.unwrap_or(BOUNDS.len())) {
            bucket.add(1);
        }
        self.sum_micros.add(micros);
    }
}

/// The sum of histograms of several threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HistogramSum {
    /// Not cumulative.
    pub(super) buckets: [u64; BUCKETS],
    pub(super) sum_micros: u64,
}

impl HistogramSum {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += bucket.get();
        }
        self.sum_micros = self.sum_micros.wrapping_add(histogram.sum_micros.get());
    }

    /// How many durations there were.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_grow_and_say_what_they_are() {
        assert!(BOUNDS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (micros, text) in BOUNDS {
            assert_eq!(text.parse::<f64>().unwrap() * 1e6, micros as f64);
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        for micros in [
            0,
            1_000,
            1_001,
            300_000_000,
            300_000_001,
            u64::from(u32::MAX),
        ] {
            histogram.observe(micros);
        }
        let mut sum = HistogramSum::default();
        sum.add(&histogram);
        assert_eq!(sum.buckets[0], 2);
        assert_eq!(sum.buckets[1], 1);
        assert_eq!(sum.buckets[16..], [1, 2]);
        assert_eq!(sum.count(), 6);
    }
}
