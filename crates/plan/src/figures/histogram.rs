//! `Histogram`: how often which durations were seen, to a sixteenth of an octave.

use serde::{Deserialize, Serialize};

/// Durations below so many powers of two of a microsecond are one bucket: 64 µs.
const FIRST_OCTAVE: u32 = 6;
/// The last bucket has everything from 2³⁰ µs (18 minutes) on.
const LAST_OCTAVE: u32 = 30;
/// Buckets of an octave, as a power of two: each is at most a sixteenth longer than it begins.
const FINENESS: u32 = 4;
/// How many buckets there are.
pub const BUCKETS: usize = ((LAST_OCTAVE - FIRST_OCTAVE) << FINENESS) as usize + 2;

/// The bucket of a duration in microseconds; less than [`BUCKETS`].
#[must_use]
pub fn bucket_of(micros: u64) -> usize {
    if micros < 1 << FIRST_OCTAVE {
        return 0;
    }
    let octave = micros.ilog2();
    if octave >= LAST_OCTAVE {
        return BUCKETS - 1;
    }
    let part = (micros >> (octave - FINENESS)) & ((1 << FINENESS) - 1);
    1 + ((octave - FIRST_OCTAVE) << FINENESS) as usize + part as usize
}

/// The upper bound of a bucket in seconds.
fn bucket_end(bucket: usize) -> f64 {
    if bucket + 1 >= BUCKETS {
        return f64::MAX;
    }
    bucket_start(bucket + 1) as f64 / 1e6
}

/// Where a bucket begins, in microseconds; the end of the one before.
fn bucket_start(bucket: usize) -> u64 {
    let Some(index) = bucket.checked_sub(1) else {
        return 0;
    };
    let octave = FIRST_OCTAVE + (index >> FINENESS) as u32;
    let part = (index & ((1 << FINENESS) - 1)) as u64;
    if octave >= LAST_OCTAVE {
        return 1 << LAST_OCTAVE;
    }
    ((1 << FINENESS) + part) << (octave - FINENESS)
}

/// Counts by size: each bucket's upper bound in seconds, ascending, and how many were less than that and not less than the
/// bound before. What is beyond the last bound stands in a bucket with the bound `f64::MAX`. Buckets without any are left
/// out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    /// The buckets.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// From the counts of all [`BUCKETS`], from the first on.
    #[must_use]
    pub fn of(counts: impl IntoIterator<Item = u64>) -> Self {
        let counts = (0..BUCKETS).zip(counts).filter(|(_, count)| *count > 0);
        Self {
            buckets: counts
                .map(|(bucket, count)| (bucket_end(bucket), count))
                .collect(),
        }
    }

    /// Counts durations of so many microseconds.
    pub fn count_micros(&mut self, micros: u64, count: u64) {
        self.add_bucket(bucket_end(bucket_of(micros)), count);
    }

    /// Adds other counts; bounds that are not there yet are taken over.
    pub fn add(&mut self, other: &Self) {
        for (bound, count) in &other.buckets {
            self.add_bucket(*bound, *count);
        }
    }

    fn add_bucket(&mut self, bound: f64, count: u64) {
        match self.place(bound) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(_) if count == 0 => {}
            Err(at) => self.buckets.insert(at, (bound, count)),
        }
    }

    /// What has come since `earlier`. A count that went down counts as nothing new.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let buckets = self.buckets.iter().filter_map(|(bound, count)| {
            let before = earlier.place(*bound).map_or(0, |at| earlier.buckets[at].1);
            let new = count.checked_sub(before).filter(|new| *new > 0)?;
            Some((*bound, new))
        });
        Self {
            buckets: buckets.collect(),
        }
    }

    /// How many durations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets
            .iter()
            .fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    fn place(&self, bound: f64) -> Result<usize, usize> {
        self.buckets
            .binary_search_by(|(known, _)| known.total_cmp(&bound))
    }

    /// The bound of each bucket, and how many durations are beyond it, from the shortest on.
    pub(crate) fn beyond(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut left = self.count();
        self.buckets.iter().map(move |(bound, count)| {
            left = left.saturating_sub(*count);
            (*bound, left)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lies_within_its_bucket() {
        let mut micros = 1_u64;
        while micros < 1 << 34 {
            let bucket = bucket_of(micros);
            assert!(bucket < BUCKETS);
            assert!(bucket_start(bucket) <= micros, "{micros}");
            if bucket + 1 < BUCKETS {
                assert!(micros < bucket_start(bucket + 1), "{micros}");
            }
            micros += 1 + micros / 37;
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_start(BUCKETS - 1), 1 << LAST_OCTAVE);
    }

    #[test]
    fn a_bucket_is_at_most_a_sixteenth_longer_than_it_begins() {
        for bucket in 1..BUCKETS - 1 {
            let (start, end) = (bucket_start(bucket), bucket_start(bucket + 1));
            assert!(
                start < end && (end - start) * 16 <= start,
                "{start} to {end}"
            );
        }
    }

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

    #[test]
    fn differences_and_sums_undo_each_other() {
        let mut before = Histogram::default();
        for micros in [1, 500, 500, 70_000] {
            before.count_micros(micros, 1);
        }
        let mut new = Histogram::default();
        new.count_micros(500, 3);
        new.count_micros(u64::MAX, 1);
        let mut after = before.clone();
        after.add(&new);
        assert_eq!(after.count(), 8);
        assert_eq!(after.since(&before), new);
        assert_eq!(before.since(&after), Histogram::default());
        let beyond: Vec<u64> = after.beyond().map(|(_, left)| left).collect();
        assert_eq!(beyond, [7, 2, 1, 0]);
    }

    #[test]
    fn all_counts_at_once_are_the_same_as_one_by_one() {
        let mut counts = vec![0; BUCKETS];
        let mut histogram = Histogram::default();
        for micros in [0, 63, 64, 1_000_000, u64::MAX] {
            counts[bucket_of(micros)] += 1;
            histogram.count_micros(micros, 1);
        }
        assert_eq!(Histogram::of(counts), histogram);
    }
}
