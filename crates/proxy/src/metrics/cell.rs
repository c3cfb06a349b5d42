//! What one thread counts.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::count::{Count, Histogram};
use super::reason::Reason;

/// Status classes as values of the label: no answer, then the first digit of the status.
pub(super) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The class of a status; 0 stands for no answer. Statuses that do not exist count as 5xx (RFC 9110 section 15).
pub(super) fn class_of(status: u16) -> usize {
    usize::from(status / 100).min(CLASSES.len() - 1)
}

/// Counts of one thread for one replica and version. On cache lines of its own, as all cells: no other thread's counts are
/// beside them.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct ReplicaCell {
    /// Those that have occurred.
    pub(super) classes: [OnceLock<Box<ClassCell>>; CLASSES.len()],
    pub(super) retries: Count,
    pub(super) bytes_in: Count,
    pub(super) bytes_out: Count,
    /// Monotonic microseconds.
    pub(super) last_used: Count,
    is_forgotten: AtomicBool,
}

/// Requests that ended with a status of one class.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct ClassCell {
    /// Of the whole request.
    pub(super) duration: Histogram,
    /// Until the head of the answer.
    pub(super) first_byte: Histogram,
}

impl ReplicaCell {
    pub(super) fn class(&self, status: u16) -> Option<&ClassCell> {
        let class = self.classes.get(class_of(status))?;
        Some(class.get_or_init(Box::default))
    }

    /// Whether nobody reads it any more.
    pub(super) fn is_forgotten(&self) -> bool {
        self.is_forgotten.load(Ordering::Relaxed)
    }

    pub(super) fn forget(&self) {
        self.is_forgotten.store(true, Ordering::Relaxed);
    }
}

/// Counts of one thread for a service, whatever the replica.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct ServiceCell {
    /// As [`Reason::ALL`].
    pub(super) refused: [Count; Reason::ALL.len()],
    pub(super) queue_wait: Histogram,
    pub(super) diverted: Count,
}

impl ServiceCell {
    pub(super) fn refused(&self, reason: Reason) {
        if let Some(count) = self.refused.get(reason as usize) {
            count.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_classes() {
        for (status, class) in [
            (0, "none"),
            (101, "1xx"),
            (204, "2xx"),
            (399, "3xx"),
            (404, "4xx"),
            (503, "5xx"),
            (999, "5xx"),
        ] {
            assert_eq!(CLASSES[class_of(status)], class);
        }
    }

    #[test]
    fn each_reason_has_a_place_of_its_own() {
        let cell = ServiceCell::default();
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            cell.refused(reason);
            assert_eq!(cell.refused[index].get(), 1, "{}", reason.name());
        }
    }
}
