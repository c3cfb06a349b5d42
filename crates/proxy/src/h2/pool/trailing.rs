//! Trailers of requests to replicas that speak HTTP/1.1.
//!
//! hyper's client sends a trailer only if the head of the request announced its name in `Trailer`, which HTTP/2 does not
//! ask of clients. So it is given bodies without trailers, and its last chunk gets them here, on the way to the socket.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST,
    HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What ends a chunked body without trailers (RFC 9112 section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The trailers of the request that a connection is sending, from the moment at which its body has ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrailerSlot(Rc<RefCell<Option<HeaderMap>>>);

impl TrailerSlot {
    /// Adds trailers to the body that ends now.
    pub(in crate::h2) fn set(&self, trailers: HeaderMap) {
        self.0.replace(Some(trailers));
    }

    fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }
}

/// A connection whose last chunk gets the trailers.
#[derive(Debug)]
pub(super) struct TrailingStream {
    stream: TcpStream,
    trailers: TrailerSlot,
    /// What hyper has written since the trailers are known: the end of a body, then with its trailers.
    held: Vec<u8>,
    written: usize,
}

impl TrailingStream {
    pub(super) fn new(stream: TcpStream, trailers: TrailerSlot) -> Self {
        Self {
            stream,
            trailers,
            held: Vec::new(),
            written: 0,
        }
    }

    /// Writes what was held.
    fn poll_release(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self
            .held
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.held.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

fn append(body_end: &mut Vec<u8>, trailers: &HeaderMap) {
    if !body_end.ends_with(LAST_CHUNK) {
        return;
    }
    body_end.truncate(body_end.len() - 2);
    for (name, value) in trailers.iter().filter(|(name, _)| may_trail(name)) {
        body_end.extend_from_slice(name.as_str().as_bytes());
        body_end.extend_from_slice(b": ");
        body_end.extend_from_slice(value.as_bytes());
        body_end.extend_from_slice(b"\r\n");
    }
    body_end.extend_from_slice(b"\r\n");
}

/// Whether a field means something after the body (RFC 9110 section 6.5.1).
fn may_trail(name: &HeaderName) -> bool {
    const NEVER: [HeaderName; 11] = [
        AUTHORIZATION,
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        HOST,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    !NEVER.contains(name)
}

impl AsyncRead for TrailingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for TrailingStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.trailers.is_set() {
            // No more than hyper buffers: the body has ended.
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_release(context))?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.trailers.is_set() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            let bytes = first.map_or(&[][..], |slice| slice);
            return self.poll_write(context, bytes);
        }
        ready!(self.poll_release(context))?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when it has written everything, so that the end of the body is here.
        let trailers = self.trailers.0.take();
        if let Some(trailers) = trailers {
            append(&mut self.held, &trailers);
        }
        ready!(self.poll_release(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_chunk_gets_what_may_trail() {
        let mut fields = HeaderMap::new();
        fields.append("x-sum", "1".parse().unwrap());
        fields.append("x-sum", "2".parse().unwrap());
        fields.append("content-length", "3".parse().unwrap());
        let mut end = b"3\r\nabc\r\n0\r\n\r\n".to_vec();
        append(&mut end, &fields);
        assert_eq!(end, b"3\r\nabc\r\n0\r\nx-sum: 1\r\nx-sum: 2\r\n\r\n");
        let mut measured = b"abc".to_vec();
        append(&mut measured, &fields);
        assert_eq!(measured, b"abc", "a body with a length has no last chunk");
    }
}
