//! The promises of [`judge`] over simulated canaries. Everything is drawn from a seed.

use proptest::prelude::*;

use super::*;
use crate::figures::{CanaryCounts, CanaryFigures};
use crate::time::{Span, Timestamp};

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Microseconds around `median`, with a tail as services have: the 95th percentile is 5 times the median.
    fn duration(&mut self, median: f64) -> u64 {
        // Box and Muller; 0.98 standard deviations of the logarithm.
        let normal =
            (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        (median * (0.98 * normal).exp()) as u64
    }
}

/// How one version behaves at a moment.
#[derive(Clone, Copy)]
struct Behaviour {
    errors: f64,
    median: f64,
}

const GOOD: Behaviour = Behaviour {
    errors: 0.01,
    median: 40_000.0,
};

/// A canary under way, as the proxy reports it every second.
struct Canary {
    random: Random,
    counts: CanaryCounts,
    told: CanaryCounts,
    evidence: Evidence,
    now: Timestamp,
}

const NEW: u32 = 2;

impl Canary {
    fn begin(seed: u64, analysis: &Analysis) -> Self {
        let counts = CanaryCounts {
            counting_since: Timestamp(1),
            versions: vec![(1, Figures::default()), (NEW, Figures::default())],
        };
        Self {
            random: Random(seed),
            told: counts.clone(),
            counts,
            evidence: Evidence::new(NEW, analysis.max_error_increase),
            now: Timestamp::from_seconds(1000.0),
        }
    }

    /// A second of traffic: `rate` requests, of which a share of `weight` goes to the new version.
    fn second(&mut self, rate: f64, weight: f64, new: Behaviour, old: Behaviour) {
        self.now = self.now + Span::from_seconds(1.0);
        let whole = rate.floor() as u64 + u64::from(self.random.happens(rate.fract()));
        for _ in 0..whole {
            let goes_new = self.random.happens(weight);
            let (index, behaviour) = if goes_new { (1, new) } else { (0, old) };
            let fails = self.random.happens(behaviour.errors);
            let duration = self.random.duration(behaviour.median);
            let counts = &mut self.counts.versions[index].1;
            counts.requests += 1;
            if fails {
                counts.errors += 1;
            } else {
                counts.latency.count_micros(duration, 1);
                counts.time_to_first_byte.count_micros(duration / 2, 1);
            }
        }
        self.tell();
    }

    fn tell(&mut self) {
        let new = self.counts.since(&self.told, NEW);
        self.told.clone_from(&self.counts);
        self.evidence.take(&new, self.now);
    }

    fn new_requests(&self) -> u64 {
        self.counts.versions[1].1.requests
    }
}

fn errors_only() -> Analysis {
    Analysis::default()
}

fn everything() -> Analysis {
    Analysis {
        max_latency_ratio: Some(1.5),
        max_ttfb_ratio: Some(1.5),
        ..Analysis::default()
    }
}

fn is_undo(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Undo { .. })
}

/// How many of `runs` canaries are undone, looked at every second of `seconds`.
#[expect(clippy::disallowed_macros, reason = "figures for the documentation")]
fn undone(
    runs: u64,
    seconds: u32,
    analysis: &Analysis,
    mut second: impl FnMut(&mut Canary, u32),
) -> u64 {
    let run = |seed| {
        let mut canary = Canary::begin(seed * 7919 + 1, analysis);
        (0..seconds).any(|at| {
            second(&mut canary, at);
            is_undo(&judge(&canary.evidence, analysis))
        })
    };
    let count = (0..runs).map(run).filter(|undone| *undone).count() as u64;
    println!("{count} of {runs} undone");
    count
}

#[test]
fn equal_versions_are_undone_less_often_than_stated() {
    // With an increase of 0 allowed, equal rates are the worst case of what is not to be undone.
    let analysis = Analysis {
        max_error_increase: 0.0,
        ..errors_only()
    };
    for errors in [0.001, 0.02, 0.3] {
        let same = Behaviour { errors, ..GOOD };
        let count = undone(400, 300, &analysis, |canary, at| {
            let weight = if at < 150 { 0.05 } else { 0.5 };
            canary.second(20.0, weight, same, same);
        });
        assert!(count <= 20, "{count} of 400 with {errors}");
    }
}

#[test]
fn a_version_at_the_limit_is_undone_less_often_than_stated() {
    let (old, new) = (
        GOOD,
        Behaviour {
            errors: GOOD.errors + 0.01,
            ..GOOD
        },
    );
    let count = undone(400, 300, &errors_only(), |canary, _| {
        canary.second(20.0, 0.2, new, old);
    });
    assert!(count <= 20, "{count} of 400");
}

