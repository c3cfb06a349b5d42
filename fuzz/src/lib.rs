//! What must hold for all bytes. Each function panics where it does not; what they compare is shared with the tests of
//! `http1`.

// Each part is used by one of its two homes at least.
#![allow(dead_code)]

#[path = "../../crates/http1/tests/http1/comparison.rs"]
mod comparison;
#[path = "../../crates/http1/tests/http1/mutation.rs"]
mod mutation;
#[path = "../../crates/http1/tests/http1/reading.rs"]
mod reading;

use balance::prompt::extract;
use http1::{Fields, read_answer, read_request};

use mutation::Random;

/// A check, by the name of its target and corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 4] = [
    ("request", request),
    ("answer", answer),
    ("chunked", chunked),
    ("prompt", prompt),
];

/// Longest input that is of interest: what differs is in the framing, not in the length.
const MAX_BYTES: usize = 4096;

/// The paths at which prompts are looked for, and one at which they are not.
const PATHS: [&str; 7] = [
    "/v1/chat/completions",
    "/v1/completions?x",
    "/v1/responses",
    "/v1/messages",
    "/generate",
    "/api/chat/",
    "/health",
];

/// We and hyper read the same requests; a prefix of one is never refused.
pub fn request(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
    for piece in [MAX_BYTES, 1] {
        if let Some(difference) = comparison::difference(bytes, piece) {
            panic!("{}\n{difference}", bytes.escape_ascii());
        }
    }
    let mut fields = Fields::new();
    if let Ok(Some(head)) = read_request(bytes, &mut fields) {
        for end in 0..head.length {
            let found = read_request(&bytes[..end], &mut fields);
            assert_eq!(found, Ok(None), "{}", bytes[..end].escape_ascii());
        }
    }
}

/// Any answer is read or refused; a prefix of one is never refused.
pub fn answer(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
    let _ = reading::answer(bytes);
    let mut fields = Fields::new();
    if let Ok(Some(head)) = read_answer(bytes, &mut fields) {
        for end in 0..head.length {
            let found = read_answer(&bytes[..end], &mut fields);
            assert_eq!(found, Ok(None), "{}", bytes[..end].escape_ascii());
        }
    }
}

/// A chunked body is the same in any pieces; the first byte says in which.
pub fn chunked(bytes: &[u8]) {
    let Some((seed, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = reading::chunked([bytes]);
    assert!(whole.length <= bytes.len() && whole.data.len() <= whole.length.max(bytes.len()));
    assert_eq!(
        whole,
        reading::chunked(bytes.chunks(1)),
        "{}",
        bytes.escape_ascii()
    );
    let (mut random, mut rest, mut pieces) = (Random(u64::from(*seed)), bytes, Vec::new());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.below(9).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    assert_eq!(whole, reading::chunked(pieces), "{}", bytes.escape_ascii());
}

/// A prompt is part of its body, and what a cut body has of it is the beginning of it. The first byte chooses the path.
pub fn prompt(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else {
        return;
    };
    let path = PATHS[usize::from(*choice) % PATHS.len()];
    let Some(whole) = extract(body, path) else {
        return;
    };
    assert!(contains(body, whole.text()) && contains(body, whole.model()));
    for cut in 0..body.len().min(MAX_BYTES) {
        let Some(part) = extract(&body[..cut], path) else {
            continue;
        };
        assert_eq!(
            part.model(),
            whole.model(),
            "{}",
            body[..cut].escape_ascii()
        );
        assert!(
            whole.text().starts_with(part.text()),
            "{} cut to {}",
            body.escape_ascii(),
            body[..cut].escape_ascii()
        );
    }
}

/// Whether `part` lies within `body`, not only reads like a part of it.
fn contains(body: &[u8], part: &[u8]) -> bool {
    let (body, part) = (body.as_ptr_range(), part.as_ptr_range());
    part.is_empty() || body.start <= part.start && part.end <= body.end
}

/// One of `seeds`, or two of them, changed a few times; the same for the same `round`.
#[must_use]
pub fn mutated(seeds: &[Vec<u8>], round: u64) -> Vec<u8> {
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    mutation::mutated(&seeds, &mut Random(round))
}
