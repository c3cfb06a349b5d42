//! Runs every target for a moment, without libFuzzer: over its corpus, and over so many changed copies of it.
//!
//! `smoke [SECONDS] [FIRST_ROUND]`: how long each target may take (5), and where the numbers begin that the changes are
//! made from (0).

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Changed copies per target, unless the time is up before.
const ROUNDS: u64 = 50_000;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse());
    let (Ok(seconds), Ok(first)) = (
        arguments.next().unwrap_or(Ok(5)),
        arguments.next().unwrap_or(Ok(0)),
    ) else {
        eprintln!("usage: smoke [SECONDS] [FIRST_ROUND], both whole numbers");
        return ExitCode::FAILURE;
    };
    for (name, target) in fuzz::TARGETS {
        let seeds = match corpus(name) {
            Ok(seeds) if !seeds.is_empty() => seeds,
            Ok(_) => {
                eprintln!("{name}: fuzz/corpus/{name} is empty");
                return ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("{name}: cannot read fuzz/corpus/{name}: {error}");
                return ExitCode::FAILURE;
            }
        };
        seeds.iter().for_each(|seed| target(seed));
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut rounds = 0;
        while rounds < ROUNDS && Instant::now() < end {
            // A failure names its bytes; the round makes it easy to come back to.
            let round = first + rounds;
            let bytes = fuzz::mutated(&seeds, round);
            if std::panic::catch_unwind(|| target(&bytes)).is_err() {
                eprintln!("{name}: failed in round {round}: {}", bytes.escape_ascii());
                return ExitCode::FAILURE;
            }
            rounds += 1;
        }
        println!("{name}: {} files, {rounds} changed copies", seeds.len());
    }
    ExitCode::SUCCESS
}

/// The files of a corpus, in the order of their names.
fn corpus(name: &str) -> io::Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    paths.iter().map(fs::read).collect()
}
