//! A body as it comes, whatever delimits it.

use std::cell::RefCell;

use http1::{BodyLength, ChunkedReader, Fields, Piece, Refusal};

thread_local! {
    static FIELDS: RefCell<Fields> = RefCell::default();
}

/// Lends the list of header lines of this thread.
pub(super) fn with_fields<T>(action: impl FnOnce(&mut Fields) -> T) -> T {
    FIELDS.with_borrow_mut(action)
}

/// What is still to come of a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    /// Nothing.
    Ended,
    /// This many bytes.
    Bytes(u64),
    /// Chunks.
    Chunked(ChunkedReader),
    /// Everything until the connection ends.
    UntilClose,
}

impl Body {
    pub(super) fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::None => Self::Ended,
            BodyLength::Bytes(bytes) => Self::Bytes(bytes),
            BodyLength::Chunked => Self::Chunked(ChunkedReader::new()),
            BodyLength::UntilClose => Self::UntilClose,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Ended => true,
            Self::Bytes(left) => *left == 0,
            Self::Chunked(reader) => reader.has_ended(),
            Self::UntilClose => false,
        }
    }

    /// Says what `bytes` begin with, and counts that as seen.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Piece, Refusal> {
        if bytes.is_empty() {
            return Ok(Piece::More);
        }
        match self {
            Self::Ended => Ok(Piece::More),
            Self::Bytes(left) => {
                let length = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= length as u64;
                Ok(if length == 0 {
                    Piece::More
                } else {
                    Piece::Data(length)
                })
            }
            Self::Chunked(reader) => with_fields(|fields| reader.next(bytes, fields)),
            Self::UntilClose => Ok(Piece::Data(bytes.len())),
        }
    }

    /// How much of `bytes` belongs to the body and is complete enough to be passed on as it is: all bytes, and data among
    /// them.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<Passed, Refusal> {
        let mut passed = Passed::default();
        while !self.has_ended() {
            let rest = bytes.get(passed.bytes..).unwrap_or_default();
            match self.next(rest)? {
                Piece::Framing(length) | Piece::Trailers(length) => passed.bytes += length,
                Piece::Data(length) => {
                    passed.bytes += length;
                    passed.data += length as u64;
                }
                Piece::More => break,
            }
        }
        Ok(passed)
    }
}

/// See [`Body::pass`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) bytes: usize,
    pub(super) data: u64,
}
