//! What a thread has of io_uring, found by its sockets without being handed about.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::atomic::{Ordering, fence};
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::queue::{Completion, OperationId, Queue};
use crate::state::State;

/// How long what was sent before its socket was dropped may take to be taken by the system.
const FAREWELL_TIME: Duration = Duration::from_secs(30);
/// Send buffers kept for later.
const MAX_KEPT_BUFFERS: usize = 256;

thread_local! {
    static DRIVER: RefCell<Option<Local>> = const { RefCell::new(None) };
}

pub(crate) struct Local {
    pub(crate) queue: Queue<State>,
    kept_buffers: Vec<Vec<u8>>,
    /// Dropped sockets with something still to be sent.
    leaving: Vec<Weak<State>>,
    /// Wakes the thread.
    wake: AsyncFd<OwnedFd>,
}

impl Local {
    /// An empty buffer for what is to be sent.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        self.kept_buffers.pop().unwrap_or_default()
    }

    fn keep_buffer(&mut self, mut buffer: Vec<u8>) {
        if self.kept_buffers.len() < MAX_KEPT_BUFFERS {
            buffer.clear();
            self.kept_buffers.push(buffer);
        }
    }

    pub(crate) fn leaves(&mut self, state: &Rc<State>) {
        self.leaving.push(Rc::downgrade(state));
    }
}

/// Lends what this thread has; `None` where that is nothing, or the thread is ending.
pub(crate) fn with<R>(action: impl FnOnce(&mut Local) -> R) -> Option<R> {
    DRIVER
        .try_with(|driver| driver.borrow_mut().as_mut().map(action))
        .ok()
        .flatten()
}

/// Lets the sockets of this thread work until it is dropped; it stays with its thread.
#[derive(Debug)]
pub struct Driver(PhantomData<*const ()>);

impl Driver {
    /// To be called on a tokio runtime of this thread alone, which runs [`drive`] as well.
    ///
    /// # Errors
    /// Where io_uring is absent, too old (before Linux 6.1) or forbidden; where this thread has a driver.
    pub fn start() -> io::Result<Self> {
        if has_driver() {
            return Err(io::Error::other("this thread has a driver"));
        }
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let local = Local {
            queue: Queue::new(&wake)?,
            kept_buffers: Vec::new(),
            leaving: Vec::new(),
            wake: watched(wake)?,
        };
        DRIVER.with(|driver| *driver.borrow_mut() = Some(local));
        Ok(Self(PhantomData))
    }
}

#[expect(
    deprecated,
    reason = "unsound only for types whose descriptor changes, which an owned one does not"
)]
fn watched(wake: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(wake, Interest::READABLE)
}

impl Drop for Driver {
    fn drop(&mut self) {
        let local = DRIVER.try_with(|driver| driver.borrow_mut().take());
        drop(local);
    }
}

/// Whether this thread has one.
#[must_use]
pub fn has_driver() -> bool {
    with(|_| ()).is_some()
}

/// Takes turns whenever one is due; does not end. To be run as a task beside those with the sockets: what all of
/// them ask for while it is not its turn goes to the system together.
//
// Waiting for completions in the call that hands over was tried: it wakes the thread for each of them, where the way by the
// descriptor lets some more come together. With 8 connections it cost half as much again. Turns in tokio's
// `on_thread_park` cost a look at epoll each.
pub async fn drive() {
    let () = poll_fn(|context| {
        loop {
            with(|local| local.queue.set_turner(context.waker(), true));
            if turn() {
                // Behind the tasks that were woken.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let is_awake = with(|local| {
                local.queue.set_turner(context.waker(), false);
                match local.wake.poll_read_ready(context) {
                    Poll::Ready(Ok(mut guard)) => {
                        guard.clear_ready();
                        true
                    }
                    Poll::Ready(Err(_)) | Poll::Pending => false,
                }
            });
            if is_awake != Some(true) {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// Hands over what was asked for since the last turn, and wakes the tasks whose requests are over: true. If there is none, the
/// wake descriptor is armed: the thread may wait.
pub fn turn() -> bool {
    let Some(()) = with(|local| local.queue.wakes(false)) else {
        return false;
    };
    loop {
        let submitted = with(|local| local.queue.submit());
        let mut has_woken = false;
        while let Some(completion) = with(|local| local.queue.next()).flatten() {
            has_woken |= complete(completion);
        }
        // What could not be handed over is tried again, when the other tasks have had their turn.
        if has_woken || matches!(submitted, Some(Err(_))) {
            with(|local| local.queue.wake_turner());
            return true;
        }
        let may_wait = with(|local| {
            local.queue.wakes(true);
            // Either the system sees that it must wake, or what it did is seen here.
            fence(Ordering::SeqCst);
            let may_wait = !local.queue.has_more();
            if !may_wait {
                local.queue.wakes(false);
            }
            may_wait
        });
        if may_wait != Some(false) {
            return false;
        }
    }
}

/// True if a task was woken.
fn complete(completion: Completion<State>) -> bool {
    match completion {
        Completion::Received(state, result, goes_on) => state.received(result, goes_on),
        Completion::Watched(state, interest, result) => state.watched(interest, result),
        Completion::Sent(state, bytes, result) => {
            let is_whole = result == Ok(bytes.len());
            with(|local| local.keep_buffer(bytes));
            state.sent(result, is_whole)
        }
    }
}

/// Whether all that was given to sockets which are dropped by now has been sent. To be asked after a turn, by a thread that ends.
#[must_use]
pub fn is_settled() -> bool {
    with(|local| local.leaving.iter().all(|state| unsent(state).is_none())).unwrap_or(true)
}

fn unsent(state: &Weak<State>) -> Option<(OperationId, Instant)> {
    state.upgrade().and_then(|state| state.unsent())
}

/// Gives up what dropped sockets have not been able to send for too long. To be called now and then.
pub fn sweep() {
    with(|local| {
        if local.queue.has_more() {
            local.queue.wake_turner();
        }
        let Local { queue, leaving, .. } = local;
        leaving.retain(|state| {
            let Some((operation, since)) = unsent(state) else {
                return false;
            };
            let is_late = since.elapsed() >= FAREWELL_TIME;
            if is_late {
                queue.cancel(operation);
            }
            !is_late
        });
    });
}
