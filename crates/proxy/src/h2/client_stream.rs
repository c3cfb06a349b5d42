//! The streams of one client's connection, counted: how many there are, and how many were given up as soon as they were
//! begun.
//!
//! A client that opens streams and resets them at once makes the proxy work without an end in sight (CVE-2023-44487), and
//! no limit of streams at once stops it. h2 ends a connection on which more than [`MAX_UNSEEN_RESETS`] streams were reset
//! before they were so much as looked at; here, as Envoy does, one of which more than half of at least
//! [`MIN_STREAMS_TO_JUDGE`] streams were reset within [`PREMATURE`] and before their answer.
//!
//! A client that takes nothing of an answer keeps a replica busy for nothing: its stream is given up.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::replica_body::ReplicaBody;

/// Streams that a client may have reset before they were looked at.
pub(super) const MAX_UNSEEN_RESETS: usize = 50;
/// A connection that has had fewer streams is not judged.
const MIN_STREAMS_TO_JUDGE: u64 = 500;
/// A stream that lasts longer was not opened to be reset.
const PREMATURE: Duration = Duration::from_secs(1);

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct ClientStreams {
    open: Cell<usize>,
    opened: Cell<u64>,
    reset_early: Cell<u64>,
    idle_since: Cell<Instant>,
    abused: Notify,
    /// Answers on their way.
    answers: RefCell<Vec<Answer>>,
}

/// An answer on its way; `None` once it was given up.
type Answer = Weak<RefCell<Option<ReplicaBody>>>;

impl ClientStreams {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            open: Cell::new(0),
            opened: Cell::new(0),
            reset_early: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            abused: Notify::new(),
            answers: RefCell::default(),
        })
    }

    /// Counts a stream that begins.
    pub(super) fn begin(self: &Rc<Self>) -> ClientStream {
        self.open.set(self.open.get() + 1);
        self.opened.set(self.opened.get() + 1);
        ClientStream {
            streams: Rc::clone(self),
            began: Instant::now(),
            is_answered: false,
        }
    }

    /// For how long there has been no stream; `None` when there is one.
    pub(super) fn idle_time(&self) -> Option<Duration> {
        (self.open.get() == 0).then(|| self.idle_since.get().elapsed())
    }

    /// Waits until the client is found to open streams for nothing but to reset them.
    pub(super) async fn abused(&self) {
        self.abused.notified().await;
    }

    /// Gives up the answers of which the client has taken nothing for `limit`.
    pub(super) fn give_up_stalled(&self, limit: Duration) {
        let mut stalled = Vec::new();
        self.answers.borrow_mut().retain(|answer| {
            let Some(answer) = answer.upgrade() else {
                return false;
            };
            let is_stalled = (answer.borrow().as_ref()).is_some_and(|body| body.is_stalled(limit));
            if is_stalled {
                stalled.extend(answer.take());
            }
            !is_stalled
        });
        stalled.into_iter().for_each(ReplicaBody::give_up);
    }

    fn is_abused(&self) -> bool {
        let opened = self.opened.get();
        opened >= MIN_STREAMS_TO_JUDGE && self.reset_early.get() > opened / 2
    }
}

/// One stream; ends when dropped.
#[derive(Debug)]
pub(super) struct ClientStream {
    streams: Rc<ClientStreams>,
    began: Instant,
    is_answered: bool,
}

impl ClientStream {
    /// Lets the answer be given up when the client takes nothing of it.
    pub(super) fn watch(&self, answer: Answer) {
        self.streams.answers.borrow_mut().push(answer);
    }

    /// There is a head of an answer.
    pub(super) fn answered(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.open.set(streams.open.get().saturating_sub(1));
        streams.idle_since.set(Instant::now());
        if !self.is_answered && self.began.elapsed() < PREMATURE {
            streams.reset_early.set(streams.reset_early.get() + 1);
            if streams.is_abused() {
                streams.abused.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(answered: u64, reset: u64) -> Rc<ClientStreams> {
        let streams = ClientStreams::new();
        for _ in 0..answered {
            streams.begin().answered();
        }
        for _ in 0..reset {
            drop(streams.begin());
        }
        streams
    }

    #[test]
    fn only_a_client_that_resets_most_of_many_streams_abuses() {
        assert!(!opened(0, MIN_STREAMS_TO_JUDGE - 1).is_abused());
        assert!(opened(0, MIN_STREAMS_TO_JUDGE).is_abused());
        assert!(!opened(MIN_STREAMS_TO_JUDGE, MIN_STREAMS_TO_JUDGE).is_abused());
        assert!(opened(MIN_STREAMS_TO_JUDGE, MIN_STREAMS_TO_JUDGE + 1).is_abused());
    }

    #[test]
    fn a_connection_is_idle_between_its_streams() {
        let streams = ClientStreams::new();
        assert!(streams.idle_time().is_some());
        let stream = streams.begin();
        assert!(streams.idle_time().is_none());
        drop(stream);
        assert!(streams.idle_time().is_some());
    }
}
