//! `Turn`: what one serving thread remembers between choices.

use crate::hash::mix;

/// The golden ratio in 64 bits: the step of splitmix64 (Steele, Lea and Flood, 2014).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whose turn it is, and a small generator of random numbers. One for each serving thread and service; nothing is
/// shared, so nothing contends.
#[derive(Clone, Debug)]
pub struct Turn {
    cursor: usize,
    state: u64,
}

impl Turn {
    /// A turn that begins somewhere: threads and restarted proxies with different seeds do not all begin with the
    /// first replica.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut turn = Self {
            cursor: 0,
            state: seed,
        };
        turn.cursor = (turn.random() >> 33) as usize;
        turn
    }

    /// A turn that begins with the replica at `cursor`; any value is valid.
    #[must_use]
    pub fn starting_at(cursor: usize, seed: u64) -> Self {
        Self {
            cursor,
            state: seed,
        }
    }

    /// Where the next turn begins: for [`starting_at`](Self::starting_at), where several threads share it.
    #[must_use]
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// The index of the replica whose turn it is, among `count` (above 0).
    pub(crate) fn start(&self, count: usize) -> usize {
        if self.cursor < count {
            self.cursor
        } else {
            // A table that shrank, or the first turn.
            self.cursor.checked_rem(count).unwrap_or(0)
        }
    }

    /// The next turn is that of the replica after `index`, among `count`.
    pub(crate) fn pass(&mut self, index: usize, count: usize) {
        let next = index + 1;
        self.cursor = if next < count { next } else { 0 };
    }

    /// A random index below `count`, which is below 2³²; 0 when `count` is 0.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        // Lemire's reduction: a multiplication instead of a division; its bias is count / 2³².
        ((self.random() >> 32).wrapping_mul(count as u64) >> 32) as usize
    }

    /// True with the given probability.
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        ((self.random() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    /// A random fraction, in 2⁻³² parts.
    pub(crate) fn fraction(&mut self) -> u64 {
        self.random() >> 32
    }

    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cursor_is_valid() {
        assert_eq!(Turn::starting_at(7, 0).start(2), 1);
        assert_eq!(Turn::starting_at(usize::MAX, 0).start(0), 0);
        let mut turn = Turn::starting_at(1, 0);
        turn.pass(1, 2);
        assert_eq!(turn.start(2), 0);
    }

    #[test]
    fn seeds_spread_the_first_turn() {
        let mut begun = [0; 10];
        for seed in 0..1000 {
            begun[Turn::new(seed).start(10)] += 1;
        }
        assert!(begun.iter().all(|&times| times > 50), "{begun:?}");
    }

    #[test]
    fn random_indices_are_below_and_even() {
        let mut turn = Turn::new(1);
        let mut drawn = [0; 7];
        for _ in 0..7000 {
            drawn[turn.below(7)] += 1;
        }
        assert!(drawn.iter().all(|&times| times > 850), "{drawn:?}");
        assert_eq!(turn.below(0), 0);
        assert_eq!(turn.below(1), 0);
    }

    #[test]
    fn what_is_sure_happens_and_what_is_impossible_does_not() {
        let mut turn = Turn::new(2);
        assert!((0..1000).all(|_| turn.happens(1.0)));
        assert!((0..1000).all(|_| !turn.happens(0.0)));
        let times = (0..1000).filter(|_| turn.happens(0.25)).count();
        assert!((200..300).contains(&times), "{times}");
    }
}
