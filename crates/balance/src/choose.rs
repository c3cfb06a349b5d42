//! `choose`: which replica gets the next request.
//!
//! - `round_robin`: the next in turn.
//! - `least_load`: the fewest requests in flight. Among few replicas exactly, and ties go to the next in turn; among
//!   many the better of two drawn at random (Mitzenmacher, 2001), which is nearly as even, costs the same for any
//!   number of replicas, and does not send every thread to the same one.
//! - `instance_aware_least_load`: the same for requests in flight divided by weight.
//! - `session_affinity`: the session's place on the [`Ring`], passing by replicas that have no room.
//! - `prefix_affinity`: the replica that served the longest beginning of this prompt lately and has room.
//!
//! A *suspect* replica is chosen only when no other is left. Without that rule a dead replica, which fails fast and
//! so has nothing in flight, would attract every request.
//!
//! *Slow start*: a replica that is to have a share of its full load takes part in that share of the choices, and its
//! requests in flight count for that much more. The first bounds how many requests a second it gets, the second how
//! many at once. (Weighing `in_flight + 1` instead, without the first, would give it none at all until the others are
//! busy, and then many.) Replicas that do not take part come before suspects: when all are new, all take part.

use spec::LoadBalancingPolicy;

use crate::affinity::{prefix, session};
use crate::candidate::{Candidate, Candidates};
use crate::chain::PrefixChain;
use crate::prefix_index::PrefixIndex;
use crate::ring::Ring;
use crate::roster::Roster;
use crate::turn::Turn;

/// Up to so many replicas, `least_load` looks at each.
pub const FEW: usize = 8;
/// Draws that look for two replicas to compare, when there are many.
const DRAWS: usize = 8;

/// What the affine policies go by. A request without it is given to the replica with the least load.
#[derive(Debug)]
pub enum Key<'a> {
    /// For `session_affinity`.
    Session {
        /// The ring of the routing table.
        ring: &'a Ring,
        /// [`session_hash`](crate::session_hash) of the session's value.
        hash: u64,
    },
    /// For `prefix_affinity`.
    Prefix {
        /// Who served what. The choice is recorded in it.
        index: &'a mut PrefixIndex,
        /// The replicas of the routing table.
        roster: &'a Roster,
        /// The prompt.
        chain: &'a PrefixChain,
    },
}

/// Chooses a replica; `None` only if there is none that may be chosen. Nothing is counted: the caller adds the
/// request to the replica's load.
pub fn choose<C: Candidates + ?Sized>(
    policy: LoadBalancingPolicy,
    candidates: &C,
    turn: &mut Turn,
    key: Option<Key<'_>>,
) -> Option<usize> {
    match (policy, key) {
        (LoadBalancingPolicy::RoundRobin, _) => round_robin(candidates, turn),
        (LoadBalancingPolicy::InstanceAwareLeastLoad, _) => {
            least(candidates, turn, Candidate::weighted_load)
        }
        (LoadBalancingPolicy::SessionAffinity, Some(Key::Session { ring, hash })) => {
            session(candidates, turn, ring, hash)
        }
        (
            LoadBalancingPolicy::PrefixAffinity,
            Some(Key::Prefix {
                index,
                roster,
                chain,
            }),
        ) => prefix(candidates, turn, index, roster, chain),
        (
            LoadBalancingPolicy::LeastLoad
            | LoadBalancingPolicy::SessionAffinity
            | LoadBalancingPolicy::PrefixAffinity,
            _,
        ) => least_load(candidates, turn),
    }
}

/// How willingly a replica is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// It takes part.
    Sound,
    /// It is new, and this is not one of the choices it takes part in.
    Waiting,
    /// A connection to it failed a moment ago.
    Suspect,
}

fn class(candidate: &Candidate, turn: &mut Turn) -> Class {
    if candidate.suspect {
        Class::Suspect
    } else if candidate.ramps() && !turn.happens(candidate.usable_ramp()) {
        Class::Waiting
    } else {
        Class::Sound
    }
}

fn round_robin<C: Candidates + ?Sized>(candidates: &C, turn: &mut Turn) -> Option<usize> {
    let count = candidates.count();
    let start = turn.start(count);
    let mut best: Option<(usize, Class)> = None;
    for index in (start..count).chain(0..start) {
        let Some(candidate) = candidates.candidate(index) else {
            continue;
        };
        let class = class(&candidate, turn);
        if best.is_none_or(|(_, first)| class < first) {
            best = Some((index, class));
        }
        if class == Class::Sound {
            break;
        }
    }
    let (index, _) = best?;
    turn.pass(index, count);
    Some(index)
}

/// The replica with the fewest requests in flight.
pub(crate) fn least_load<C: Candidates + ?Sized>(candidates: &C, turn: &mut Turn) -> Option<usize> {
    least(candidates, turn, Candidate::load)
}

fn least<C: Candidates + ?Sized>(
    candidates: &C,
    turn: &mut Turn,
    load: impl Fn(&Candidate) -> f64,
) -> Option<usize> {
    if candidates.count() > FEW
        && let Some(index) = least_of_two(candidates, turn, &load)
    {
        return Some(index);
    }
    least_of_all(candidates, turn, load)
}

/// The least of all; ties go to the next in turn.
fn least_of_all<C: Candidates + ?Sized>(
    candidates: &C,
    turn: &mut Turn,
    load: impl Fn(&Candidate) -> f64,
) -> Option<usize> {
    let count = candidates.count();
    let start = turn.start(count);
    let mut best: Option<(usize, (Class, f64))> = None;
    for index in (start..count).chain(0..start) {
        let Some(candidate) = candidates.candidate(index) else {
            continue;
        };
        let rank = (class(&candidate, turn), load(&candidate));
        if best.is_none_or(|(_, least)| rank < least) {
            best = Some((index, rank));
        }
    }
    let (index, _) = best?;
    turn.pass(index, count);
    Some(index)
}

/// The better of two drawn at random. Draws of replicas that may not be chosen, or do not take part, are repeated a
/// few times; `None` if no draw met one that is not suspect.
fn least_of_two<C: Candidates + ?Sized>(
    candidates: &C,
    turn: &mut Turn,
    load: impl Fn(&Candidate) -> f64,
) -> Option<usize> {
    let count = candidates.count();
    let mut best: Option<(usize, (Class, f64))> = None;
    let mut sound = 0;
    for _ in 0..DRAWS {
        let index = turn.below(count);
        if best.is_some_and(|(drawn, _)| drawn == index) {
            continue;
        }
        let Some(candidate) = candidates.candidate(index) else {
            continue;
        };
        let rank = (class(&candidate, turn), load(&candidate));
        if rank.0 == Class::Suspect {
            continue;
        }
        if best.is_none_or(|(_, least)| rank < least) {
            best = Some((index, rank));
        }
        if rank.0 == Class::Sound {
            sound += 1;
            if sound == 2 {
                break;
            }
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests;
