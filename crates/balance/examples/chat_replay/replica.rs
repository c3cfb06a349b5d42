//! `Replica`: a model server as far as its queue and its prefix cache go.

use std::collections::BTreeMap;

/// Tokens of a block of the cache, as in vLLM.
const BLOCK_TOKENS: usize = 16;
/// Blocks that a cache holds.
const CACHE_BLOCKS: usize = 150_000 / BLOCK_TOKENS;
/// Microseconds for each token of a prompt that is not in the cache: 8,000 a second, one prompt after another.
const PREFILL_MICROSECONDS: u64 = 125;
/// Microseconds for each token of an answer; answers are made side by side.
const DECODE_MICROSECONDS: u64 = 20_000;

pub(crate) struct Replica {
    cache_blocks: usize,
    /// When the last prompt taken up has been read.
    busy_until: u64,
    /// When each block was used, by hash of all tokens up to its end.
    blocks: BTreeMap<u64, u64>,
    /// The same by age.
    by_age: BTreeMap<u64, u64>,
    uses: u64,
}

pub(crate) struct Answer {
    /// Tokens of the prompt found in the cache.
    pub(crate) cached_tokens: usize,
    /// When the first token of the answer is there.
    pub(crate) first_token: u64,
    /// When all of them are.
    pub(crate) complete: u64,
}

impl Replica {
    pub(crate) fn new() -> Self {
        Self::with_cache(CACHE_BLOCKS)
    }

    /// One that forgets nothing.
    pub(crate) fn endless() -> Self {
        Self::with_cache(usize::MAX)
    }

    fn with_cache(cache_blocks: usize) -> Self {
        Self {
            cache_blocks,
            busy_until: 0,
            blocks: BTreeMap::new(),
            by_age: BTreeMap::new(),
            uses: 0,
        }
    }

    pub(crate) fn serve(&mut self, now: u64, prompt: &[u16], reply: &[u16]) -> Answer {
        let cached = blocks(prompt.iter())
            .iter()
            .take_while(|block| self.blocks.contains_key(block))
            .count()
            * BLOCK_TOKENS;
        let read = (prompt.len() - cached) as u64 * PREFILL_MICROSECONDS;
        let first_token = self.busy_until.max(now) + read;
        self.busy_until = first_token;
        // The end of a text is used before its beginning, and so the first to be dropped.
        for &block in blocks(prompt.iter().chain(reply)).iter().rev() {
            self.touch(block);
        }
        Answer {
            cached_tokens: cached,
            first_token,
            complete: first_token + reply.len() as u64 * DECODE_MICROSECONDS,
        }
    }

    fn touch(&mut self, block: u64) {
        self.uses += 1;
        if let Some(before) = self.blocks.insert(block, self.uses) {
            self.by_age.remove(&before);
        }
        self.by_age.insert(self.uses, block);
        if self.blocks.len() > self.cache_blocks
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.blocks.remove(&oldest);
        }
    }
}

/// The hash of each beginning that is a whole number of blocks.
fn blocks<'a>(tokens: impl Iterator<Item = &'a u16>) -> Vec<u64> {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut hashes = Vec::new();
    for (number, &token) in (1..).zip(tokens) {
        hash = (hash ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
        if number % BLOCK_TOKENS == 0 {
            hashes.push(hash);
        }
    }
    hashes
}
