//! `Bound`: how much more than its share a replica may have before affinity gives way.
//!
//! Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018): a replica above `factor` times
//! the average passes the request on. `slack` requests on top keep affinity at low load, where one request more is
//! many times the average and yet nothing.

use crate::candidate::{Candidate, Candidates};

/// The limit of `session_affinity`.
pub(crate) const SESSION: Bound = Bound {
    factor: 1.25,
    slack: 1.0,
};

/// The limit of `prefix_affinity`: the prompts that a replica has at work share its batch, so a few more cost less
/// than computing a prefix again.
pub(crate) const PREFIX: Bound = Bound {
    factor: 1.25,
    slack: 4.0,
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Times the average, at least 1.
    pub(crate) factor: f64,
    /// Requests on top.
    pub(crate) slack: f64,
}

/// The limit for one choice. The sum of all requests is asked for only when needed: an idle replica is below any
/// limit.
pub(crate) struct Limit<'a, C: ?Sized> {
    bound: Bound,
    candidates: &'a C,
    in_flight: Option<f64>,
}

impl Bound {
    pub(crate) fn among<C: Candidates + ?Sized>(self, candidates: &C) -> Limit<'_, C> {
        Limit {
            bound: self,
            candidates,
            in_flight: None,
        }
    }
}

impl<C: Candidates + ?Sized> Limit<'_, C> {
    /// Whether `candidate` may have one more. During slow start its limit is that share of the others'.
    pub(crate) fn has_room(&mut self, candidate: &Candidate) -> bool {
        candidate.in_flight == 0 || candidate.load() < self.in_flight()
    }

    fn in_flight(&mut self) -> f64 {
        *self.in_flight.get_or_insert_with(|| {
            let count = self.candidates.count().max(1) as f64;
            let average = self.candidates.in_flight_in_all() as f64 / count;
            self.bound.factor * average + self.bound.slack
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(in_flight: u32) -> Candidate {
        Candidate {
            in_flight,
            ..Candidate::idle()
        }
    }

    #[test]
    fn the_limit_is_a_quarter_above_the_average_and_the_slack() {
        let table = [with(10), with(10), with(16), with(4)];
        let mut limit = SESSION.among(&table[..]);
        assert!(limit.has_room(&with(13)));
        assert!(!limit.has_room(&with(14)));
    }

    #[test]
    fn an_idle_replica_always_has_room_and_a_new_one_has_its_share() {
        let table = [with(10); 4];
        let mut limit = SESSION.among(&table[..]);
        let new = |in_flight| Candidate {
            ramp: 0.5,
            ..with(in_flight)
        };
        assert!(limit.has_room(&new(0)));
        assert!(limit.has_room(&new(6)));
        assert!(!limit.has_room(&new(7)));
    }
}
