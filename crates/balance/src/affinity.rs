//! The choices of `session_affinity` and `prefix_affinity`.

use crate::bound::Limit;
use crate::candidate::Candidates;
use crate::chain::PrefixChain;
use crate::choose::least_load;
use crate::prefix_index::PrefixIndex;
use crate::ring::Ring;
use crate::roster::Roster;
use crate::turn::Turn;

/// Places of the ring that are looked at before the least loaded of their owners is taken.
const PLACES: usize = 64;
/// The share of a prompt that must match. Below it the prefill saved is not worth an uneven load (SGLang's router has
/// `cache_threshold` 0.3).
const LEAST_SHARE: f64 = 0.25;

/// The first owner from the session's place on that has room.
pub(crate) fn session<C: Candidates + ?Sized>(
    candidates: &C,
    turn: &mut Turn,
    ring: &Ring,
    hash: u64,
) -> Option<usize> {
    let count = candidates.count();
    let mut limit = Limit::among(candidates);
    let mut least: Option<(usize, f64)> = None;
    let mut before = usize::MAX;
    for index in ring.owners_from(hash).take(PLACES) {
        if index == before || index >= count {
            continue;
        }
        before = index;
        let Some(candidate) = candidates.candidate(index) else {
            continue;
        };
        if candidate.suspect {
            continue;
        }
        if limit.has_room(&candidate) {
            return Some(index);
        }
        if least.is_none_or(|(_, load)| candidate.load() < load) {
            least = Some((index, candidate.load()));
        }
    }
    least
        .map(|(index, _)| index)
        .or_else(|| least_load(candidates, turn))
}

/// The replica that served the longest beginning of the prompt and has room, else the one with the least load. Either
/// has it from now on.
pub(crate) fn prefix<C: Candidates + ?Sized>(
    candidates: &C,
    turn: &mut Turn,
    index: &mut PrefixIndex,
    roster: &Roster,
    chain: &PrefixChain,
) -> Option<usize> {
    let chosen =
        longest_match(candidates, index, roster, chain).or_else(|| least_load(candidates, turn))?;
    if let Some(replica_id) = roster.id(chosen) {
        index.record(chain, replica_id);
    }
    Some(chosen)
}

fn longest_match<C: Candidates + ?Sized>(
    candidates: &C,
    index: &PrefixIndex,
    roster: &Roster,
    chain: &PrefixChain,
) -> Option<usize> {
    let count = candidates.count();
    let mut limit = Limit::among(candidates);
    let mut looked_at = &[][..];
    for (block, replica_ids) in index.matches(chain).longest_first() {
        if chain.share(block) < LEAST_SHARE {
            break;
        }
        if replica_ids == looked_at {
            continue;
        }
        looked_at = replica_ids;
        let mut least: Option<(usize, f64)> = None;
        for &replica_id in replica_ids {
            let Some(at) = roster.index(replica_id).filter(|&at| at < count) else {
                continue;
            };
            let Some(candidate) = candidates.candidate(at) else {
                continue;
            };
            if candidate.suspect || !limit.has_room(&candidate) {
                continue;
            }
            if least.is_none_or(|(_, load)| candidate.load() < load) {
                least = Some((at, candidate.load()));
            }
        }
        if let Some((at, _)) = least {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests;
