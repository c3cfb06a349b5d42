//! `Ring`: which replica a session belongs to.
//!
//! Consistent hashing (Karger and others, 1997) with 160 points a replica, as ketama has. Points come from replica
//! numbers and nothing else: every thread and every restarted proxy chooses alike, and when a replica leaves, its
//! sessions move and no others. A table of first points, indexed by the leading bits of the hash, makes a look-up one
//! step instead of a binary search.
//!
//! Maglev's table is more even, but moves sessions that need not move; rendezvous hashing moves none, but looks at
//! every replica.

use crate::hash::mix;

/// Points of one replica. It must not depend on the number of replicas: sessions would move whenever it changed.
const POINTS: u64 = 160;

/// Places on the circle of 64-bit hashes, each owned by a replica. Built once for a routing table; takes about 25
/// bytes a point, 4 KB a replica.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// In ascending order.
    points: Vec<Point>,
    /// For each value of the leading bits, the first point that is not below it.
    firsts: Vec<u32>,
    /// How far a hash is shifted to leave those bits.
    shift: u32,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: u64,
    index: u32,
}

impl Ring {
    /// The ring of the replicas with these numbers, in the order of the routing table.
    #[must_use]
    pub fn new(replica_ids: &[u32]) -> Self {
        let mut places = Vec::with_capacity(replica_ids.len().saturating_mul(POINTS as usize));
        for (index, &replica_id) in (0_u32..).zip(replica_ids) {
            for number in 0..POINTS {
                // The number of the replica is part of the order, so that not even two points at one place make it
                // depend on the order of the table.
                places.push((
                    mix(mix(u64::from(replica_id) + 1) ^ number),
                    replica_id,
                    index,
                ));
            }
        }
        places.sort_unstable();
        let points: Vec<Point> = places
            .into_iter()
            .map(|(at, _, index)| Point { at, index })
            .collect();
        let (firsts, shift) = first_points(&points);
        Self {
            points,
            firsts,
            shift,
        }
    }

    /// The owners of the places from `hash` on, once around; the same one may come several times.
    pub(crate) fn owners_from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let start = self.first_at(hash).min(self.points.len());
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before).map(|point| point.index as usize)
    }

    fn first_at(&self, hash: u64) -> usize {
        let Some(&first) = self.firsts.get((hash >> self.shift) as usize) else {
            return 0;
        };
        let mut at = first as usize;
        while self.points.get(at).is_some_and(|point| point.at < hash) {
            at += 1;
        }
        at
    }
}

/// About one entry a point, so that there is about one step from an entry to the point looked for.
fn first_points(points: &[Point]) -> (Vec<u32>, u32) {
    if points.is_empty() {
        return (Vec::new(), 0);
    }
    let bits = points.len().next_power_of_two().trailing_zeros().max(1);
    let shift = 64 - bits;
    let mut firsts = Vec::with_capacity(1 << bits);
    let mut at: u32 = 0;
    for bucket in 0..1_u64 << bits {
        while points
            .get(at as usize)
            .is_some_and(|point| point.at >> shift < bucket)
        {
            at += 1;
        }
        firsts.push(at);
    }
    (firsts, shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session_hash;

    fn owner(ring: &Ring, hash: u64) -> Option<usize> {
        ring.owners_from(hash).next()
    }

    #[test]
    fn an_empty_ring_owns_nothing() {
        assert_eq!(owner(&Ring::new(&[]), 5), None);
        assert_eq!(owner(&Ring::default(), u64::MAX), None);
    }

    #[test]
    fn the_owner_is_the_first_point_at_or_after_the_hash() {
        let ring = Ring::new(&[3, 1, 9]);
        let slow = |hash: u64| {
            ring.points
                .iter()
                .find(|point| point.at >= hash)
                .or(ring.points.first())
                .map(|point| point.index as usize)
        };
        for point in &ring.points {
            for hash in [point.at.wrapping_sub(1), point.at, point.at.wrapping_add(1)] {
                assert_eq!(owner(&ring, hash), slow(hash));
            }
        }
        for hash in [0, u64::MAX] {
            assert_eq!(owner(&ring, hash), slow(hash));
        }
    }

    #[test]
    fn the_order_of_the_table_does_not_matter() {
        let (ids, other) = ([4_u32, 8, 15, 16], [16_u32, 4, 15, 8]);
        let (ring, same) = (Ring::new(&ids), Ring::new(&other));
        for session in 0..2000 {
            let hash = mix(session);
            assert_eq!(
                owner(&ring, hash).map(|index| ids[index]),
                owner(&same, hash).map(|index| other[index])
            );
        }
    }

    #[test]
    fn sessions_are_spread_over_a_thousand_replicas() {
        let ids: Vec<u32> = (1..=1000).collect();
        let ring = Ring::new(&ids);
        let mut held = vec![0_u32; ids.len()];
        for session in 0..200_000_u64 {
            let hash = session_hash(&session.to_le_bytes());
            held[owner(&ring, hash).unwrap()] += 1;
        }
        let most = held.iter().max().unwrap();
        let least = held.iter().min().unwrap();
        assert!(*most < 300 && *least > 110, "{least} to {most}, mean 200");
    }
}
