//! `PrefixIndex`: which replicas served which beginnings of prompts lately.
//!
//! A table of fixed size: sets of four entries, found by the hash of the beginning; within a set the entry that was
//! unused for longest makes room. Nothing is allocated after the start and nothing is ever swept: a replica that left
//! the routing table is not found in the roster, and its entries age out.
//!
//! What it says of a replica's cache is a guess (the replica may have dropped it). A wrong guess costs what no guess
//! would have cost.

use crate::chain::{MOST_BLOCKS, PrefixChain};

/// Entries that share a place.
const WAYS: usize = 4;
/// Replicas remembered for a beginning; an entry is 32 bytes, half of a cache line.
const REPLICAS: usize = 5;
/// Beginnings that may be missing (they were overwritten) within a match.
const MOST_GAPS: usize = 2;

/// Beginnings of prompts and who served them. One for a service, shared by its serving threads behind a lock of the
/// proxy's: conversations do not stay on one thread. A choice holds it for a microsecond or two.
#[derive(Clone, Debug)]
pub struct PrefixIndex {
    /// A power of two of them.
    sets: Vec<[Entry; WAYS]>,
    /// Prompts recorded, for the age of entries.
    clock: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Of the beginning.
    hash: u64,
    /// `clock` when it was last recorded.
    used: u32,
    /// Who served it, latest first; 0 is nobody (replicas are numbered from 1).
    replica_ids: [u32; REPLICAS],
}

/// The beginnings of one prompt that are known.
pub(crate) struct Matches<'a> {
    found: [Option<&'a Entry>; MOST_BLOCKS],
    blocks: usize,
}

impl PrefixIndex {
    /// Entries of an index that suits a service: 2 MiB, about 3,000 conversations of 6 KB.
    pub const DEFAULT_ENTRIES: usize = 64 * 1024;

    /// An index that holds at least this many beginnings (at least 4, at most 2²⁴), of 32 bytes each.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        let sets = entries.clamp(WAYS, 1 << 24).div_ceil(WAYS);
        Self {
            sets: vec![[Entry::default(); WAYS]; sets.next_power_of_two()],
            clock: 0,
        }
    }

    /// From now on the replica has all beginnings of `chain`.
    pub fn record(&mut self, chain: &PrefixChain, replica_id: u32) {
        if replica_id == 0 {
            return;
        }
        self.clock = self.clock.wrapping_add(1);
        let clock = self.clock;
        for &hash in chain.hashes() {
            let at = self.place(hash);
            let Some(set) = self.sets.get_mut(at) else {
                return;
            };
            let way = set.iter().position(|entry| entry.holds(hash)).or_else(|| {
                (0..WAYS).max_by_key(|&way| set.get(way).map(|entry| entry.age(clock)))
            });
            let Some(entry) = way.and_then(|way| set.get_mut(way)) else {
                return;
            };
            if !entry.holds(hash) {
                *entry = Entry {
                    hash,
                    ..Entry::default()
                };
            }
            entry.used = clock;
            entry.put_first(replica_id);
        }
    }

    /// Who has which beginning of `chain`.
    pub(crate) fn matches(&self, chain: &PrefixChain) -> Matches<'_> {
        let mut matches = Matches {
            found: [None; MOST_BLOCKS],
            blocks: 0,
        };
        let mut gaps = 0;
        for (block, (slot, &hash)) in matches.found.iter_mut().zip(chain.hashes()).enumerate() {
            *slot = self
                .sets
                .get(self.place(hash))
                .and_then(|set| set.iter().find(|entry| entry.holds(hash)));
            if slot.is_some() {
                matches.blocks = block + 1;
                gaps = 0;
            } else {
                gaps += 1;
                if gaps > MOST_GAPS {
                    break;
                }
            }
        }
        matches
    }

    fn place(&self, hash: u64) -> usize {
        hash as usize & (self.sets.len() - 1)
    }
}

impl Default for PrefixIndex {
    fn default() -> Self {
        Self::new(Self::DEFAULT_ENTRIES)
    }
}

impl<'a> Matches<'a> {
    /// The number of each known beginning and who served it, latest first.
    pub(crate) fn longest_first(&self) -> impl Iterator<Item = (usize, &'a [u32])> {
        let found = self.found.get(..self.blocks).unwrap_or_default();
        found
            .iter()
            .enumerate()
            .rev()
            .filter_map(|(block, entry)| entry.map(|entry| (block, entry.replica_ids())))
    }
}

impl Entry {
    fn holds(&self, hash: u64) -> bool {
        self.hash == hash && self.replica_ids.first() != Some(&0)
    }

    /// Prompts since it was last recorded; an empty entry is older than any other.
    fn age(&self, clock: u32) -> u64 {
        if self.replica_ids.first() == Some(&0) {
            u64::MAX
        } else {
            u64::from(clock.wrapping_sub(self.used))
        }
    }

    /// Puts a replica before the others; the last one falls off if there are too many.
    fn put_first(&mut self, replica_id: u32) {
        let at = self
            .replica_ids
            .iter()
            .position(|&id| id == replica_id)
            .unwrap_or(REPLICAS - 1);
        if let Some(until_it) = self.replica_ids.get_mut(..=at) {
            until_it.rotate_right(1);
        }
        if let Some(first) = self.replica_ids.first_mut() {
            *first = replica_id;
        }
    }

    fn replica_ids(&self) -> &[u32] {
        let known = self.replica_ids.iter().position(|&id| id == 0);
        self.replica_ids
            .get(..known.unwrap_or(REPLICAS))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
