//! What is known of a socket between a turn and its task: what has come, what is asked, what is being sent.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Instant;

use rustix::io::Errno;

use crate::driver;
use crate::queue::{BUFFER_BYTES, Interest, OperationId, Received};

/// What outlives the socket until its operations are over.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) socket: OwnedFd,
    pub(crate) moving: RefCell<Moving>,
}

impl AsFd for State {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What moves, and who waits for it.
#[derive(Debug)]
pub(crate) struct Moving {
    /// What the system does for the reader: it receives all that comes, or watches.
    pub(crate) asked: Option<OperationId>,
    /// Whether that is to end.
    pub(crate) is_cancelled: bool,
    /// A buffer, and how much of it was used.
    pub(crate) buffer: Option<(Received, usize)>,
    /// What has come behind the buffer.
    pub(crate) overflow: Vec<u8>,
    /// What follows behind those, once nothing is asked.
    pub(crate) then: Then,
    pub(crate) reader: Option<Waker>,
    pub(crate) writing: Writing,
    pub(crate) writer: Option<Waker>,
    /// Why nothing more can be sent.
    pub(crate) write_error: Option<Errno>,
    /// Whether the system has taken any byte since [`Socket::mark`](crate::Socket::mark).
    pub(crate) has_sent: bool,
    /// Whether messages are larger than a buffer.
    pub(crate) is_bulk: bool,
    /// Whether nobody reads for now; see [`Socket::rest`](crate::Socket::rest).
    pub(crate) is_at_rest: bool,
    /// Since when, if the socket was dropped.
    pub(crate) dropped: Option<Instant>,
}

/// How a reader goes on when nothing is left of what has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The system is to be asked.
    Ask,
    /// There may be something: the socket is to be asked directly.
    Direct,
    Ended,
    Failed(Errno),
}

/// What the system does for the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    Idle,
    Sending(OperationId),
    Watching(OperationId),
}

impl State {
    /// Of a socket of which nothing has been asked.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        let moving = Moving {
            asked: None,
            is_cancelled: false,
            buffer: None,
            overflow: Vec::new(),
            then: Then::Ask,
            reader: None,
            writing: Writing::Idle,
            writer: None,
            write_error: None,
            has_sent: false,
            is_bulk: false,
            is_at_rest: false,
            dropped: None,
        };
        Self {
            socket,
            moving: RefCell::new(moving),
        }
    }

    /// Asks for what comes, if that is not asked already and there is nothing left of what was.
    pub(crate) fn ask(self: &Rc<Self>, moving: &mut Moving) {
        let is_settled = moving.asked.is_some() || moving.then != Then::Ask || moving.has_bytes();
        if is_settled || moving.dropped.is_some() {
            return;
        }
        moving.is_cancelled = false;
        moving.asked = driver::with(|local| {
            if moving.is_bulk {
                local.queue.watch(self, Interest::Readable)
            } else {
                local.queue.receive(self)
            }
        });
        if moving.asked.is_none() {
            moving.then = Then::Failed(Errno::CANCELED);
        }
    }

    /// Asks for the sake of a socket at rest.
    pub(crate) fn watch_over(self: &Rc<Self>, moving: &mut Moving) {
        if moving.then == Then::Direct && moving.asked.is_none() && !moving.has_bytes() {
            // Whether there is anything is not for it to find out; watching tells, too.
            moving.then = Then::Ask;
            moving.is_bulk = true;
        }
        self.ask(moving);
    }

    /// True if a task was woken. So with the two below.
    pub(crate) fn received(
        self: &Rc<Self>,
        result: Result<Option<Received>, Errno>,
        goes_on: bool,
    ) -> bool {
        let mut moving = self.moving.borrow_mut();
        if !goes_on {
            moving.asked = None;
        }
        match result {
            Ok(Some(received)) => moving.put(received),
            Ok(None) => moving.then = Then::Ended,
            // All buffers are in use, which the system finds out before it looks whether there is anything: asking
            // again would fail at once, so the socket is watched.
            Err(Errno::NOBUFS) => {
                moving.is_bulk = true;
                moving.then = Then::Direct;
            }
            Err(Errno::INTR | Errno::AGAIN) => moving.then = Then::Direct,
            Err(Errno::CANCELED) if moving.is_cancelled => moving.then = Then::Direct,
            Err(error) => moving.then = Then::Failed(error),
        }
        if !goes_on && moving.is_cancelled && moving.then == Then::Ask {
            moving.then = Then::Direct;
        }
        if moving.is_at_rest {
            self.watch_over(&mut moving);
        }
        moving.wake_reader()
    }

    pub(crate) fn watched(&self, interest: Interest, result: Result<(), Errno>) -> bool {
        let mut moving = self.moving.borrow_mut();
        match interest {
            Interest::Readable => {
                moving.asked = None;
                moving.then = match result {
                    Ok(()) => Then::Direct,
                    Err(error) => Then::Failed(error),
                };
                moving.wake_reader()
            }
            Interest::Writable => {
                moving.writing = Writing::Idle;
                moving.wake_writer()
            }
        }
    }

    pub(crate) fn sent(&self, result: Result<usize, Errno>, is_whole: bool) -> bool {
        let mut moving = self.moving.borrow_mut();
        let held_back = !moving.has_news();
        moving.writing = Writing::Idle;
        moving.has_sent |= matches!(result, Ok(sent) if sent > 0);
        if !is_whole {
            // The system sends all of it unless something is wrong.
            moving.write_error = Some(result.err().unwrap_or(Errno::PIPE));
            // So that a reader who waits for an answer hears of it.
            let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        }
        let reader_woken = held_back && moving.has_news() && moving.wake_reader();
        moving.wake_writer() || reader_woken
    }

    /// What is still to be sent, and since when the socket is dropped.
    pub(crate) fn unsent(&self) -> Option<(OperationId, Instant)> {
        let moving = self.moving.borrow();
        match (moving.writing, moving.dropped) {
            (Writing::Sending(operation), Some(since)) => Some((operation, since)),
            _ => None,
        }
    }
}

