//! We and hyper read the same requests in the same bytes.

use std::time::{Duration, Instant};

use crate::comparison::{difference, hyper_requests};
use crate::mutation::{Random, mutated};
use crate::reading;
use crate::seeds::REQUESTS;

/// Mutated requests that are compared.
const ROUNDS: u64 = 6_000;
/// On a machine that is busy with other things, fewer are.
const TIME_LIMIT: Duration = Duration::from_secs(10);

#[test]
fn the_comparison_sees_all_that_the_seeds_hold() {
    for seed in REQUESTS {
        let (ours, _) = reading::requests(seed);
        assert!(!ours.is_empty(), "{}", seed.escape_ascii());
        assert!(ours.iter().all(|request| request.complete), "{ours:?}");
        assert_eq!(ours, hyper_requests(seed, 7), "{}", seed.escape_ascii());
    }
}

#[test]
fn mutated_requests_are_read_alike_or_refused() {
    let begin = Instant::now();
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let mut random = Random(round);
        let bytes = mutated(REQUESTS, &mut random);
        let piece = [1, 7, 64, 100_000][random.below(4)];
        if let Some(difference) = difference(&bytes, piece) {
            panic!("seed {round}: {}\n{difference}", bytes.escape_ascii());
        }
        match reading::requests(&bytes) {
            (requests, _) if requests.is_empty() => refused += 1,
            _ => accepted += 1,
        }
        if begin.elapsed() > TIME_LIMIT {
            break;
        }
    }
    assert!(
        accepted > 100 && refused > 100,
        "{accepted} accepted, {refused} refused"
    );
}