#[test]
fn latencies_that_are_equal_or_at_the_limit_are_left_alone() {
    let analysis = everything();
    let slower = Behaviour {
        median: GOOD.median * 1.5,
        ..GOOD
    };
    for new in [GOOD, slower] {
        let count = undone(150, 400, &analysis, |canary, at| {
            if at == 200 {
                canary.evidence.next_step();
            }
            let weight = if at < 200 { 0.1 } else { 0.5 };
            canary.second(20.0, weight, new, GOOD);
        });
        assert!(count <= 7, "{count} of 150");
    }
}

/// Both sides fail together, just when the new version has got more of the traffic. Compared over the whole time the new
/// one would look much worse.
#[test]
fn a_bad_hour_for_both_is_held_against_neither() {
    let analysis = everything();
    let bad = Behaviour {
        errors: 0.4,
        median: 400_000.0,
    };
    let count = undone(100, 300, &analysis, |canary, at| {
        if at == 150 {
            canary.evidence.next_step();
        }
        let (weight, both) = if at < 150 { (0.05, GOOD) } else { (0.5, bad) };
        canary.second(20.0, weight, both, both);
    });
    assert!(count <= 5, "{count} of 100");
}

/// Requests that the new version must have had until 95 of 100 canaries are undone.
fn requests_until_caught(weight: f64, new: Behaviour, analysis: &Analysis) -> u64 {
    let mut needed: Vec<u64> = (0..100)
        .map(|seed| {
            let mut canary = Canary::begin(seed, analysis);
            for _ in 0..20_000 {
                canary.second(20.0, weight, new, GOOD);
                match judge(&canary.evidence, analysis) {
                    Verdict::Undo { .. } => return canary.new_requests(),
                    Verdict::Promote => panic!("promoted after {}", canary.new_requests()),
                    Verdict::Wait { .. } => {}
                }
            }
            u64::MAX
        })
        .collect();
    needed.sort_unstable();
    needed[95]
}

#[test]
#[expect(clippy::disallowed_macros, reason = "figures for the documentation")]
fn a_bad_version_is_caught_soon() {
    let failing = |errors| Behaviour { errors, ..GOOD };
    for (errors, weight, limit) in [
        (1.0, 0.05, 20),
        (0.3, 0.05, 60),
        (0.3, 0.5, 120),
        (0.1, 0.05, 300),
        (0.1, 0.5, 450),
    ] {
        let needed = requests_until_caught(weight, failing(errors), &errors_only());
        println!("{errors} errors at a weight of {weight}: {needed} requests");
        assert!(needed <= limit, "{errors} at {weight}: {needed}");
    }
    for (times, weight, limit) in [(3.0, 0.05, 500), (3.0, 0.5, 500), (2.0, 0.2, 3_000)] {
        let slow = Behaviour {
            median: GOOD.median * times,
            ..GOOD
        };
        let analysis = Analysis {
            min_requests: u64::MAX,
            ..everything()
        };
        let needed = requests_until_caught(weight, slow, &analysis);
        println!("{times} times as slow at a weight of {weight}: {needed} requests");
        assert!(needed <= limit, "{times} at {weight}: {needed}");
    }
}

#[test]
fn a_good_version_is_promoted() {
    let analysis = everything();
    let mut promoted = 0;
    for seed in 0..100 {
        let mut canary = Canary::begin(seed, &analysis);
        for _ in 0..300 {
            canary.second(20.0, 0.1, GOOD, GOOD);
            if judge(&canary.evidence, &analysis) == Verdict::Promote {
                promoted += 1;
                break;
            }
        }
    }
    assert!(promoted >= 95, "{promoted} of 100");
}

#[test]
fn too_little_or_a_missing_side_waits() {
    let analysis = Analysis {
        min_requests: 1,
        ..everything()
    };
    for weight in [0.0, 1.0] {
        let mut canary = Canary::begin(3, &analysis);
        for _ in 0..2000 {
            canary.second(20.0, weight, GOOD, GOOD);
        }
        let verdict = judge(&canary.evidence, &analysis);
        let Verdict::Wait { reason } = verdict else {
            panic!("{weight}: {verdict:?}");
        };
        assert!(reason.contains("0 of the 30"), "{reason}");
    }
    let mut canary = Canary::begin(4, &analysis);
    for _ in 0..11 {
        canary.second(5.0, 0.5, GOOD, GOOD);
    }
    let verdict = judge(&canary.evidence, &analysis);
    assert!(matches!(verdict, Verdict::Wait { .. }), "{verdict:?}");
}

