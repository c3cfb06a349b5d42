//! Memory for bytes in passing, kept per thread and lent for as long as there are bytes.
//!
//! A connection that waits holds none: it takes a buffer when its socket has something to read and gives it back when
//! all of that has been passed on. The one given back last is lent first, so few are in use and those are in the cache.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};

use crate::stream::Stream;

/// Size of a buffer, and so the most that is read at once: 64 KiB, as much as many send at once, with a head before it.
pub(crate) const BUFFER_BYTES: usize = 68 * 1024;
/// Buffers kept for later per thread.
const MAX_KEPT_BUFFERS: usize = 64;
/// Texts kept for later per thread.
const MAX_KEPT_TEXTS: usize = 4096;
/// A text that has grown larger is not kept.
const MAX_KEPT_TEXT_BYTES: usize = 4 * 1024;
/// First size of a text: the head of most requests with what is added to it.
const TEXT_BYTES: usize = 512;

thread_local! {
    static BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
    static TEXTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What has been read from a stream and not been used yet.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// Present while there are bytes.
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Input {
    /// The unused bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer
            .as_deref()
            .and_then(|buffer| buffer.get(self.start..self.end))
            .unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether nothing more can be read before something is used.
    pub(crate) fn is_full(&self) -> bool {
        self.len() == BUFFER_BYTES
    }

    /// Counts this many bytes as used.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes).min(self.end);
        if self.is_empty() {
            self.release();
        }
    }

    /// Reads once, behind the bytes that are there; 0 is the end of the stream. Without a byte to read no buffer is held.
    pub(crate) fn poll_fill<S: Stream>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        ready!(stream.poll_readable(context))?;
        let mut buffer = self.buffer.take().unwrap_or_else(take_buffer);
        if self.end == buffer.len() && self.start > 0 {
            buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let target = buffer.get_mut(self.end..).unwrap_or_default();
        let polled = stream.poll_receive(context, target);
        let read = match &polled {
            Poll::Ready(Ok(read)) => *read,
            _ => 0,
        };
        self.end += read;
        self.buffer = Some(buffer);
        if self.is_empty() {
            self.release();
        }
        polled
    }

    fn release(&mut self) {
        (self.start, self.end) = (0, 0);
        if let Some(buffer) = self.buffer.take() {
            // The thread may be ending, and its buffers with it.
            let _ = BUFFERS.try_with(|kept| {
                let mut kept = kept.borrow_mut();
                if kept.len() < MAX_KEPT_BUFFERS {
                    kept.push(buffer);
                }
            });
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.release();
    }
}

fn take_buffer() -> Box<[u8]> {
    BUFFERS
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice())
}

/// Bytes composed here: a head on its way out, a method and a path for the log.
#[derive(Debug, Default)]
pub(crate) struct Text {
    bytes: Vec<u8>,
}

impl Text {
    /// An empty one, with memory that was used before where there is some.
    pub(crate) fn new() -> Self {
        let bytes = TEXTS
            .with_borrow_mut(Vec::pop)
            .unwrap_or_else(|| Vec::with_capacity(TEXT_BYTES));
        Self { bytes }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

impl std::ops::Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let capacity = bytes.capacity();
        if capacity == 0 || capacity > MAX_KEPT_TEXT_BYTES {
            return;
        }
        bytes.clear();
        // The thread may be ending, and its texts with it.
        let _ = TEXTS.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < MAX_KEPT_TEXTS {
                kept.push(bytes);
            }
        });
    }
}
