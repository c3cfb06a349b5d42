//! A stream socket whose small requests go through the ring.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::driver::{self, has_driver};
use crate::queue::{BUFFER_BYTES, Interest, OperationId, Received};

/// What is larger is sent directly.
const MAX_QUEUED_BYTES: usize = 4096;

/// A connected stream socket of a thread that has a [`Driver`](crate::Driver).
#[derive(Debug)]
pub struct Socket {
    state: Rc<State>,
}

/// What outlives the socket until its operations are over.
#[derive(Debug)]
pub(crate) struct State {
    socket: OwnedFd,
    moving: RefCell<Moving>,
}

impl AsFd for State {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[derive(Debug)]
struct Moving {
    reading: Reading,
    reader: Option<Waker>,
    writing: Writing,
    writer: Option<Waker>,
    /// Why nothing more can be sent.
    write_error: Option<Errno>,
    /// Whether the system has taken any byte since [`Socket::mark`].
    has_sent: bool,
    /// Whether messages are larger than a buffer.
    is_bulk: bool,
    /// Since when, if the socket was dropped.
    dropped: Option<Instant>,
}

#[derive(Debug)]
enum Reading {
    Idle,
    /// Asked for; it comes in a buffer of the system's choice, or as the news that there is something.
    Asked(OperationId),
    /// A buffer, and how much of it was used.
    Buffer(Received, usize),
    /// The socket is to be asked directly.
    Direct,
    Ended,
    Failed(Errno),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Idle,
    Sending(OperationId),
    Watching(OperationId),
}

impl Socket {
    /// Takes a connected socket that does not block.
    ///
    /// # Errors
    /// The socket comes back where this thread has no driver.
    pub fn new(socket: OwnedFd) -> Result<Self, OwnedFd> {
        if !has_driver() {
            return Err(socket);
        }
        let moving = Moving {
            reading: Reading::Idle,
            reader: None,
            writing: Writing::Idle,
            writer: None,
            write_error: None,
            has_sent: false,
            is_bulk: false,
            dropped: None,
        };
        Ok(Self {
            state: Rc::new(State {
                socket,
                moving: RefCell::new(moving),
            }),
        })
    }

    /// Ready when reading is worth trying: there are bytes, the end, or a failure.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut moving = self.state.moving.borrow_mut();
        if let Reading::Idle = moving.reading {
            self.state.ask(&mut moving);
        }
        if moving.has_news() {
            return Poll::Ready(());
        }
        keep_waker(&mut moving.reader, context);
        Poll::Pending
    }

