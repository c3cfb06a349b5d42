//! What the request path needs of a connection.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::buffer::Input;

/// A connection that can say that there is something to read before it is given a place to put it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Ready when reading is worth trying.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads once; to be called when [`Self::poll_readable`] was ready. 0 is the end of the stream.
    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut target = ReadBuf::new(buffer);
        let polled = Pin::new(self).poll_read(context, &mut target);
        polled.map_ok(|()| target.filled().len())
    }

    /// Writes once.
    fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(context, bytes)
    }

    /// Whether the other end has ended its sending, though not all may have been read of what it has sent before. It is
    /// not known while more of that is on the way than the system has room for.
    fn has_ended(&self) -> bool;

    /// Makes the end of this connection visible as a failure, for an answer whose end would otherwise look regular.
    fn reset_on_close(&self);

    /// Whether the other end must be told before the connection is closed.
    const HAS_FAREWELL: bool;
}

impl Stream for TlsStream<TcpStream> {
    /// The socket does not tell: there may be something in the session.
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn has_ended(&self) -> bool {
        self.get_ref().0.has_ended()
    }

    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }

    const HAS_FAREWELL: bool = true;
}

impl Stream for TcpStream {
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }

    /// As tokio does it, but with the system call itself: the C library's, a place at which a thread can be cancelled,
    /// costs some 2 % of a small request. What comes short of the buffer was all there is,
    /// which saves asking once more only to hear that.
    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let moved = once(self, Interest::READABLE, buffer.len(), |stream| {
                recv(stream, &mut *buffer, RecvFlags::empty()).map(|(_, length)| length)
            });
            match moved {
                Some(result) => return Poll::Ready(result),
                None => ready!(self.poll_read_ready(context))?,
            }
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let moved = once(self, Interest::WRITABLE, bytes.len(), |stream| {
                send(stream, bytes, SendFlags::NOSIGNAL)
            });
            match moved {
                Some(result) => return Poll::Ready(result),
                None => ready!(self.poll_write_ready(context))?,
            }
        }
    }

    fn has_ended(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let ready = pin!(self.ready(Interest::READABLE)).poll(&mut context);
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    fn reset_on_close(&self) {
        // If it cannot be set, the connection ends all the same.
        let _ = rustix::net::sockopt::set_socket_linger(self, Some(std::time::Duration::ZERO));
    }

    const HAS_FAREWELL: bool = false;
}

/// Moves bytes once, if tokio knows of no reason to wait; `None` when there is one. Moving fewer than `wanted` counts as
/// one for the next time.
fn once(
    stream: &TcpStream,
    interest: Interest,
    wanted: usize,
    action: impl FnOnce(&TcpStream) -> rustix::io::Result<usize>,
) -> Option<io::Result<usize>> {
    let mut moved = None;
    let result = stream.try_io(interest, || {
        let length = action(stream)?;
        moved = Some(length);
        if length > 0 && length < wanted {
            // This is how tokio is told.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    });
    match (moved, result) {
        (Some(length), _) => Some(Ok(length)),
        (None, Err(error)) => match error.kind() {
            // Interrupted it is tried again, as it is still ready.
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => None,
            _ => Some(Err(error)),
        },
        (None, Ok(())) => None,
    }
}

/// A connection of which something has been read already, which comes first.
#[derive(Debug)]
pub(crate) struct Replayed<S> {
    stream: S,
    input: Input,
}

impl<S> Replayed<S> {
    pub(crate) fn new(stream: S, input: Input) -> Self {
        Self { stream, input }
    }
}

impl<S: Stream> AsyncRead for Replayed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.input.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let bytes = self.input.bytes();
        let length = bytes.len().min(buffer.remaining());
        buffer.put_slice(bytes.get(..length).unwrap_or_default());
        self.input.consume(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Replayed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
