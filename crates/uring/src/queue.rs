//! The two rings shared with the system, and the buffers lent to it. The only module with `unsafe`: the system writes to memory
//! after the call that asked for it has returned, which no type can express.
//!
//! Why it is sound, whatever a caller does with the safe functions here:
//!
//! 1. Memory that an operation reads (`Send`) is owned by [`Operation`] from the request to its completion; a `Vec` that is moved does
//!    not move its bytes.
//! 2. Memory that an operation writes is one of [`Buffers`], allocated once. The system writes only to buffers that it was lent, and lends one
//!    back with the completion that names it. A [`Received`] stands for one that is ours; it is neither copied nor made
//!    elsewhere, and giving it back consumes it.
//! 3. Descriptors of operations are kept open by the `Rc` in [`Operation`].
//! 4. If the queue is dropped with operations in flight, the bytes that they send and the buffers are leaked, not freed: the system
//!    ends them some time after the ring is closed. It has references of its own to their sockets.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::Waker;

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;

/// Size of a buffer to receive into: more than most requests and answers of APIs have.
pub(crate) const BUFFER_BYTES: usize = 4096;
/// Buffers of a thread; a power of two. When all are in use, sockets are read directly.
const BUFFERS: u16 = 128;
/// Requests that are collected before they are handed over without a turn.
const SUBMISSIONS: u32 = 1024;
const COMPLETIONS: u32 = 4096;
const GROUP: u16 = 0;
/// Beginnings of memory shared page by page.
const PAGE: usize = 4096;

/// `MSG_NOSIGNAL | MSG_WAITALL`: no signal where the other end is gone; all of it or an error.
const SEND_FLAGS: i32 = 0x4000 | 0x100;

/// What a socket is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Readable,
    Writable,
}

/// Names an operation in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OperationId(u64);

/// A buffer with what was received.
#[derive(Debug)]
pub(crate) struct Received {
    buffer: u16,
    length: usize,
}

impl Received {
    pub(crate) fn len(&self) -> usize {
        self.length
    }
}

/// What became of an operation of `T`.
#[derive(Debug)]
pub(crate) enum Completion<T> {
    /// `None` at the end of the stream. True: more will follow.
    Received(Rc<T>, Result<Option<Received>, Errno>, bool),
    /// The bytes come back; the number is how many were sent.
    Sent(Rc<T>, Vec<u8>, Result<usize, Errno>),
    Watched(Rc<T>, Interest, Result<(), Errno>),
}

#[derive(Debug)]
enum Operation<T> {
    Receive(Rc<T>),
    Send(Rc<T>, Vec<u8>),
    Watch(Rc<T>, Interest),
}

#[derive(Debug)]
struct Slot<T> {
    /// Tells this use of the slot from those before.
    generation: u32,
    operation: Option<Operation<T>>,
}

/// See the module.
pub(crate) struct Queue<T> {
    ring: IoUring,
    buffers: Buffers,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    /// The task that takes the next turn, and whether it knows that one is due.
    turner: Option<Waker>,
    is_due: bool,
    /// Buffers that are not lent to the system.
    held: u16,
}

/// The completion of a cancellation is nobody's.
const NOBODY: u64 = u64::MAX;