    /// Reads once; 0 is the end of the stream, or an empty buffer.
    ///
    /// # Errors
    /// As `recv(2)`.
    pub fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut moving = self.state.moving.borrow_mut();
        loop {
            if !moving.has_news() {
                if let Reading::Idle = moving.reading {
                    self.state.ask(&mut moving);
                    continue;
                }
                keep_waker(&mut moving.reader, context);
                return Poll::Pending;
            }
            match &mut moving.reading {
                Reading::Idle | Reading::Asked(_) => return Poll::Pending,
                Reading::Buffer(..) => return Poll::Ready(Ok(moving.take(buffer))),
                Reading::Direct => {
                    let received = recv(&self.state.socket, &mut *buffer, RecvFlags::DONTWAIT);
                    match received.map(|(_, length)| length) {
                        Ok(0) if !buffer.is_empty() => moving.reading = Reading::Ended,
                        Ok(length) => {
                            // Short of the buffer it was all there was.
                            if length < buffer.len() {
                                moving.reading = Reading::Idle;
                                moving.is_bulk = length > BUFFER_BYTES;
                            }
                            return Poll::Ready(Ok(length));
                        }
                        Err(Errno::AGAIN) => moving.reading = Reading::Idle,
                        Err(Errno::INTR) => {}
                        Err(error) => moving.reading = Reading::Failed(error),
                    }
                }
                Reading::Ended => return Poll::Ready(Ok(0)),
                Reading::Failed(error) => return Poll::Ready(Err((*error).into())),
            }
        }
    }

    /// Sends once; what is small is taken whole, and goes out in the next turn.
    ///
    /// # Errors
    /// As `send(2)`; of what was sent before, too.
    pub fn poll_send(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send_vectored(context, &[IoSlice::new(bytes)])
    }

    /// The same of several pieces. More than one piece that is not small are sent one by one.
    ///
    /// # Errors
    /// As [`Self::poll_send`].
    pub fn poll_send_vectored(
        &self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut moving = self.state.moving.borrow_mut();
        if let Some(error) = moving.write_error {
            return Poll::Ready(Err(error.into()));
        }
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        loop {
            if moving.writing != Writing::Idle {
                keep_waker(&mut moving.writer, context);
                return Poll::Pending;
            }
            if length <= MAX_QUEUED_BYTES {
                let sending = driver::with(|local| {
                    let mut bytes = local.take_buffer();
                    pieces
                        .iter()
                        .for_each(|piece| bytes.extend_from_slice(piece));
                    local.queue.send(&self.state, bytes)
                });
                moving.writing = Writing::Sending(sending.ok_or_else(no_driver)?);
                return Poll::Ready(Ok(length));
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let sent = match pieces {
                [piece] => send(&self.state.socket, piece, flags),
                _ => rustix::net::sendmsg(
                    &self.state.socket,
                    pieces,
                    &mut rustix::net::SendAncillaryBuffer::default(),
                    flags,
                ),
            };
            match sent {
                Ok(sent) => {
                    moving.has_sent |= sent > 0;
                    return Poll::Ready(Ok(sent));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let watching =
                        driver::with(|local| local.queue.watch(&self.state, Interest::Writable));
                    moving.writing = Writing::Watching(watching.ok_or_else(no_driver)?);
                }
                Err(error) => {
                    moving.write_error = Some(error);
                    return Poll::Ready(Err(error.into()));
                }
            }
        }
    }

    /// Ends the sending, when all that was sent has been taken.
    ///
    /// # Errors
    /// As `shutdown(2)`.
    pub fn poll_end(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut moving = self.state.moving.borrow_mut();
        if let Writing::Sending(_) = moving.writing {
            keep_waker(&mut moving.writer, context);
            return Poll::Pending;
        }
        match shutdown(&self.state.socket, Shutdown::Write) {
            // The other end is gone already.
            Err(Errno::NOTCONN) | Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// Asks for what comes next, for nobody: [`Self::is_quiet`] tells.
    pub fn rest(&self) {
        let mut moving = self.state.moving.borrow_mut();
        if let Reading::Idle = moving.reading {
            self.state.ask(&mut moving);
        }
        let wakers = (moving.reader.take(), moving.writer.take());
        drop(moving);
        drop(wakers);
    }

    /// Whether nothing has come since [`Self::rest`], and nothing went wrong.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let moving = self.state.moving.borrow();
        matches!(moving.reading, Reading::Asked(_)) && moving.write_error.is_none()
    }

    /// From here on [`Self::is_unsent`] counts.
    pub fn mark(&self) {
        let mut moving = self.state.moving.borrow_mut();
        moving.has_sent = false;
    }

    /// Whether the system has refused what was sent since [`Self::mark`], all of it.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        let moving = self.state.moving.borrow();
        moving.write_error.is_some() && !moving.has_sent
    }

    /// Whether the other end has ended its sending, though not all may have been read of what it has sent before.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        if let Reading::Ended | Reading::Failed(_) = self.state.moving.borrow().reading {
            return true;
        }
        let mut asked = [PollFd::new(&self.state.socket, PollFlags::RDHUP)];
        let at_once = Timespec::default();
        let found = poll(&mut asked, Some(&at_once));
        let ends = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        found.is_ok() && asked.iter().any(|asked| asked.revents().intersects(ends))
    }

    /// Makes the end of this connection visible as a failure.
    pub fn reset_on_close(&self) {
        // If it cannot be set, the connection ends all the same.
        let _ = rustix::net::sockopt::set_socket_linger(
            &self.state.socket,
            Some(std::time::Duration::ZERO),
        );
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.state.as_fd()
    }
}

