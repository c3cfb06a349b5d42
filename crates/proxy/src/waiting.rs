//! Requests that find no replica wait here, in order, until one is ready or has room.
//!
//! Only the first in the line tries, whenever something has changed: a table came in force, a request ended where replicas
//! are limited, a tick passed. When it has its replica, or gives up, the next becomes the first. Requests that come while
//! others wait stand behind them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The line of one service, shared by all threads.
#[derive(Debug, Default)]
pub(crate) struct Line {
    length: AtomicU32,
    next: AtomicU64,
    waiting: Mutex<VecDeque<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    waker: Option<Waker>,
}

impl Line {
    /// How many wait.
    pub(crate) fn len(&self) -> u32 {
        self.length.load(Ordering::SeqCst)
    }

    /// A place at the end; `None` when `limit` wait already.
    pub(crate) fn enter(self: &Arc<Self>, limit: u32) -> Option<Place> {
        let mut waiting = self.waiting();
        if waiting.len() >= limit as usize {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        waiting.push_back(Waiter {
            number,
            waker: None,
        });
        self.length.fetch_add(1, Ordering::SeqCst);
        Some(Place {
            line: Arc::clone(self),
            number,
        })
    }

    /// The place again that this number had: nobody loses it because a replica failed.
    pub(crate) fn enter_again(self: &Arc<Self>, number: u64) -> Place {
        let mut waiting = self.waiting();
        let index = waiting.partition_point(|waiter| waiter.number < number);
        waiting.insert(
            index,
            Waiter {
                number,
                waker: None,
            },
        );
        self.length.fetch_add(1, Ordering::SeqCst);
        Place {
            line: Arc::clone(self),
            number,
        }
    }

    /// Lets the first try. Costs nothing while nobody waits.
    pub(crate) fn wake_first(&self) {
        if self.len() == 0 {
            return;
        }
        let waker = self
            .waiting()
            .front_mut()
            .and_then(|first| first.waker.take());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line, given up when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    line: Arc<Line>,
    number: u64,
}

impl Place {
    /// For [`Line::enter_again`].
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether this is the first in the line. If not, or if it is and finds nothing, `waker` is woken when it may try
    /// (again): so this is to be asked before trying.
    pub(crate) fn is_first(&self, waker: &Waker) -> bool {
        let mut waiting = self.line.waiting();
        let first = waiting
            .front()
            .is_some_and(|first| first.number == self.number);
        if let Some(waiter) = waiting
            .iter_mut()
            .find(|waiter| waiter.number == self.number)
        {
            match &waiter.waker {
                Some(known) if known.will_wake(waker) => {}
                _ => waiter.waker = Some(waker.clone()),
            }
        }
        first
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.line.waiting();
        if let Some(index) = waiting
            .iter()
            .position(|waiter| waiter.number == self.number)
        {
            waiting.remove(index);
            self.line.length.fetch_sub(1, Ordering::SeqCst);
        }
        drop(waiting);
        self.line.wake_first();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
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
    fn the_first_is_woken_and_then_the_next() {
        let line = Arc::new(Line::default());
        let (one, two) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let first = line.enter(10).unwrap();
        let second = line.enter(10).unwrap();
        assert!(first.is_first(&Waker::from(one.clone())));
        assert!(!second.is_first(&Waker::from(two.clone())));
        line.wake_first();
        assert_eq!((wakes(&one), wakes(&two)), (1, 0));
        drop(first);
        assert_eq!((wakes(&one), wakes(&two)), (1, 1));
        assert!(second.is_first(&Waker::from(two)));
        assert_eq!(line.len(), 1);
    }

    #[test]
    fn one_who_gives_up_in_the_middle_leaves_no_gap() {
        let line = Arc::new(Line::default());
        let count = Arc::new(Count::default());
        let [first, middle, last] = [0; 3].map(|_| line.enter(10).unwrap());
        drop(middle);
        drop(first);
        assert!(last.is_first(&Waker::from(count)));
        assert_eq!(line.len(), 1);
    }

    #[test]
    fn who_comes_again_stands_where_they_stood_though_the_line_is_full() {
        let line = Arc::new(Line::default());
        let waker = Waker::from(Arc::new(Count::default()));
        let [first, second, third] = [0; 3].map(|_| line.enter(3).unwrap());
        let (one, two) = (first.number(), second.number());
        drop(first);
        drop(second);
        assert!(third.is_first(&waker));
        let _fourth = line.enter(3).unwrap();
        let _fifth = line.enter(3).unwrap();
        let second = line.enter_again(two);
        assert!(second.is_first(&waker) && !third.is_first(&waker));
        let first = line.enter_again(one);
        assert!(first.is_first(&waker) && !second.is_first(&waker));
        assert_eq!(line.len(), 5);
    }

    #[test]
    fn a_full_line_takes_nobody() {
        let line = Arc::new(Line::default());
        let place = line.enter(1).unwrap();
        assert!(line.enter(1).is_none());
        drop(place);
        assert!(line.enter(1).is_some());
        assert!(line.enter(0).is_none());
    }
}
