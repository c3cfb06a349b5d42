//! `Limit`: how much more than its share a replica may have before affinity gives way.
//!
//! Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018): a replica above a multiple of the
//! average passes the request on. Some requests on top keep affinity at low load, where one request more is many times
//! the average and yet nothing. Four of them, because `examples/chat_replay` found nearly as many cache hits with 4 as
//! with 8, more than with 2, and a less uneven load than with 8.

use crate::candidate::{Candidate, Candidates};

/// Times the average that a replica may have.
const FACTOR: f64 = 1.25;
/// Requests that it may have on top.
const SLACK: f64 = 4.0;

/// The limit for one choice. The average is asked for only when needed: an idle replica is below any limit.
pub(crate) struct Limit<'a, C: ?Sized> {
    candidates: &'a C,
    in_flight: Option<f64>,
}

impl<'a, C: Candidates + ?Sized> Limit<'a, C> {
    pub(crate) fn among(candidates: &'a C) -> Self {
        Self {
            candidates,
            in_flight: None,
        }
    }

    /// Whether `candidate` may have one more. During slow start its limit is that share of the others'.
    pub(crate) fn has_room(&mut self, candidate: &Candidate) -> bool {
        candidate.in_flight == 0 || candidate.load() < self.in_flight()
    }

    fn in_flight(&mut self) -> f64 {
        *self
            .in_flight
            .get_or_insert_with(|| FACTOR * self.candidates.average_in_flight() + SLACK)
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
        let mut limit = Limit::among(&table[..]);
        assert!(limit.has_room(&with(16)));
        assert!(!limit.has_room(&with(17)));
    }

    #[test]
    fn an_idle_replica_always_has_room_and_a_new_one_has_its_share() {
        let table = [with(10); 4];
        let mut limit = Limit::among(&table[..]);
        let new = |in_flight| Candidate {
            ramp: 0.5,
            ..with(in_flight)
        };
        assert!(limit.has_room(&new(0)));
        assert!(limit.has_room(&new(8)));
        assert!(!limit.has_room(&new(9)));
    }
}
