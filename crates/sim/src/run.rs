//! One seed, and many.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::check::Violation;
use crate::fault::FaultCounts;
use crate::trace::Trace;
use crate::world::World;

/// What came of one seed.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// The promise that was broken, if one was.
    pub violation: Option<Violation>,
    /// What struck.
    pub faults: FaultCounts,
    /// Steps of the planner.
    pub steps: u64,
    /// Commits.
    pub commits: u64,
    /// Virtual seconds.
    pub seconds: f64,
    /// Requests answered, and requests lost.
    pub requests: (u64, u64),
    /// The timeline, if one was asked for.
    pub lines: Vec<String>,
}

/// What came of many.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds played.
    pub seeds: u64,
    /// Those that broke a promise, in order.
    pub failed: Vec<Run>,
    /// What struck, over all.
    pub faults: FaultCounts,
    /// Steps of the planner.
    pub steps: u64,
    /// Commits.
    pub commits: u64,
    /// Virtual seconds.
    pub seconds: f64,
    /// Requests answered, and requests lost.
    pub requests: (u64, u64),
}

/// Plays one seed. The same seed is always the same run.
#[must_use]
pub fn play(seed: u64, traced: bool) -> Run {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let trace = if traced {
            Trace::wanted()
        } else {
            Trace::default()
        };
        let mut world = World::new(seed, trace);
        let violation = world.play();
        world.into_run(seed, violation)
    }));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let message = text.unwrap_or_default();
        let violation = Some(Violation {
            checker: "panic",
            message,
        });
        Run {
            seed,
            violation,
            ..Run::default()
        }
    })
}

/// Plays many, on so many threads. `before` is called on each thread first. Stops early once `enough` failed.
#[must_use]
pub fn play_all(
    seeds: Range<u64>,
    threads: usize,
    enough: usize,
    before: &(dyn Fn() + Sync),
) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                before();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let run = play(seed, false);
                    let mut summary = summary.lock().unwrap_or_else(|poison| poison.into_inner());
                    summary.add(run);
                    if summary.failed.len() >= enough {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut summary = summary
        .into_inner()
        .unwrap_or_else(|poison| poison.into_inner());
    summary.failed.sort_by_key(|run| run.seed);
    summary
}

impl Summary {
    fn add(&mut self, run: Run) {
        self.seeds += 1;
        self.faults.add(&run.faults);
        self.steps += run.steps;
        self.commits += run.commits;
        self.seconds += run.seconds;
        self.requests.0 += run.requests.0;
        self.requests.1 += run.requests.1;
        if run.violation.is_some() {
            self.failed.push(run);
        }
    }
}

impl World {
    fn into_run(self, seed: u64, violation: Option<Violation>) -> Run {
        Run {
            seed,
            violation,
            faults: self.faults,
            steps: self.steps,
            commits: u64::from(self.store.commits),
            seconds: (self.now - crate::history::START).as_seconds(),
            requests: (self.proxy.served, self.proxy.lost),
            lines: self.trace.into_lines(),
        }
    }
}
