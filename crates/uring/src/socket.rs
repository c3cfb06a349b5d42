//! A stream socket whose small requests go through the ring.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::driver::{self, has_driver};
use crate::queue::{BUFFER_BYTES, Interest};
use crate::state::{State, Then, Writing, keep_waker};

/// What is larger is sent directly.
const MAX_QUEUED_BYTES: usize = 4096;

/// A connected stream socket of a thread that has a [`Driver`](crate::Driver).
#[derive(Debug)]
pub struct Socket {
    state: Rc<State>,
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
        Ok(Self {
            state: Rc::new(State::new(socket)),
        })
    }

    /// Ready when reading is worth trying: there are bytes, the end, or a failure.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut moving = self.state.moving.borrow_mut();
        self.state.ask(&mut moving);
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
            self.state.ask(&mut moving);
            if !moving.has_news() {
                keep_waker(&mut moving.reader, context);
                return Poll::Pending;
            }
            if moving.buffer.is_some() || !moving.overflow.is_empty() {
                return Poll::Ready(Ok(moving.take(buffer)));
            }
            match moving.then {
                Then::Ask => {}
                Then::Direct => {
                    let received = recv(&self.state.socket, &mut *buffer, RecvFlags::DONTWAIT);
                    match received.map(|(_, length)| length) {
                        Ok(0) if !buffer.is_empty() => moving.then = Then::Ended,
                        Ok(length) => {
                            // Short of the buffer it was all there was.
                            if length < buffer.len() {
                                moving.then = Then::Ask;
                                moving.is_bulk = length > BUFFER_BYTES;
                            }
                            return Poll::Ready(Ok(length));
                        }
                        Err(Errno::AGAIN) => moving.then = Then::Ask,
                        Err(Errno::INTR) => {}
                        Err(error) => moving.then = Then::Failed(error),
                    }
                }
                Then::Ended => return Poll::Ready(Ok(0)),
                Then::Failed(error) => return Poll::Ready(Err(error.into())),
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

    /// Asks for what comes next, for nobody until [`Self::mark`]: [`Self::is_quiet`] tells.
    pub fn rest(&self) {
        let mut moving = self.state.moving.borrow_mut();
        moving.is_at_rest = true;
        self.state.watch_over(&mut moving);
        let wakers = (moving.reader.take(), moving.writer.take());
        drop(moving);
        drop(wakers);
    }

    /// Whether nothing has come since [`Self::rest`], and nothing went wrong.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let moving = self.state.moving.borrow();
        moving.asked.is_some() && !moving.has_news() && moving.write_error.is_none()
    }

    /// The socket has a user again; from here on [`Self::is_unsent`] counts.
    pub fn mark(&self) {
        let mut moving = self.state.moving.borrow_mut();
        moving.has_sent = false;
        moving.is_at_rest = false;
    }

    /// Whether the system has refused what was sent since [`Self::mark`], all of it.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        let moving = self.state.moving.borrow();
        moving.write_error.is_some() && !moving.has_sent
    }

    /// Whether something that was sent has not been taken by the system yet.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        matches!(self.state.moving.borrow().writing, Writing::Sending(_))
    }

    /// Whether the other end has ended its sending, though not all may have been read of what it has sent before.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        if let Then::Ended | Then::Failed(_) = self.state.moving.borrow().then {
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

fn no_driver() -> io::Error {
    io::Error::other("the thread of this socket is ending")
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut moving = self.state.moving.borrow_mut();
        moving.dropped = Some(Instant::now());
        moving.is_at_rest = false;
        let wakers = (moving.reader.take(), moving.writer.take());
        let (asked, buffer) = (moving.asked, moving.buffer.take());
        driver::with(|local| {
            if let Some(operation) = asked.filter(|_| !moving.is_cancelled) {
                local.queue.cancel(operation);
            }
            if let Some((received, _)) = buffer {
                local.queue.recycle(received);
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
