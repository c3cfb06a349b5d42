//! One direction of an exchange: what is to be written next.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::buffer::{Input, Text};
use crate::stream::Stream;

/// Bytes composed here, and after them bytes at the beginning of an [`Input`] that are passed on as they came.
#[derive(Debug, Default)]
pub(super) struct Flow {
    composed: Text,
    /// How much of `composed` is written.
    written: usize,
    /// How much of the input may be passed on.
    pub(super) ready: usize,
    /// Whether the stream may hold back something that was written.
    unflushed: bool,
}

impl Flow {
    /// Begins with composed bytes.
    pub(super) fn new(composed: Text) -> Self {
        Self {
            composed,
            written: 0,
            ready: 0,
            unflushed: false,
        }
    }

    /// Puts composed bytes behind those that are there. Only to be called while nothing of the input is ready.
    pub(super) fn compose(&mut self, bytes: &[u8]) {
        if self.composed.is_empty() {
            self.composed = Text::new();
        }
        self.composed.push(bytes);
    }

    /// Whether anything is left to be written.
    pub(super) fn is_pending(&self) -> bool {
        self.written < self.composed.len() || self.ready > 0 || self.unflushed
    }

    /// Writes once. Ready with the number of bytes written; 0 only when nothing is left to be written or flushed.
    pub(super) fn poll_write<S: Stream>(
        &mut self,
        input: &mut Input,
        to: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let composed = self.composed.get(self.written..).unwrap_or_default();
        let passed = input.bytes();
        let passed = passed.get(..self.ready).unwrap_or(passed);
        let written = match (composed.is_empty(), passed.is_empty()) {
            (true, true) => {
                ready!(Pin::new(&mut *to).poll_flush(context))?;
                self.unflushed = false;
                return Poll::Ready(Ok(0));
            }
            (false, true) => ready!(to.poll_send(context, composed))?,
            (true, false) => ready!(to.poll_send(context, passed))?,
            (false, false) => {
                let both = [IoSlice::new(composed), IoSlice::new(passed)];
                ready!(Pin::new(&mut *to).poll_write_vectored(context, &both))?
            }
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_composed = written.min(composed.len());
        self.written += of_composed;
        if self.written == self.composed.len() {
            self.composed = Text::default();
            self.written = 0;
        }
        let of_passed = written - of_composed;
        self.ready -= of_passed;
        input.consume(of_passed);
        // It is flushed at once; where that has to wait, the next call goes on with it.
        self.unflushed = !self.is_pending() && Pin::new(to).poll_flush(context)?.is_pending();
        Poll::Ready(Ok(written))
    }
}
