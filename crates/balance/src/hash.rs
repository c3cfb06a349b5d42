//! The hashes of affinity: the same in every thread, process and release, because sessions would move otherwise.
//! They are no defence against someone who looks for collisions: that is what the bounded load is for.

const FIRST: u64 = 0xa076_1d64_78bd_642f;
const SECOND: u64 = 0xe703_7ed1_a0b4_28db;

/// The hash of a session's value (a header's or a cookie's), for [`Key::Session`](crate::Key::Session).
#[must_use]
pub fn session_hash(value: &[u8]) -> u64 {
    hash(value, 0)
}

/// The finaliser of splitmix64: every bit of `value` touches every bit of the result.
pub(crate) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Sixteen bytes a step by folded multiplication, as wyhash does.
pub(crate) fn hash(bytes: &[u8], seed: u64) -> u64 {
    let mut state = seed ^ FIRST;
    let (pairs, rest) = bytes.as_chunks::<16>();
    for pair in pairs {
        state = step(state, pair);
    }
    let mut last = [0; 16];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    state = step(state, &last);
    mix(state ^ bytes.len() as u64)
}

fn step(state: u64, pair: &[u8; 16]) -> u64 {
    let both = u128::from_le_bytes(*pair);
    let (low, high) = (both as u64, (both >> 64) as u64);
    let product = u128::from(low ^ SECOND) * u128::from(high ^ state);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proxies of two releases side by side must agree: do not change these numbers.
    #[test]
    fn the_hash_of_a_session_is_for_ever() {
        assert_eq!(session_hash(b""), 0x4e6a_e996_bbe4_4404);
        assert_eq!(session_hash(b"user-1"), 0x31f3_9135_3aa6_be90);
        assert_eq!(
            session_hash(b"0f8fad5b-d9cb-469f-a165-70867728950e"),
            0x79cd_72ef_dec9_3db3
        );
    }

    #[test]
    fn length_order_seed_and_every_byte_count() {
        let text = b"the quick brown fox jumps over the lazy dog";
        let whole = hash(text, 0);
        assert_ne!(whole, hash(text, 1));
        assert_ne!(hash(b"ab", 0), hash(b"ab\0", 0));
        for at in 0..text.len() {
            let mut other = *text;
            other[at] ^= 1;
            assert_ne!(whole, hash(&other, 0), "byte {at}");
        }
    }

    #[test]
    fn high_bits_spread() {
        let mut buckets = [0; 16];
        for number in 0..16_000 {
            let value = format!("session-{number}");
            buckets[(session_hash(value.as_bytes()) >> 60) as usize] += 1;
        }
        assert!(
            buckets.iter().all(|&held| (850..1150).contains(&held)),
            "{buckets:?}"
        );
    }
}