impl<T: AsFd> Queue<T> {
    /// Fails where the system has no io_uring that is new enough (Linux 6.1), or forbids it.
    pub(crate) fn new(wake: &OwnedFd) -> io::Result<Self> {
        let mut ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETIONS)
            .setup_clamp()
            .dontfork()
            .build(SUBMISSIONS)?;
        let buffers = Buffers::new();
        // SAFETY: `entries` has room for `BUFFERS` entries and is not freed before the ring is closed (`Drop`).
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                buffers.entries.as_ptr() as u64,
                BUFFERS,
                GROUP,
                0,
            )
        }?;
        ring.submitter().register_eventfd(wake.as_raw_fd())?;
        // A system that allows the setup may still forbid its use.
        ring.submit()?;
        ring.completion().disable_eventfd();
        Ok(Self {
            ring,
            buffers,
            slots: Vec::new(),
            free: Vec::new(),
            turner: None,
            is_due: false,
            held: 0,
        })
    }

    /// Asks for all that comes on a socket, until that fails, ends or is cancelled.
    pub(crate) fn receive(&mut self, socket: &Rc<T>) -> OperationId {
        let entry = opcode::RecvMulti::new(Fd(socket.as_fd().as_raw_fd()), GROUP).build();
        self.start(Operation::Receive(Rc::clone(socket)), entry)
    }

    /// Sends `bytes`.
    pub(crate) fn send(&mut self, socket: &Rc<T>, bytes: Vec<u8>) -> OperationId {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(Fd(socket.as_fd().as_raw_fd()), bytes.as_ptr(), length)
            .flags(SEND_FLAGS)
            .build();
        self.start(Operation::Send(Rc::clone(socket), bytes), entry)
    }

    /// Asks to be told when a socket is ready.
    pub(crate) fn watch(&mut self, socket: &Rc<T>, interest: Interest) -> OperationId {
        let events = match interest {
            // `POLLIN | POLLRDHUP` and `POLLOUT`.
            Interest::Readable => 0x2001,
            Interest::Writable => 0x4,
        };
        let entry = opcode::PollAdd::new(Fd(socket.as_fd().as_raw_fd()), events).build();
        self.start(Operation::Watch(Rc::clone(socket), interest), entry)
    }

    /// Ends an operation early, if it is not over yet; it completes all the same.
    pub(crate) fn cancel(&mut self, operation: OperationId) {
        let entry = opcode::AsyncCancel::new(operation.0).build();
        self.push(&entry.user_data(NOBODY));
    }

    fn start(&mut self, operation: Operation<T>, entry: squeue::Entry) -> OperationId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                operation: None,
            });
            // No thread has that many sockets.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX - 1)
        });
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.operation = Some(operation);
        let id = u64::from(slot.generation & 0x7FFF_FFFF) << 32 | u64::from(index);
        self.push(&entry.user_data(id));
        OperationId(id)
    }

    /// Who is to be woken when a turn is due, and whether that is so already.
    pub(crate) fn set_turner(&mut self, turner: &Waker, is_due: bool) {
        match &mut self.turner {
            Some(known) => known.clone_from(turner),
            None => self.turner = Some(turner.clone()),
        }
        self.is_due = is_due;
    }

    /// Wakes the task that takes turns, if it does not know yet that one is due.
    pub(crate) fn wake_turner(&mut self) {
        if !self.is_due
            && let Some(turner) = &self.turner
        {
            self.is_due = true;
            turner.wake_by_ref();
        }
    }

    fn push(&mut self, entry: &squeue::Entry) {
        self.wake_turner();
        loop {
            // SAFETY: what the entry points to is owned by its `Operation` (1), chosen by the system (2), or nothing; its
            // descriptor is kept open by it (3).
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            // Full: what is there is handed over. A system that takes nothing for want of memory is asked again: this
            // thread can do nothing else for its sockets.
            if self.ring.submit().is_err() {
                std::thread::yield_now();
            }
        }
    }

    /// Hands over what was asked for, and lets the system do what it has put off; no call where there is nothing of either.
    ///
    /// # Errors
    /// Signals, want of memory, completions to be taken first: what was asked for is still there for the next turn.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        let (is_empty, is_due) = {
            let queue = self.ring.submission();
            (queue.is_empty(), queue.taskrun() || queue.cq_overflow())
        };
        if is_empty && !is_due {
            return Ok(());
        }
        self.ring.submit().map(|_| ())
    }

    /// From now on the wake descriptor becomes readable when something completes (or no longer).
    pub(crate) fn wakes(&mut self, wakes: bool) {
        let queue = self.ring.completion();
        if wakes {
            queue.enable_eventfd();
        } else {
            queue.disable_eventfd();
        }
    }

    /// Whether the system has something for us, or we for it.
    pub(crate) fn has_more(&mut self) -> bool {
        let is_due = {
            let queue = self.ring.submission();
            queue.taskrun() || queue.cq_overflow() || !queue.is_empty()
        };
        is_due || !self.ring.completion().is_empty()
    }

    /// The next operation that is over.
    pub(crate) fn next(&mut self) -> Option<Completion<T>> {
        loop {
            let entry = self.ring.completion().next()?;
            if entry.user_data() == NOBODY {
                continue;
            }
            if let Some(completion) = self.completed(&entry) {
                return Some(completion);
            }
        }
    }

    fn completed(&mut self, entry: &cqueue::Entry) -> Option<Completion<T>> {
        let index = (entry.user_data() & 0xFFFF_FFFF) as u32;
        let slot = self.slots.get_mut(index as usize)?;
        let goes_on = cqueue::more(entry.flags());
        let operation = match (goes_on, slot.operation.as_ref()) {
            (true, Some(Operation::Receive(socket))) => Operation::Receive(Rc::clone(socket)),
            _ => {
                let operation = slot.operation.take()?;
                self.free.push(index);
                operation
            }
        };
        let result = match u32::try_from(entry.result()) {
            Ok(number) => Ok(number),
            Err(_) => Err(Errno::from_raw_os_error(-entry.result())),
        };
        // A buffer may have been taken for an operation that failed after all.
        let received = cqueue::buffer_select(entry.flags()).map(|buffer| {
            self.held += 1;
            Received {
                buffer,
                length: result.map_or(0, |length| (length as usize).min(BUFFER_BYTES)),
            }
        });
        Some(match operation {
            Operation::Receive(socket) => {
                let outcome = match (result, received) {
                    (Ok(length), Some(received)) if length > 0 => Ok(Some(received)),
                    (result, unused) => {
                        if let Some(unused) = unused {
                            self.recycle(unused);
                        }
                        result.map(|_| None)
                    }
                };
                Completion::Received(socket, outcome, goes_on)
            }
            Operation::Send(socket, bytes) => {
                Completion::Sent(socket, bytes, result.map(|sent| sent as usize))
            }
            Operation::Watch(socket, interest) => {
                Completion::Watched(socket, interest, result.map(|_| ()))
            }
        })
    }

    /// What was received.
    pub(crate) fn bytes(&self, received: &Received) -> &[u8] {
        self.buffers.bytes(received)
    }

    /// Lends a buffer to the system again.
    pub(crate) fn recycle(&mut self, received: Received) {
        self.held = self.held.saturating_sub(1);
        self.buffers.lend(received.buffer);
    }

    /// Whether most buffers are held by readers.
    pub(crate) fn is_short_of_buffers(&self) -> bool {
        self.held > BUFFERS / 2
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        let is_idle = self.slots.iter().all(|slot| slot.operation.is_none());
        if is_idle {
            let _ = self.ring.submitter().unregister_buf_ring(GROUP);
            self.buffers.free();
        } else {
            for slot in &mut self.slots {
                if let Some(Operation::Send(_, bytes)) = slot.operation.take() {
                    std::mem::forget(bytes);
                }
            }
        }
    }
}