impl State {
    /// Asks for what comes next.
    fn ask(self: &Rc<Self>, moving: &mut Moving) {
        let asked = driver::with(|local| {
            if moving.is_bulk {
                local.queue.watch(self, Interest::Readable)
            } else {
                local.queue.receive(self)
            }
        });
        moving.reading = match asked {
            Some(operation) => Reading::Asked(operation),
            None => Reading::Failed(Errno::CANCELED),
        };
    }

    /// True if a task was woken. So with the two below.
    pub(crate) fn received(&self, result: Result<Option<Received>, Errno>) -> bool {
        let mut moving = self.moving.borrow_mut();
        moving.reading = match result {
            Ok(Some(received)) if moving.dropped.is_some() => {
                driver::with(|local| local.queue.recycle(received));
                Reading::Idle
            }
            Ok(Some(received)) => Reading::Buffer(received, 0),
            Ok(None) => Reading::Ended,
            // All buffers are in use.
            Err(Errno::NOBUFS | Errno::INTR | Errno::AGAIN) => Reading::Direct,
            Err(error) => Reading::Failed(error),
        };
        moving.wake_reader()
    }

    pub(crate) fn watched(&self, interest: Interest, result: Result<(), Errno>) -> bool {
        let mut moving = self.moving.borrow_mut();
        match interest {
            Interest::Readable => {
                moving.reading = match result {
                    Ok(()) => Reading::Direct,
                    Err(error) => Reading::Failed(error),
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
    /// Whether there is something for the reader. An end is none before it is known whether what was sent has been taken:
    /// whoever hears of the end must know that.
    fn has_news(&self) -> bool {
        match self.reading {
            Reading::Idle | Reading::Asked(_) => false,
            Reading::Buffer(..) | Reading::Direct => true,
            Reading::Ended | Reading::Failed(_) => {
                self.has_sent || !matches!(self.writing, Writing::Sending(_))
            }
        }
    }

    /// Copies from the buffer.
    fn take(&mut self, target: &mut [u8]) -> usize {
        let Reading::Buffer(received, used) = std::mem::replace(&mut self.reading, Reading::Idle)
        else {
            return 0;
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
            self.reading = Reading::Buffer(received, used + copied);
            return copied;
        }
        if received.len() == BUFFER_BYTES {
            self.reading = Reading::Direct;
            self.is_bulk = true;
        }
        driver::with(|local| local.queue.recycle(received));
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
fn keep_waker(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(context.waker()),
        None => *place = Some(context.waker().clone()),
    }
}

fn no_driver() -> io::Error {
    io::Error::other("the thread of this socket is ending")
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut moving = self.state.moving.borrow_mut();
        moving.dropped = Some(Instant::now());
        let wakers = (moving.reader.take(), moving.writer.take());
        let reading = std::mem::replace(&mut moving.reading, Reading::Idle);
        driver::with(|local| {
            match reading {
                Reading::Asked(operation) => local.queue.cancel(operation),
                Reading::Buffer(received, _) => local.queue.recycle(received),
                _ => {}
            }
            match moving.writing {
                Writing::Watching(operation) => local.queue.cancel(operation),
                Writing::Sending(_) => local.leaves(&self.state),
                Writing::Idle => {}
            }
        });
        drop(moving);
        drop(wakers);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = self.poll_receive(context, buffer.initialize_unfilled());
        polled.map_ok(|length| buffer.advance(length))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was taken goes out without being asked again.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(context)
    }
}
