//! Virtual time: what happens next, and when. What falls on the same instant happens in the order in which it was
//! planned, so that a seed is played the same way every time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use plan::Timestamp;

struct Entry<T> {
    at: Timestamp,
    number: u64,
    what: T,
}

/// What is to come.
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Entry<T>>,
    planned: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let heap = BinaryHeap::new();
        Self { heap, planned: 0 }
    }

    pub(crate) fn push(&mut self, at: Timestamp, what: T) {
        self.planned += 1;
        let number = self.planned;
        self.heap.push(Entry { at, number, what });
    }

    pub(crate) fn pop(&mut self) -> Option<(Timestamp, T)> {
        self.heap.pop().map(|entry| (entry.at, entry.what))
    }
}

impl<T> Entry<T> {
    fn place(&self) -> (Timestamp, u64) {
        (self.at, self.number)
    }
}

/// The earliest is the greatest, because the heap hands out the greatest first.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.place().cmp(&self.place())
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_equals_in_the_order_planned() {
        let mut queue = Queue::new();
        for (at, what) in [(5, "c"), (1, "a"), (5, "d"), (3, "b")] {
            queue.push(Timestamp(at), what);
        }
        let order: Vec<&str> = std::iter::from_fn(|| queue.pop().map(|(_, what)| what)).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
    }
}
