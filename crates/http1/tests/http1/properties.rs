//! What holds for all bytes, however they are cut.

use http1::{Fields, read_request};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::mutation::{Random, mutated};
use crate::reading::{self, chunked, requests};
use crate::seeds::{ANSWERS, CHUNKED, REQUESTS};

/// A well-formed chunked body, its data and its trailers.
fn chunked_body() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Vec<u8>)> {
    let chunk = (
        vec(any::<u8>(), 1..40),
        "(0{0,3})",
        "(;[a-z]{1,8}(=[a-z0-9]{1,8})?){0,2}",
    );
    let trailers = "(X[a-z]{1,5}: [ -~]{0,9}\r\n){0,3}";
    (vec(chunk, 0..6), trailers).prop_map(|(chunks, trailers)| {
        let (mut body, mut data) = (Vec::new(), Vec::new());
        for (bytes, zeros, extension) in chunks {
            body.extend(format!("{zeros}{:x}{extension}\r\n", bytes.len()).bytes());
            body.extend(&bytes);
            body.extend(b"\r\n");
            data.extend(bytes);
        }
        body.extend(format!("0\r\n{trailers}\r\n").bytes());
        (body, data, format!("{trailers}\r\n").into_bytes())
    })
}

/// `bytes` in pieces that end at `cuts`.
fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|ends| &bytes[ends[0]..ends[1]])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_chunked_body_is_the_same_in_any_pieces(
        (body, data, trailers) in chunked_body(),
        rest in vec(any::<u8>(), 0..9),
        cuts in vec(any::<usize>(), 0..9),
    ) {
        let bytes = [&body[..], &rest].concat();
        let whole = chunked([&bytes[..]]);
        prop_assert_eq!(&whole.end, &Ok(true));
        prop_assert_eq!((&whole.data, whole.length, &whole.trailers), (&data, body.len(), &trailers));
        prop_assert_eq!(&whole, &chunked(pieces(&bytes, &cuts)));
        prop_assert_eq!(&whole, &chunked(bytes.chunks(1)));
    }

    #[test]
    fn what_is_wrong_with_chunks_is_the_same_in_any_pieces(
        seed: u64,
        cuts in vec(any::<usize>(), 0..9),
    ) {
        let bytes = mutated(CHUNKED, &mut Random(seed));
        let whole = chunked([&bytes[..]]);
        prop_assert_eq!(&whole, &chunked(pieces(&bytes, &cuts)));
        prop_assert_eq!(&whole, &chunked(bytes.chunks(1)));
    }

    #[test]
    fn a_prefix_of_a_request_is_never_refused(seed: u64) {
        let bytes = mutated(REQUESTS, &mut Random(seed));
        let mut fields = Fields::new();
        if let Ok(Some(head)) = read_request(&bytes, &mut fields) {
            for end in 0..head.length {
                prop_assert_eq!(read_request(&bytes[..end], &mut fields), Ok(None));
            }
            // Nor does what follows change what was read.
            prop_assert_eq!(read_request(&bytes[..head.length], &mut fields), Ok(Some(head)));
        }
    }

    /// Whoever waits for more waits for something that may still come; who refuses does not change his mind.
    #[test]
    fn what_is_refused_stays_refused(seed: u64) {
        let bytes = mutated(REQUESTS, &mut Random(seed));
        let mut fields = Fields::new();
        let refused = (0..=bytes.len()).find(|end| read_request(&bytes[..*end], &mut fields).is_err());
        if let Some(refused) = refused {
            for end in refused..=bytes.len() {
                prop_assert!(read_request(&bytes[..end], &mut fields).is_err());
            }
        }
    }

    #[test]
    fn any_bytes_are_safe(bytes in vec(any::<u8>(), 0..200), seed: u64) {
        requests(&bytes);
        chunked([&bytes[..]]);
        let _ = reading::answer(&bytes);
        let _ = reading::answer(&[b"HTTP/1.1 200", &bytes[..]].concat());
        let _ = reading::answer(&mutated(ANSWERS, &mut Random(seed)));
    }
}

#[test]
fn a_prefix_of_a_seed_is_never_refused() {
    for seed in REQUESTS {
        let mut fields = Fields::new();
        let length = read_request(seed, &mut fields).unwrap().unwrap().length;
        for end in 0..length {
            assert_eq!(read_request(&seed[..end], &mut fields), Ok(None));
        }
    }
}
