//! Some thousand seeds of the simulator, on every machine; `.ci/run` plays ten thousand.

use sim::Fault;

#[test]
fn seeds_keep_every_promise() {
    let summary = sim::play_all(0..5000, 2, 1, &|| {});
    let broken: Vec<String> = summary
        .failed
        .iter()
        .filter_map(|run| {
            let violation = run.violation.as_ref()?;
            Some(format!(
                "seed {}: {}: {}; `cargo run -p sim -- --seed {} --trace` replays it",
                run.seed, violation.checker, violation.message, run.seed
            ))
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    for fault in Fault::ALL {
        assert!(summary.faults.of(fault) > 0, "'{fault}' never struck");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 14, 159] {
        let (first, second) = (sim::play(seed, true), sim::play(seed, true));
        assert!(
            first.lines.len() > 20,
            "the timeline of seed {seed} is empty"
        );
        assert_eq!(first.lines, second.lines, "seed {seed}");
        assert_eq!(first.violation, second.violation);
    }
}

/// Only with `--features planted-bugs`.
#[cfg(feature = "planted-bugs")]
#[test]
fn every_planted_mistake_is_noticed() {
    use plan::planted::{Bug, plant};
    for bug in Bug::ALL {
        let summary = sim::play_all(0..1000, 2, 1, &|| plant(Some(bug)));
        assert!(!summary.failed.is_empty(), "{bug:?} is not noticed");
    }
}
