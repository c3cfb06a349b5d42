//! The arithmetic of the tables.

/// The value below or at which `percent` percent of `sorted` are (nearest rank). `None` of nothing.
pub(crate) fn percentile(sorted: &[u64], percent: f64) -> Option<u64> {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).or(sorted.last()).copied()
}

/// Median, smallest and largest of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of nothing; values that are not finite are not counted.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }

    /// Of the quotients of pairs taken in the same round. A round that lacks one of the two, or in which the
    /// divisor is zero, is no pair.
    pub(crate) fn of_ratios(
        pairs: impl IntoIterator<Item = (Option<f64>, Option<f64>)>,
    ) -> Option<Self> {
        let ratios = pairs
            .into_iter()
            .filter_map(|(value, of)| Some(value? / of?));
        Self::of(ratios)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<u64> = (1..=100).collect();
        let values = [0.0, 50.0, 99.0, 99.5, 100.0].map(|percent| percentile(&hundred, percent));
        assert_eq!(values, [Some(1), Some(50), Some(99), Some(100), Some(100)]);
        assert_eq!(percentile(&[7], 99.0), Some(7));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn a_spread_is_median_and_extremes() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        let expected = |median, min, max| Some(Spread { median, min, max });
        assert_eq!(spread(&[3.0, 1.0, 2.0]), expected(2.0, 1.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), expected(2.5, 1.0, 4.0));
        assert_eq!(
            spread(&[f64::NAN, 1.0, f64::INFINITY]),
            expected(1.0, 1.0, 1.0)
        );
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        // The machine doubles its speed in the second round: the ratio stays.
        let pairs = [
            (Some(6.0), Some(12.0)),
            (Some(3.0), Some(6.0)),
            (None, Some(1.0)),
            (Some(1.0), Some(0.0)),
        ];
        let spread = Spread::of_ratios(pairs).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (0.5, 0.5, 0.5));
        assert_eq!(Spread::of_ratios([(Some(1.0), None)]), None);
    }
}
