//! HTTP/1.1 messages as a proxy in front of strangers must read them. Pure: bytes in, positions out; no I/O, no
//! allocation per message, nothing copied.
//!
//! # Problem
//!
//! Two programs that read the same bytes as different messages are an attack ("request smuggling"): the proxy passes one
//! request, the replica sees two. So there is one reader, it reads the grammar of RFC 9110 and RFC 9112 and nothing
//! beside it, and what could be read in two ways is refused ([`Refusal`]) and never forwarded.
//!
//! # What is here
//!
//! [`read_request`] and [`read_answer`] find the parts of a head in a buffer; [`BodyLength`] is how the body that follows
//! is delimited; [`ChunkedReader`] follows a chunked body and says which of its bytes are data.

mod answer_head;
mod bytes;
mod chunked;
mod field;
mod refusal;
mod request_head;

pub use answer_head::{AnswerHead, read_answer};
pub use bytes::is_token;
pub use chunked::{ChunkedReader, MAX_EXTENSION_BYTES, MAX_TRAILER_BYTES, Piece};
pub use field::{Field, FieldName, Fields, MAX_FIELDS, list_members};
pub use refusal::Refusal;
pub use request_head::{
    MAX_HEAD_BYTES, MAX_METHOD_BYTES, MAX_TARGET_BYTES, Method, RequestHead, TargetForm,
    read_request,
};

/// How the body of a message is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// This many bytes, at least one.
    Bytes(u64),
    /// Chunks, the last of which is empty, and trailers.
    Chunked,
    /// Everything until the connection ends. Answers only.
    UntilClose,
}

/// Part of a buffer: from `start` up to and without `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One after the last byte.
    pub end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        // Heads are limited to far less than u32 can hold.
        let position = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Self {
            start: position(start),
            end: position(end),
        }
    }

    /// The bytes of `buffer` that are meant; empty where the buffer has none there.
    #[must_use]
    pub fn of<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        buffer
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}
