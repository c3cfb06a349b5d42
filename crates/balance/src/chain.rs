//! `PrefixChain`: the beginnings of one prompt, hashed.
//!
//! Beginnings end at fixed places, so that two prompts that share a beginning share its hashes: every 128 bytes up to
//! 1 KiB, then each an eighth longer than the one before, up to 64 KiB. What a fixed place misses of a match is then
//! at most an eighth of it, as fine as matters, and a prompt of any length has at most 44 beginnings. (Blocks of one
//! size would be 512 for the longest prompts, and a few hundred such sessions would fill the index.)

use crate::hash::hash;
use crate::prompt::PromptView;

/// Every beginning up to [`FINE_BYTES`] is so much longer than the one before it.
const FINE_STEP_BYTES: usize = 128;
const FINE_BYTES: usize = 1024;
/// What lies beyond is not looked at.
const MOST_BYTES: usize = 64 * 1024;

/// How many beginnings a prompt has at most.
pub(crate) const MOST_BLOCKS: usize = count_ends();
/// Where the beginnings end, in bytes.
const ENDS: [usize; MOST_BLOCKS] = ends();

/// The hashes of a prompt's beginnings, from the shortest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixChain {
    hashes: [u64; MOST_BLOCKS],
    blocks: usize,
    bytes: usize,
}

impl PrefixChain {
    /// The beginnings of `prompt`. A prompt of less than 128 bytes has none, and no affinity.
    #[must_use]
    pub fn new(prompt: &PromptView<'_>) -> Self {
        let text = prompt.text();
        let mut chain = Self {
            hashes: [0; MOST_BLOCKS],
            blocks: 0,
            bytes: text.len().min(MOST_BYTES),
        };
        let mut before = hash(prompt.model(), 0);
        let mut start = 0;
        for (slot, end) in chain.hashes.iter_mut().zip(ENDS) {
            let Some(block) = text.get(start..end) else {
                break;
            };
            before = hash(block, before);
            *slot = before;
            start = end;
            chain.blocks += 1;
        }
        chain
    }

    /// The hashes, shortest beginning first.
    pub(crate) fn hashes(&self) -> &[u64] {
        self.hashes.get(..self.blocks).unwrap_or_default()
    }

    /// What share of the prompt the beginning of this number is.
    pub(crate) fn share(&self, block: usize) -> f64 {
        let end = ENDS.get(block).copied().unwrap_or(MOST_BYTES);
        end as f64 / self.bytes.max(1) as f64
    }
}

const fn next_end(end: usize) -> usize {
    if end < FINE_BYTES {
        end + FINE_STEP_BYTES
    } else {
        let longer = end + end / 8;
        if longer > MOST_BYTES {
            MOST_BYTES
        } else {
            longer
        }
    }
}

const fn count_ends() -> usize {
    let mut count = 0;
    let mut end = 0;
    while end < MOST_BYTES {
        end = next_end(end);
        count += 1;
    }
    count
}

const fn ends() -> [usize; MOST_BLOCKS] {
    let mut ends = [0; MOST_BLOCKS];
    let mut at = 0;
    let mut end = 0;
    while at < MOST_BLOCKS {
        end = next_end(end);
        ends[at] = end;
        at += 1;
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(text: &str) -> PrefixChain {
        PrefixChain::new(&PromptView::new(text.as_bytes(), b""))
    }

    #[test]
    fn ends_grow_by_an_eighth_at_most() {
        assert_eq!(ENDS[0], FINE_STEP_BYTES);
        assert_eq!(ENDS[MOST_BLOCKS - 1], MOST_BYTES);
        assert_eq!(MOST_BLOCKS, 44);
        for pair in ENDS.windows(2) {
            assert!(pair[0] < pair[1]);
            assert!(
                pair[1] - pair[0] <= (pair[0] / 8).max(FINE_STEP_BYTES),
                "{pair:?}"
            );
        }
    }

    #[test]
    fn prompts_that_begin_alike_have_beginnings_in_common() {
        let system = "You are a helpful assistant. ".repeat(40);
        let first = chain(&format!("{system}{}", "What is a replica? ".repeat(30)));
        let other = chain(&format!("{system}{}", "Tell me a story. ".repeat(30)));
        let alike = first
            .hashes()
            .iter()
            .zip(other.hashes())
            .take_while(|(first, other)| first == other)
            .count();
        assert_eq!(ENDS[alike - 1], 1152);
        assert!(
            first.hashes()[alike..]
                .iter()
                .all(|hash| !other.hashes().contains(hash))
        );
    }

    #[test]
    fn a_longer_conversation_has_all_beginnings_of_the_shorter() {
        let text = "0123456789abcdef".repeat(5000);
        let long = chain(&text);
        assert_eq!(long.hashes().len(), MOST_BLOCKS);
        for length in [0, 127, 128, 1000, 1024, 5000, 65_535, 65_536, 70_000] {
            let short = chain(&text[..length]);
            assert!(long.hashes().starts_with(short.hashes()), "{length}");
            assert_eq!(
                short.hashes().len(),
                ENDS.iter().filter(|&&end| end <= length).count()
            );
        }
    }

    #[test]
    fn another_model_has_nothing_in_common() {
        let text = "the same prompt ".repeat(100);
        let one = PrefixChain::new(&PromptView::new(text.as_bytes(), b"one"));
        let two = PrefixChain::new(&PromptView::new(text.as_bytes(), b"two"));
        assert!(one.hashes().iter().all(|hash| !two.hashes().contains(hash)));
    }
}
