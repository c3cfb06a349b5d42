//! A connection without TLS: on io_uring where the thread has it, else as tokio does it.

use std::io::{self, IoSlice};
use std::net::TcpStream as StdTcpStream;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use uring::Socket;

use crate::stream::Stream;

/// See the module.
#[derive(Debug)]
pub(crate) enum Plain {
    Ring(Socket),
    Tokio(TcpStream),
}

impl Plain {
    /// Takes a connected socket that does not block.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        match Socket::new(socket) {
            Ok(socket) => Ok(Self::Ring(socket)),
            Err(socket) => TcpStream::from_std(StdTcpStream::from(socket)).map(Self::Tokio),
        }
    }

    /// Takes a connection that tokio has opened.
    pub(crate) fn from_tokio(stream: TcpStream) -> io::Result<Self> {
        if !uring::has_driver() {
            return Ok(Self::Tokio(stream));
        }
        Self::new(stream.into_std()?.into())
    }

    /// The connection is given to nobody for now. To be called before [`Self::is_quiet`].
    pub(crate) fn rest(&self) {
        if let Self::Ring(socket) = self {
            socket.rest();
        }
    }

    /// Whether nothing has come while it rested: neither an end nor bytes that nobody asked for.
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Self::Ring(socket) => socket.is_quiet(),
            Self::Tokio(stream) => {
                let mut context = Context::from_waker(std::task::Waker::noop());
                stream.poll_read_ready(&mut context).is_pending()
            }
        }
    }

    /// From here on [`Self::is_unsent`] counts.
    pub(crate) fn mark(&self) {
        if let Self::Ring(socket) = self {
            socket.mark();
        }
    }

    /// Whether something that was sent is still on its way to the system.
    pub(crate) fn is_sending(&self) -> bool {
        matches!(self, Self::Ring(socket) if socket.is_sending())
    }

    /// Whether all that was sent since [`Self::mark`] has been refused by the system after it was taken: nobody has seen it.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self, Self::Ring(socket) if socket.is_unsent())
    }
}

impl Stream for Plain {
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Ring(socket) => socket.poll_readable(context).map(Ok),
            Self::Tokio(stream) => stream.poll_readable(context),
        }
    }

    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Ring(socket) => socket.poll_receive(context, buffer),
            Self::Tokio(stream) => stream.poll_receive(context, buffer),
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Ring(socket) => socket.poll_send(context, bytes),
            Self::Tokio(stream) => stream.poll_send(context, bytes),
        }
    }

    fn has_ended(&self) -> bool {
        match self {
            Self::Ring(socket) => socket.has_ended(),
            Self::Tokio(stream) => stream.has_ended(),
        }
    }

    fn reset_on_close(&self) {
        match self {
            Self::Ring(socket) => socket.reset_on_close(),
            Self::Tokio(stream) => stream.reset_on_close(),
        }
    }

    const HAS_FAREWELL: bool = false;
}

impl AsyncRead for Plain {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Ring(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tokio(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Ring(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tokio(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Ring(socket) => Pin::new(socket).poll_write_vectored(context, pieces),
            Self::Tokio(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Ring(socket) => Pin::new(socket).poll_flush(context),
            Self::Tokio(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Ring(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tokio(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