/// Memory to receive into, and the ring in which it is lent.
struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    /// How many were ever lent, the position of the next.
    tail: u16,
}

impl Buffers {
    fn new() -> Self {
        let mut buffers = Self {
            entries: allocate(Self::entries_layout()).cast(),
            memory: allocate(Self::memory_layout()),
            tail: 0,
        };
        for buffer in 0..BUFFERS {
            buffers.lend(buffer);
        }
        buffers
    }

    fn entries_layout() -> Layout {
        Layout::from_size_align(usize::from(BUFFERS) * size_of::<BufRingEntry>(), PAGE)
            .expect("a constant that fits")
    }

    fn memory_layout() -> Layout {
        Layout::from_size_align(usize::from(BUFFERS) * BUFFER_BYTES, PAGE)
            .expect("a constant that fits")
    }

    fn start_of(&self, buffer: u16) -> NonNull<u8> {
        debug_assert!(buffer < BUFFERS);
        let offset = usize::from(buffer % BUFFERS) * BUFFER_BYTES;
        // SAFETY: the offset is within the allocation.
        unsafe { self.memory.add(offset) }
    }

    fn bytes(&self, received: &Received) -> &[u8] {
        let start = self.start_of(received.buffer);
        // SAFETY: `received` says that the buffer is ours (2), and its length is within it; all of it was initialised when
        // it was allocated.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), received.length) }
    }

    /// `buffer` must be ours.
    fn lend(&mut self, buffer: u16) {
        let address = self.start_of(buffer).as_ptr() as u64;
        let position = usize::from(self.tail % BUFFERS);
        // SAFETY: within the allocation, which has `BUFFERS` entries.
        let entry = unsafe { self.entries.add(position) };
        // SAFETY: the system reads entries between its head and the tail; this one lies behind the tail, as no more than
        // `BUFFERS` are lent at a time. Nobody else writes to them, and they were initialised with zeroes.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the first entry is within the allocation.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is in the padding of the first entry, aligned for its type, and shared with the system,
        // which reads it atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// To be called once, when the system can neither read nor write any of it.
    fn free(&mut self) {
        // SAFETY: allocated with this layout, and not used after (`Queue::drop`).
        unsafe { dealloc(self.entries.as_ptr().cast(), Self::entries_layout()) };
        // SAFETY: the same.
        unsafe { dealloc(self.memory.as_ptr(), Self::memory_layout()) };
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layout is not empty.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}