impl Moving {
    pub(crate) fn has_bytes(&self) -> bool {
        self.buffer.is_some() || !self.overflow.is_empty()
    }

    /// Whether there is something for the reader. An end is none before it is known whether what was sent has been taken:
    /// whoever hears of the end must know that.
    pub(crate) fn has_news(&self) -> bool {
        if self.has_bytes() {
            return true;
        }
        match self.then {
            Then::Ask => false,
            Then::Direct => self.asked.is_none(),
            Then::Ended | Then::Failed(_) => {
                self.has_sent || !matches!(self.writing, Writing::Sending(_))
            }
        }
    }

    /// Keeps what has come for the reader. Who has a whole buffer of it, or does not come to read it, gets no more in this
    /// way.
    fn put(&mut self, received: Received) {
        if self.dropped.is_some() {
            driver::with(|local| local.queue.recycle(received));
            return;
        }
        let is_more_than_one = self.has_bytes();
        let is_full = received.len() == BUFFER_BYTES;
        // Who does not come to read must not hold what others need.
        let is_scarce = driver::with(|local| local.queue.is_short_of_buffers()) == Some(true);
        if is_more_than_one || is_scarce {
            driver::with(|local| {
                self.overflow
                    .extend_from_slice(local.queue.bytes(&received));
                local.queue.recycle(received);
            });
        } else {
            self.buffer = Some((received, 0));
        }
        self.is_bulk |= is_full;
        if is_full || is_more_than_one {
            match self.asked {
                Some(operation) if !self.is_cancelled => {
                    self.is_cancelled = true;
                    driver::with(|local| local.queue.cancel(operation));
                }
                Some(_) => {}
                None => self.then = Then::Direct,
            }
        }
    }

    /// Copies from what has come.
    pub(crate) fn take(&mut self, target: &mut [u8]) -> usize {
        let Some((received, used)) = self.buffer.take() else {
            let length = self.overflow.len().min(target.len());
            for (target, byte) in target.iter_mut().zip(self.overflow.drain(..length)) {
                *target = byte;
            }
            if self.overflow.is_empty() {
                self.overflow = Vec::new();
            }
            return length;
        };
        let copied = driver::with(|local| {
            let bytes = local.queue.bytes(&received).get(used..).unwrap_or_default();
            let length = bytes.len().min(target.len());
            if let (Some(target), Some(bytes)) = (target.get_mut(..length), bytes.get(..length)) {
                target.copy_from_slice(bytes);
            }
            length
        });
        let copied = copied.unwrap_or(0);
        if used + copied < received.len() {
            self.buffer = Some((received, used + copied));
        } else {
            driver::with(|local| local.queue.recycle(received));
        }
        copied
    }

    fn wake_reader(&self) -> bool {
        if self.has_news()
            && let Some(waker) = &self.reader
        {
            waker.wake_by_ref();
            return true;
        }
        false
    }

    fn wake_writer(&mut self) -> bool {
        let waker = self.writer.take();
        let is_woken = waker.is_some();
        if let Some(waker) = waker {
            waker.wake();
        }
        is_woken
    }
}

/// A waker stays for the next time: connections have one task for long.
pub(crate) fn keep_waker(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(context.waker()),
        None => *place = Some(context.waker().clone()),
    }
}