#[test]
fn a_reason_has_the_figures() {
    let analysis = errors_only();
    let mut canary = Canary::begin(5, &analysis);
    let broken = Behaviour {
        errors: 1.0,
        ..GOOD
    };
    let none = Behaviour {
        errors: 0.0,
        ..GOOD
    };
    while !is_undo(&judge(&canary.evidence, &analysis)) {
        canary.second(20.0, 0.05, broken, none);
    }
    let Verdict::Undo { reason } = judge(&canary.evidence, &analysis) else {
        panic!()
    };
    let sample = canary.evidence.new_in_all().requests;
    let expected = format!("the new version fails 100 % of its requests ({sample} of {sample})");
    assert!(reason.starts_with(&expected), "{reason}");
    assert!(reason.contains("0 % of its requests (0 of"), "{reason}");
    assert!(reason.ends_with("1.0 % more is allowed"), "{reason}");
}

#[test]
fn a_proxy_that_begins_anew_is_no_nonsense() {
    let analysis = errors_only();
    let mut canary = Canary::begin(6, &analysis);
    for _ in 0..100 {
        canary.second(20.0, 0.5, GOOD, GOOD);
    }
    let before = canary.evidence.new_in_all().clone();
    canary.counts = CanaryCounts {
        counting_since: Timestamp(2),
        ..Canary::begin(0, &analysis).counts
    };
    // Counts are lower than before, and all of them are new.
    for _ in 0..100 {
        canary.second(20.0, 0.5, GOOD, GOOD);
    }
    let after = canary.evidence.new_in_all();
    let counted = canary.new_requests();
    assert!(after.requests > before.requests + counted - 200);
    assert!(after.requests <= before.requests + counted + 200);
    // The same report again, from a controller that was restarted, is nothing new.
    let known = canary.evidence.clone();
    canary.tell();
    assert_eq!(canary.evidence.new_in_all(), known.new_in_all());
}

#[test]
fn evidence_is_stored_and_read_again_as_it_was() {
    let mut canary = Canary::begin(7, &everything());
    for _ in 0..50 {
        canary.second(50.0, 0.3, GOOD, GOOD);
    }
    let text = serde_json::to_string(&canary.evidence).unwrap();
    assert!(text.len() < 20_000, "{} bytes", text.len());
    let read: Evidence = serde_json::from_str(&text).unwrap();
    assert_eq!(read, canary.evidence);
}

proptest! {
    /// Whatever a proxy may report, and whatever the settings are, there is a verdict and no panic.
    #[test]
    fn any_figures_give_a_verdict(
        spans in proptest::collection::vec(
            (1_u32..3, any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), -20_i64..20), 1..30),
        increase in prop_oneof![Just(f64::NAN), Just(-1.0), Just(2.0), 0.0..1.0],
        confidence in prop_oneof![Just(f64::NAN), Just(1.0), Just(0.0), 0.5..1.0],
        ratio in prop_oneof![Just(None), Just(Some(f64::NAN)), (0.0..5.0).prop_map(Some)],
    ) {
        let analysis = Analysis {
            max_error_increase: increase,
            max_latency_ratio: ratio,
            max_ttfb_ratio: ratio,
            min_requests: 0,
            confidence,
        };
        let mut evidence = Evidence::new(NEW, increase);
        let mut now = Timestamp(0);
        for (version, requests, others, errors, micros, seconds) in spans {
            now = now + Span::from_seconds(seconds as f64);
            let mut latency = Histogram::default();
            latency.count_micros(micros, requests);
            let side = |requests| Figures {
                requests,
                errors,
                time_to_first_byte: latency.clone(),
                latency: latency.clone(),
            };
            let (new, old) = (side(requests), side(others));
            evidence.take(&CanaryFigures { version, new, old }, now);
            if errors.is_multiple_of(5) {
                evidence.next_step();
            }
            let _ = judge(&evidence, &analysis);
        }
    }

    /// Two failed requests decide nothing, however few or many there were, and neither does a handful that went well.
    #[test]
    fn tiny_counts_decide_nothing(
        new in 1_u64..30, old in 1_u64..2000, failed in 0_u64..3, old_failed in 0_u64..3,
    ) {
        let analysis = Analysis { min_requests: 1, ..errors_only() };
        let mut canary = Canary::begin(0, &analysis);
        for (index, requests, errors) in [(0, old, old_failed), (1, new, failed)] {
            let counts = &mut canary.counts.versions[index].1;
            counts.requests = requests;
            counts.errors = errors.min(requests);
        }
        canary.tell();
        canary.evidence.next_step();
        let verdict = judge(&canary.evidence, &analysis);
        let waits = matches!(verdict, Verdict::Wait { .. });
        prop_assert!(waits, "{:?}", verdict);
    }
}
