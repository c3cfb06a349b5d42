//! Timeouts that cost nothing while they do not strike.
//!
//! Each connection has one deadline, a number in a table of its thread. Setting it is one store, by a clock that is read
//! only [`TICK`] apart; nobody looks at the numbers but a sweep, once per tick, which wakes the connections whose time has
//! come. So a timeout strikes up to a tick late, which does not matter for seconds, and none costs a timer.

use std::cell::RefCell;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::clock;

/// Time between two sweeps.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// No deadline.
const NEVER: u64 = u64::MAX;

#[derive(Default)]
struct Table {
    /// Monotonic microseconds at the last sweep.
    now: u64,
    slots: Vec<Slot>,
    free: Vec<usize>,
}

struct Slot {
    at: u64,
    struck: bool,
    waker: Option<Waker>,
}

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
}

/// The deadline of one connection of this thread.
#[derive(Debug)]
pub(crate) struct Deadline {
    index: usize,
}

impl Deadline {
    /// One that is not set.
    pub(crate) fn new() -> Self {
        let slot = Slot {
            at: NEVER,
            struck: false,
            waker: None,
        };
        let index = TABLE.with_borrow_mut(|table| match table.free.pop() {
            Some(index) => {
                if let Some(free) = table.slots.get_mut(index) {
                    *free = slot;
                }
                index
            }
            None => {
                table.slots.push(slot);
                table.slots.len() - 1
            }
        });
        Self { index }
    }

    /// Strikes `span` from now, a tick later at most.
    pub(crate) fn set(&self, span: Duration) {
        let span = u64::try_from(span.as_micros()).unwrap_or(NEVER);
        self.with(|slot, now| {
            slot.at = now.saturating_add(span);
            slot.struck = false;
        });
    }

    /// Never strikes.
    pub(crate) fn clear(&self) {
        self.with(|slot, _| {
            slot.at = NEVER;
            slot.struck = false;
        });
    }

    /// Whether it has struck since it was set. If not, the task of `context` is woken when it does, and whenever the
    /// thread wakes all its connections.
    pub(crate) fn has_struck(&self, context: &Context<'_>) -> bool {
        self.with(|slot, _| {
            let known = slot.waker.as_ref();
            if known.is_none_or(|waker| !waker.will_wake(context.waker())) {
                slot.waker = Some(context.waker().clone());
            }
            slot.struck
        })
        .unwrap_or(true)
    }

    fn with<T>(&self, action: impl FnOnce(&mut Slot, u64) -> T) -> Option<T> {
        TABLE.with_borrow_mut(|table| {
            let now = table.now;
            table
                .slots
                .get_mut(self.index)
                .map(|slot| action(slot, now))
        })
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        // The thread may be ending, and its table with it.
        let _ = TABLE.try_with(|table| {
            let mut table = table.borrow_mut();
            let table = &mut *table;
            if let Some(slot) = table.slots.get_mut(self.index) {
                (slot.at, slot.waker) = (NEVER, None);
                table.free.push(self.index);
            }
        });
    }
}

/// Wakes the connections of this thread whose time has come; to be called once per tick.
pub(crate) fn sweep() {
    let now = clock::monotonic_micros();
    wake(
        |table| {
            table.now = now;
            for slot in &mut table.slots {
                slot.struck |= slot.at <= now;
            }
        },
        |slot| slot.at <= now,
    );
}

/// Wakes all connections of this thread: something has changed that they look at when they wait.
pub(crate) fn wake_all() {
    wake(|_| {}, |_| true);
}

/// The time of the last sweep, in monotonic microseconds.
pub(crate) fn coarse_now() -> u64 {
    TABLE.with_borrow(|table| table.now)
}

fn wake(first: impl FnOnce(&mut Table), chosen: impl Fn(&Slot) -> bool) {
    let wakers: Vec<Waker> = TABLE.with_borrow_mut(|table| {
        first(table);
        let chosen = table.slots.iter_mut().filter(|slot| chosen(slot));
        chosen
            .filter_map(|slot| {
                slot.at = if slot.struck { NEVER } else { slot.at };
                slot.waker.clone()
            })
            .collect()
    });
    wakers.iter().for_each(Waker::wake_by_ref);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn wakes(count: &Count) -> usize {
        count.0.load(Ordering::SeqCst)
    }

    #[test]
    fn only_what_is_due_strikes_and_only_once() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let context = Context::from_waker(&waker);
        sweep();
        let (due, far, unset) = (Deadline::new(), Deadline::new(), Deadline::new());
        due.set(Duration::ZERO);
        far.set(Duration::from_secs(3600));
        for deadline in [&due, &far, &unset] {
            assert!(!deadline.has_struck(&context));
        }
        sweep();
        assert_eq!(wakes(&count), 1);
        assert!(due.has_struck(&context));
        assert!(!far.has_struck(&context) && !unset.has_struck(&context));
        sweep();
        assert_eq!(wakes(&count), 1);
        due.set(Duration::from_secs(3600));
        assert!(!due.has_struck(&context));
    }

    #[test]
    fn all_are_woken_without_having_struck_and_a_slot_is_used_again() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let context = Context::from_waker(&waker);
        let first = Deadline::new();
        assert!(!first.has_struck(&context));
        wake_all();
        assert_eq!(wakes(&count), 1);
        assert!(!first.has_struck(&context));
        let index = first.index;
        drop(first);
        wake_all();
        assert_eq!(wakes(&count), 1);
        assert_eq!(Deadline::new().index, index);
    }
}
