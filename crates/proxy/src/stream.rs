//! What the request path needs of a connection.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::buffer::Input;

/// A connection that can say that there is something to read before it is given a place to put it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Ready when reading is worth trying.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

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
