//! What is counted of each version while the traffic is split, for the controller: see [`CanaryCounts`].
//!
//! Like all counts, each thread has cells of its own, with a single writer. There are none, and nothing is paid, while no
//! table splits the traffic.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plan::figures::{BUCKETS, CanaryCounts, Figures, Histogram, bucket_of};
use plan::routing::Version;
use plan::time::Timestamp;

use super::count::Count;
use crate::clock;

/// Versions whose counts are kept; those with the lowest numbers go first. An update concerns two or three.
const MAX_VERSIONS: usize = 16;

/// How a request of a split ended at one replica, as the controller counts it; times in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sampled {
    /// It was answered.
    Answered { duration: u64, first_byte: u64 },
    /// It failed there.
    Failed,
}

/// Counts of one thread for one version: about 6 KB.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cell {
    requests: Count,
    errors: Count,
    latency: Durations,
    first_byte: Durations,
}

#[derive(Debug)]
struct Durations(Box<[Count]>);

impl Default for Durations {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| Count::default()).collect())
    }
}

impl Durations {
    fn observe(&self, micros: u64) {
        if let Some(bucket) = self.0.get(bucket_of(micros)) {
            bucket.add(1);
        }
    }

    fn read(&self) -> Histogram {
        Histogram::of(self.0.iter().map(Count::get))
    }
}

impl Cell {
    fn read(&self) -> Figures {
        // In the opposite order of the writer, so that there are never more errors than requests.
        let errors = self.errors.get();
        Figures {
            errors,
            latency: self.latency.read(),
            time_to_first_byte: self.first_byte.read(),
            requests: self.requests.get(),
        }
    }
}

/// The cells of all threads.
#[derive(Debug)]
pub(super) struct SharedCells {
    counting_since: Timestamp,
    cells: Mutex<BTreeMap<Version, Vec<Arc<Cell>>>>,
}

impl Default for SharedCells {
    fn default() -> Self {
        Self {
            counting_since: clock::now(),
            cells: Mutex::default(),
        }
    }
}

impl SharedCells {
    fn new_cell(&self, version: Version) -> Arc<Cell> {
        let mut cells = self.cells();
        let cell = Arc::<Cell>::default();
        cells.entry(version).or_default().push(Arc::clone(&cell));
        while cells.len() > MAX_VERSIONS {
            cells.pop_first();
        }
        cell
    }

    /// Adds up all threads.
    pub(super) fn read(&self) -> CanaryCounts {
        let sum = |cells: &Vec<Arc<Cell>>| {
            let mut sum = Figures::default();
            for cell in cells {
                sum.add(&cell.read());
            }
            sum
        };
        let cells = self.cells();
        CanaryCounts {
            counting_since: self.counting_since,
            versions: cells
                .iter()
                .map(|(version, cells)| (*version, sum(cells)))
                .collect(),
        }
    }

    fn cells(&self) -> MutexGuard<'_, BTreeMap<Version, Vec<Arc<Cell>>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cells of one thread; there are few, so they are looked through.
#[derive(Debug, Default)]
pub(super) struct ThreadCells(RefCell<Vec<(Version, Arc<Cell>)>>);

impl ThreadCells {
    /// Counts a request of a split.
    pub(super) fn count(&self, shared: &SharedCells, version: Version, sampled: Sampled) {
        let mut cells = self.0.borrow_mut();
        let known = cells.iter().position(|(known, _)| *known == version);
        let index = known.unwrap_or_else(|| {
            if cells.len() >= MAX_VERSIONS {
                cells.remove(0);
            }
            cells.push((version, shared.new_cell(version)));
            cells.len() - 1
        });
        let Some((_, cell)) = cells.get(index) else {
            return;
        };
        cell.requests.add(1);
        match sampled {
            Sampled::Failed => cell.errors.add(1),
            Sampled::Answered {
                duration,
                first_byte,
            } => {
                cell.latency.observe(duration);
                cell.first_byte.observe(first_byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_and_versions_add_up() {
        let shared = SharedCells::default();
        let (one, two) = (ThreadCells::default(), ThreadCells::default());
        let answered = Sampled::Answered {
            duration: 2_000,
            first_byte: 1_000,
        };
        one.count(&shared, 3, answered);
        two.count(&shared, 3, answered);
        two.count(&shared, 3, Sampled::Failed);
        one.count(&shared, 1, answered);
        let counts = shared.read();
        let [(1, old), (3, new)] = &counts.versions[..] else {
            panic!("{counts:?}");
        };
        assert_eq!((old.requests, old.errors), (1, 0));
        assert_eq!((new.requests, new.errors), (3, 1));
        let mut latency = Histogram::default();
        latency.count_micros(2_000, 2);
        assert_eq!(new.latency, latency);
        assert_eq!(new.time_to_first_byte.count(), 2);
    }

    #[test]
    fn no_more_versions_are_kept_than_can_be_told_apart() {
        let (shared, thread) = (SharedCells::default(), ThreadCells::default());
        for version in 1..100 {
            thread.count(&shared, version, Sampled::Failed);
        }
        let versions = shared.read().versions;
        assert_eq!(versions.len(), MAX_VERSIONS);
        assert_eq!(versions.last().map(|(version, _)| *version), Some(99));
    }
}
