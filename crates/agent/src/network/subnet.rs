//! The choice of a replica's addresses: four consecutive ones, the second for the machine, the
//! third for the replica.

use std::net::Ipv4Addr;

/// Private ranges, in the order they are tried: first the one that carriers use between themselves
/// (RFC 6598), which home and company networks seldom do.
const RANGES: [Prefix; 4] = [
    Prefix::new([100, 64, 0, 0], 10),
    Prefix::new([10, 64, 0, 0], 10),
    Prefix::new([172, 24, 0, 0], 14),
    Prefix::new([192, 168, 192, 0], 18),
];

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    address: u32,
    bits: u8,
}

impl Prefix {
    /// The addresses that share the first `bits` (at most 32) with `address`.
    pub(super) const fn new(address: [u8; 4], bits: u8) -> Self {
        Self {
            address: u32::from_be_bytes(address),
            bits,
        }
    }

    fn mask(bits: u8) -> u32 {
        u32::MAX
            .checked_shl(u32::from(32 - bits.min(32)))
            .unwrap_or(0)
    }

    fn overlaps(self, other: Self) -> bool {
        let mask = Self::mask(self.bits.min(other.bits));
        self.address & mask == other.address & mask
    }
}

/// The addresses of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subnet {
    base: u32,
}

impl Subnet {
    /// Length of the network part of its addresses, in bits.
    pub(super) const PREFIX_BITS: u8 = 30;

    /// A subnet that overlaps none of `occupied`. Where the search starts depends on `key`, so that
    /// a replica's addresses are not those of the one that ended just before. `None` when all
    /// ranges are full.
    pub(super) fn choose(key: &str, occupied: &[Prefix]) -> Option<Self> {
        RANGES
            .into_iter()
            .find_map(|range| Self::choose_in(range, key, occupied))
    }

    fn choose_in(range: Prefix, key: &str, occupied: &[Prefix]) -> Option<Self> {
        let near: Vec<Prefix> = occupied
            .iter()
            .copied()
            .filter(|prefix| prefix.overlaps(range))
            .collect();
        // A route to the whole range, or to more, leaves nothing of it.
        if near.iter().any(|prefix| prefix.bits <= range.bits) {
            return None;
        }
        let count = 1_u32 << (Self::PREFIX_BITS - range.bits);
        let hash = blake3::hash(key.as_bytes());
        let [a, b, c, d, ..] = *hash.as_bytes();
        let start = u32::from_be_bytes([a, b, c, d]) % count;
        // The first subnet holds the range's own address, which some programs treat as special.
        (0..count)
            .map(|step| (start + step) % count)
            .filter(|index| *index != 0)
            .find_map(|index| {
                let subnet = Self {
                    base: range.address + index * 4,
                };
                let own = Prefix {
                    address: subnet.base,
                    bits: Self::PREFIX_BITS,
                };
                (!near.iter().any(|prefix| prefix.overlaps(own))).then_some(subnet)
            })
    }

    /// Its first address.
    pub(super) fn base(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base)
    }

    /// The machine's address, and the replica's gateway.
    pub(super) fn host(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base + 1)
    }

    /// The replica's address.
    pub(super) fn replica(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base + 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_replicas_never_share() {
        let mut occupied = Vec::new();
        for replica in 0..300 {
            let subnet = Subnet::choose(&format!("web-{replica}"), &occupied).unwrap();
            let own = Prefix {
                address: subnet.base,
                bits: 30,
            };
            assert!(!occupied.iter().any(|prefix: &Prefix| prefix.overlaps(own)));
            occupied.push(own);
        }
    }

    #[test]
    fn the_same_key_moves_on_when_its_place_is_taken() {
        let first = Subnet::choose("web-1", &[]).unwrap();
        let taken = Prefix {
            address: first.replica().to_bits(),
            bits: 32,
        };
        let second = Subnet::choose("web-1", &[taken]).unwrap();
        assert_ne!(first, second);
        assert_eq!(second.base, first.base + 4);
    }

    #[test]
    fn a_routed_range_is_left_alone() {
        let tailnet = Prefix::new([100, 64, 0, 0], 10);
        let subnet = Subnet::choose("web-1", &[tailnet]).unwrap();
        assert_eq!(subnet.host().octets()[0], 10);
        let everything: Vec<Prefix> = RANGES.to_vec();
        assert_eq!(Subnet::choose("web-1", &everything), None);
        assert_eq!(
            Subnet::choose("web-1", &[Prefix::new([0, 0, 0, 0], 0)]),
            None
        );
    }
}
