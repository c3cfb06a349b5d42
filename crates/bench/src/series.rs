//! All samples of a row, and what is made of them.

use crate::peer::PeerKind;
use crate::sample::Sample;
use crate::statistics::Spread;

/// A figure of a sample.
pub(crate) type Figure = fn(&Sample) -> f64;

/// The samples of one row: the same rounds for every contestant.
#[derive(Clone, Debug)]
pub(crate) struct Series<K> {
    pub(crate) contestants: Vec<(K, Vec<Sample>)>,
}

/// A figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) spread: Spread,
    /// No round was undisturbed, so that all rounds count.
    pub(crate) disturbed: bool,
}

impl<K: Copy + PartialEq> Series<K> {
    pub(crate) fn new(contestants: impl IntoIterator<Item = K>) -> Self {
        let contestants = contestants.into_iter().map(|kind| (kind, Vec::new()));
        Self {
            contestants: contestants.collect(),
        }
    }

    pub(crate) fn add(&mut self, kind: K, sample: Sample) {
        let samples = self.contestants.iter_mut().find(|(one, _)| *one == kind);
        if let Some((_, samples)) = samples {
            samples.push(sample);
        }
    }

    pub(crate) fn remove(&mut self, kind: K) {
        self.contestants.retain(|(one, _)| *one != kind);
    }

    pub(crate) fn contains(&self, kind: K) -> bool {
        self.contestants.iter().any(|(one, _)| *one == kind)
    }

    pub(crate) fn samples(&self, kind: K) -> &[Sample] {
        let samples = self.contestants.iter().find(|(one, _)| *one == kind);
        samples.map_or(&[], |(_, samples)| samples)
    }

    /// Undisturbed samples of the contestant that has the fewest.
    pub(crate) fn fewest_clean(&self) -> usize {
        let counts = self.contestants.iter().map(|(_, samples)| clean(samples));
        counts.min().unwrap_or(0)
    }

    /// Over the undisturbed rounds; over all where there is none.
    pub(crate) fn summary(&self, kind: K, figure: Figure) -> Option<Summary> {
        let samples = self.samples(kind);
        let disturbed = clean(samples) == 0;
        let kept = samples
            .iter()
            .filter(|sample| disturbed || sample.is_clean());
        let spread = Spread::of(kept.map(figure))?;
        Some(Summary { spread, disturbed })
    }

    /// The quotient of `kind` and `of` in each round in which neither was disturbed; in all rounds where there is no
    /// such one.
    pub(crate) fn ratio(&self, kind: K, of: K, figure: Figure) -> Option<Summary> {
        let pairs = || self.samples(kind).iter().zip(self.samples(of));
        let is_clean = |(one, other): &(&Sample, &Sample)| one.is_clean() && other.is_clean();
        let disturbed = !pairs().any(|pair| is_clean(&pair));
        let kept = pairs().filter(|pair| disturbed || is_clean(pair));
        let figures = kept.map(|(one, other)| (Some(figure(one)), Some(figure(other))));
        let spread = Spread::of_ratios(figures)?;
        Some(Summary { spread, disturbed })
    }

    /// Errors in all rounds, disturbed or not: nothing excuses them.
    pub(crate) fn errors(&self, kind: K) -> u64 {
        self.samples(kind).iter().map(|sample| sample.errors).sum()
    }

    /// Undisturbed rounds and all rounds.
    pub(crate) fn counts(&self, kind: K) -> (usize, usize) {
        let samples = self.samples(kind);
        (clean(samples), samples.len())
    }
}

impl Series<PeerKind> {
    /// Whether this peer was measured.
    pub(crate) fn has(&self, kind: PeerKind) -> bool {
        !self.samples(kind).is_empty()
    }
}

fn clean(samples: &[Sample]) -> usize {
    samples.iter().filter(|sample| sample.is_clean()).count()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::usage::Usage;

    /// A sample of 1,000 requests that took this many microseconds each.
    fn sample(us: u64, foreign: f64) -> Sample {
        Sample {
            requests: 1000,
            errors: 1,
            elapsed: Duration::from_secs(1),
            proxy: Usage {
                user: Duration::ZERO,
                system: Duration::from_micros(us * 1000),
            },
            foreign,
            ..Sample::default()
        }
    }

    /// Microseconds and foreign share.
    type Round = (u64, f64);

    fn series(rounds: &[(Round, Round)]) -> Series<char> {
        let mut series = Series::new(['a', 'b']);
        for ((a, a_foreign), (b, b_foreign)) in rounds {
            series.add('a', sample(*a, *a_foreign));
            series.add('b', sample(*b, *b_foreign));
        }
        series
    }

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-6
    }

    #[test]
    fn disturbed_rounds_are_left_out() {
        let series = series(&[
            ((8, 0.0), (10, 0.0)),
            ((9, 0.0), (90, 0.5)),
            ((6, 0.01), (10, 0.0)),
        ]);
        let b = series.summary('b', Sample::proxy_us).unwrap();
        assert!(!b.disturbed && close(b.spread.max, 10.0));
        let ratio = series.ratio('a', 'b', Sample::proxy_us).unwrap();
        assert!(close(ratio.spread.median, 0.7), "{ratio:?}");
        assert!(close(ratio.spread.min, 0.6) && close(ratio.spread.max, 0.8));
        assert_eq!((series.counts('a'), series.counts('b')), ((3, 3), (2, 3)));
        assert_eq!((series.fewest_clean(), series.errors('b')), (2, 3));
    }

    #[test]
    fn where_all_are_disturbed_all_count_and_it_is_said() {
        let series = series(&[((8, 0.0), (16, 0.5)), ((9, 0.4), (18, 0.0))]);
        let ratio = series.ratio('a', 'b', Sample::proxy_us).unwrap();
        assert!(ratio.disturbed && close(ratio.spread.median, 0.5));
        // Each has one undisturbed sample of its own.
        let a = series.summary('a', Sample::proxy_us).unwrap();
        assert!(!a.disturbed && close(a.spread.median, 8.0));
    }

    #[test]
    fn one_that_failed_is_out_and_the_others_go_on() {
        let mut series = series(&[((8, 0.0), (10, 0.0))]);
        series.remove('b');
        series.add('b', sample(10, 0.0));
        assert!(series.contains('a') && !series.contains('b'));
        assert_eq!(series.ratio('a', 'b', Sample::proxy_us), None);
        assert_eq!(series.counts('a'), (1, 1));
    }

    #[test]
    fn nothing_measured_is_no_figure() {
        let series = series(&[]);
        assert_eq!(series.summary('a', Sample::proxy_us), None);
        assert_eq!(series.ratio('a', 'b', Sample::proxy_us), None);
        assert_eq!(series.summary('c', Sample::proxy_us), None);
    }
}
