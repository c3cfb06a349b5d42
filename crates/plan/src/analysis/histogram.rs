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

/// Where a bucket begins, in microseconds; the end of the one before.
#[must_use]
pub(super) fn bucket_start(bucket: usize) -> u64 {
    let Some(index) = bucket.min(BUCKETS).checked_sub(1) else {
        return 0;
    };
    let octave = FIRST_OCTAVE + (index >> FINENESS) as u32;
    let part = (index & ((1 << FINENESS) - 1)) as u64;
    if octave >= LAST_OCTAVE {
        return 1 << LAST_OCTAVE;
    }
    ((1 << FINENESS) + part) << (octave - FINENESS)
}

/// How many durations fell into each bucket that has any: pairs of [`bucket_of`] and a count, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    counts: Vec<(u16, u64)>,
}

impl Histogram {
    /// From the counts of all buckets, from the first on.
    #[must_use]
    pub fn of(counts: impl IntoIterator<Item = u64>) -> Self {
        let counts = (0..).zip(counts).filter(|(_, count)| *count > 0);
        Self {
            counts: counts.collect(),
        }
    }

    /// Counts durations of so many microseconds.
    pub fn add(&mut self, micros: u64, count: u64) {
        let bucket = u16::try_from(bucket_of(micros)).unwrap_or(u16::MAX);
        self.add_bucket(bucket, count);
    }

    fn add_bucket(&mut self, bucket: u16, count: u64) {
        match self.counts.binary_search_by_key(&bucket, |(at, _)| *at) {
            Ok(index) => self.counts[index].1 = self.counts[index].1.saturating_add(count),
            Err(_) if count == 0 => {}
            Err(index) => self.counts.insert(index, (bucket, count)),
        }
    }

    /// Adds another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.counts {
            self.add_bucket(*bucket, *count);
        }
    }

    /// What has come since `earlier`. A count that went down counts as nothing new.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().filter_map(|(bucket, count)| {
            let before = earlier.at(*bucket);
            let new = count.checked_sub(before).filter(|new| *new > 0)?;
            Some((*bucket, new))
        });
        Self {
            counts: counts.collect(),
        }
    }

    /// How many durations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    fn at(&self, bucket: u16) -> u64 {
        self.counts
            .binary_search_by_key(&bucket, |(at, _)| *at)
            .map_or(0, |index| self.counts[index].1)
    }

    /// Each bucket that has any, and how many durations are beyond it, from the shortest on.
    pub(super) fn beyond(&self) -> impl Iterator<Item = (usize, u64)> {
        let mut left = self.count();
        self.counts.iter().map(move |(bucket, count)| {
            left = left.saturating_sub(*count);
            (usize::from(*bucket), left)
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
        assert_eq!(bucket_start(usize::MAX), 1 << LAST_OCTAVE);
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
    fn differences_and_sums_undo_each_other() {
        let mut before = Histogram::default();
        for micros in [1, 500, 500, 70_000] {
            before.add(micros, 1);
        }
        let mut new = Histogram::default();
        new.add(500, 3);
        new.add(2_000_000, 1);
        let mut after = before.clone();
        after.merge(&new);
        assert_eq!(after.count(), 8);
        assert_eq!(after.since(&before), new);
        assert_eq!(before.since(&after), Histogram::default());
        let beyond: Vec<u64> = after.beyond().map(|(_, left)| left).collect();
        assert_eq!(beyond, [7, 2, 1, 0]);
    }

    #[test]
    fn it_is_written_short_and_read_again() {
        let histogram = Histogram::of([0, 0, 3, 0, 9]);
        let text = serde_json::to_string(&histogram).unwrap();
        assert_eq!(text, "[[2,3],[4,9]]");
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), histogram);
    }
}
