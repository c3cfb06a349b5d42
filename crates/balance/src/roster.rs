//! `Roster`: the numbers of a routing table's replicas, both ways.

/// Which replica stands at which index. Built once for a routing table.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    ids: Vec<u32>,
    /// Number and index, by number.
    indices: Vec<(u32, u32)>,
}

impl Roster {
    /// The replicas with these numbers, in the order of the routing table.
    #[must_use]
    pub fn new(replica_ids: &[u32]) -> Self {
        let mut indices: Vec<(u32, u32)> = replica_ids.iter().copied().zip(0..).collect();
        indices.sort_unstable();
        Self {
            ids: replica_ids.to_vec(),
            indices,
        }
    }

    /// The number of the replica at `index`.
    #[must_use]
    pub fn id(&self, index: usize) -> Option<u32> {
        self.ids.get(index).copied()
    }

    /// Where the replica with this number stands; `None` when it is not in the table.
    #[must_use]
    pub fn index(&self, replica_id: u32) -> Option<usize> {
        let at = self
            .indices
            .binary_search_by_key(&replica_id, |&(id, _)| id)
            .ok()?;
        self.indices.get(at).map(|&(_, index)| index as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_answers_both_ways() {
        let roster = Roster::new(&[7, 2, 5]);
        for (index, id) in [7, 2, 5].into_iter().enumerate() {
            assert_eq!(roster.id(index), Some(id));
            assert_eq!(roster.index(id), Some(index));
        }
        assert_eq!((roster.id(3), roster.index(3)), (None, None));
    }
}
