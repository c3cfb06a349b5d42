//! `Candidates`: the replicas of a routing table as the choice sees them.

/// The least share of its load that a replica in slow start is given, as Envoy's
/// `min_weight_percent`: below it, a large table would hardly ever try the new replica.
const LEAST_RAMP: f64 = 0.1;

/// What a choice is made among. Indices are those of the routing table.
pub trait Candidates {
    /// How many replicas the table has.
    fn count(&self) -> usize;

    /// The replica at `index` (less than [`count`](Self::count)); `None` if it must not be chosen: it was tried
    /// already, is ejected, or has as many requests in flight as it may have.
    fn candidate(&self, index: usize) -> Option<Candidate>;

    /// Requests in flight at a replica on average, for the bounded load of the affine policies. Replicas that are left
    /// out for long (ejected ones) should not be among those it is the average of. It need not be exact.
    ///
    /// By default this looks at the candidates one by one. Whoever has large tables keeps the sum.
    fn average_in_flight(&self) -> f64 {
        let (count, sum) = (0..self.count())
            .filter_map(|index| self.candidate(index))
            .fold((0_u64, 0_u64), |(count, sum), candidate| {
                (count + 1, sum + u64::from(candidate.in_flight))
            });
        sum as f64 / count.max(1) as f64
    }
}

/// One replica as the choice sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Requests in flight.
    pub in_flight: u32,
    /// Requests per second it is meant for; anything but a positive number counts as 1. For
    /// `instance_aware_least_load` only.
    pub weight: f64,
    /// Whether a connection to it failed a moment ago: it is chosen only when no other is left.
    pub suspect: bool,
    /// Share of its full load that it is to have, above 0, up to 1: less than 1 during slow start
    /// ([`slow_start_share`]). Less than 0.1
    /// counts as 0.1, not a number as 1.
    pub ramp: f32,
}

impl Candidate {
    /// A replica that does nothing and has nothing against it.
    #[must_use]
    pub fn idle() -> Self {
        Self {
            in_flight: 0,
            weight: 1.0,
            suspect: false,
            ramp: 1.0,
        }
    }

    /// Requests in flight for what it can bear at this moment.
    pub(crate) fn load(&self) -> f64 {
        let in_flight = f64::from(self.in_flight);
        if self.ramps() {
            in_flight / self.usable_ramp()
        } else {
            in_flight
        }
    }

    /// The same for its strength.
    pub(crate) fn weighted_load(&self) -> f64 {
        if self.weight.is_finite() && self.weight > 0.0 {
            self.load() / self.weight
        } else {
            self.load()
        }
    }

    /// Whether it is in slow start.
    pub(crate) fn ramps(&self) -> bool {
        self.ramp < 1.0
    }

    pub(crate) fn usable_ramp(&self) -> f64 {
        if self.ramps() {
            f64::from(self.ramp).max(LEAST_RAMP)
        } else {
            1.0
        }
    }
}

/// The [`ramp`](Candidate::ramp) of a replica that has been ready for `ready_seconds`, when it is to come to its full
/// share, evenly, over `slow_start_seconds` (0: at once). A time before it was ready (clocks are set back) counts as
/// the beginning.
#[must_use]
pub fn slow_start_share(ready_seconds: f64, slow_start_seconds: f64) -> f32 {
    if slow_start_seconds > 0.0 && ready_seconds < slow_start_seconds {
        (ready_seconds.max(0.0) / slow_start_seconds).max(LEAST_RAMP) as f32
    } else {
        1.0
    }
}

impl Candidates for [Option<Candidate>] {
    fn count(&self) -> usize {
        self.len()
    }

    fn candidate(&self, index: usize) -> Option<Candidate> {
        self.get(index).copied().flatten()
    }
}

impl Candidates for [Candidate] {
    fn count(&self) -> usize {
        self.len()
    }

    fn candidate(&self, index: usize) -> Option<Candidate> {
        self.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_counts_as_one() {
        for weight in [0.0, -2.0, f64::NAN, f64::INFINITY] {
            let candidate = Candidate {
                in_flight: 3,
                weight,
                ..Candidate::idle()
            };
            assert_eq!(candidate.weighted_load(), 3.0, "weight {weight}");
        }
        for ramp in [f32::NAN, 1.0, 7.0, f32::INFINITY] {
            let candidate = Candidate {
                ramp,
                ..Candidate::idle()
            };
            assert_eq!(candidate.usable_ramp(), 1.0, "ramp {ramp}");
        }
    }

    #[test]
    fn no_ramp_is_less_than_a_tenth() {
        for ramp in [0.0, -1.0, 0.01, f32::NEG_INFINITY] {
            let candidate = Candidate {
                in_flight: 1,
                ramp,
                ..Candidate::idle()
            };
            assert_eq!(candidate.load(), 10.0, "ramp {ramp}");
        }
    }

    #[test]
    fn the_share_grows_evenly_to_all() {
        for (ready, slow_start, share) in [
            (0.0, 10.0, 0.1),
            (-5.0, 10.0, 0.1),
            (5.0, 10.0, 0.5),
            (10.0, 10.0, 1.0),
            (1e9, 10.0, 1.0),
            (0.0, 0.0, 1.0),
            (0.0, f64::NAN, 1.0),
            (f64::NAN, 10.0, 1.0),
        ] {
            assert_eq!(
                slow_start_share(ready, slow_start),
                share,
                "{ready} of {slow_start}"
            );
        }
    }

    #[test]
    fn the_average_is_of_those_that_may_be_chosen() {
        let with = |in_flight| {
            Some(Candidate {
                in_flight,
                ..Candidate::idle()
            })
        };
        assert_eq!([with(4), None, with(7)].average_in_flight(), 5.5);
        assert_eq!([None; 3].average_in_flight(), 0.0);
    }
}
