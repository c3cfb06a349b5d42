//! The client's side of a connection, and what the end of its sending means.
//!
//! A client that has sent its request and then ends its sending direction has either gone away or
//! says that no further request will come ("half-close"). The socket does not tell which. The rule:
//! after a request that announced itself as the last (`Connection: close`, or HTTP/1.0 without
//! keep-alive) the end is a half-close and the answer is still delivered; after any other it means
//! that nobody waits any more, and the replica is spared the rest. hyper itself only knows "always
//! gone" or "never gone", so this stream hides the end from it in the first case.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What is known of the end of the client's sending direction; shared by the stream and the
/// request.
#[derive(Debug, Default)]
pub(crate) struct HalfClose {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_request: bool,
    ended: bool,
    body_waiting: Option<Waker>,
}

impl HalfClose {
    /// The request now being read announced that it is the last one.
    pub(crate) fn expect_no_more_requests(&self) {
        self.state().last_request = true;
    }

    /// Whether the end came and was hidden. If not, `context` is woken when it does. A body that
    /// waits for more after this will wait for ever: it is incomplete.
    pub(crate) fn poll_ended(&self, context: &Context<'_>) -> bool {
        let mut state = self.state();
        if !state.ended && state.last_request {
            state.body_waiting = Some(context.waker().clone());
        }
        state.ended
    }

    /// Whether the end that was just read is to be hidden from hyper.
    fn hide_end(&self) -> bool {
        let mut state = self.state();
        if state.last_request {
            state.ended = true;
            if let Some(waker) = state.body_waiting.take() {
                waker.wake();
            }
        }
        state.last_request
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A TCP connection from a client.
#[derive(Debug)]
pub(crate) struct ClientStream {
    stream: TcpStream,
    half_close: Arc<HalfClose>,
}

impl ClientStream {
    pub(crate) fn new(stream: TcpStream, half_close: Arc<HalfClose>) -> Self {
        Self { stream, half_close }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let ended = matches!(polled, Poll::Ready(Ok(())))
            && buffer.filled().len() == before
            && buffer.remaining() > 0;
        if ended && self.half_close.hide_end() {
            Poll::Pending
        } else {
            polled
        }
    }
}

impl AsyncWrite for ClientStream {
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
