//! What is refused, and where it says that it must be.

/// Why a message is not read. The text is for the person at the other end; it never repeats what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A line that ends in LF alone (RFC 9112 section 2.2).
    #[error("a line ends without CR")]
    BareLineFeed,
    /// CR that LF does not follow (RFC 9112 section 2.2).
    #[error("a CR stands alone")]
    BareCarriageReturn,
    /// The request line is not `method SP target SP version` (RFC 9112 section 3).
    #[error("the request line is malformed")]
    RequestLine,
    /// The method is not a token, or longer than any (RFC 9110 section 9.1).
    #[error("the method is malformed")]
    Method,
    /// A byte that a target cannot have, or a form that the method cannot have (RFC 9112 section 3.2).
    #[error("the request target is malformed")]
    Target,
    /// The target alone is longer than allowed (RFC 9110 section 15.5.15).
    #[error("the request target is too long")]
    TargetTooLong,
    /// CONNECT asks for a tunnel, which is not for an endpoint to give (RFC 9110 section 9.3.6).
    #[error("CONNECT is for forward proxies; this is an endpoint of a service")]
    Connect,
    /// Neither HTTP/1.0 nor HTTP/1.1 (RFC 9110 section 15.6.6).
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken in this form")]
    Version,
    /// The status line is not `version SP status [SP reason]` (RFC 9112 section 4).
    #[error("the status line is malformed")]
    StatusLine,
    /// A header line continued on the next (RFC 9112 section 5.2).
    #[error("a header is folded over several lines")]
    Folded,
    /// A header name that is no token, or has space before its colon (RFC 9112 section 5.1).
    #[error("the name of a header is malformed")]
    FieldName,
    /// NUL or another control character in a header's value (RFC 9110 section 5.5).
    #[error("the value of a header has a forbidden character")]
    FieldValue,
    /// More header lines than [`MAX_FIELDS`](crate::MAX_FIELDS) (RFC 6585 section 5).
    #[error("there are too many headers")]
    TooManyFields,
    /// A head of more than [`MAX_HEAD_BYTES`](crate::MAX_HEAD_BYTES) (RFC 6585 section 5).
    #[error("the headers are too large")]
    HeadTooLarge,
    /// No `Host`, more than one, or one that is no host (RFC 9112 section 3.2).
    #[error("the request must have exactly one valid Host header")]
    Host,
    /// `Content-Length` that is no number, or more than one of them (RFC 9112 section 6.3).
    #[error("Content-Length is malformed or repeated")]
    ContentLength,
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 section 6.3).
    #[error("both Content-Length and Transfer-Encoding are given")]
    TwoLengths,
    /// `Transfer-Encoding` other than exactly `chunked`, or in HTTP/1.0 (RFC 9112 section 6.1).
    #[error("Transfer-Encoding is not just chunked")]
    TransferEncoding,
    /// `Expect` other than `100-continue` (RFC 9110 section 10.1.1).
    #[error("Expect asks for something else than 100-continue")]
    Expectation,
    /// A chunk size that is no hexadecimal number, or larger than 2^60 (RFC 9112 section 7.1).
    #[error("the size of a chunk is malformed")]
    ChunkSize,
    /// Chunk extensions that are malformed or over the limit (RFC 9112 section 7.1.1).
    #[error("a chunk extension is malformed or too long")]
    ChunkExtension,
    /// A chunk that CRLF does not follow (RFC 9112 section 7.1).
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    /// Trailers that are too large, malformed, or would change how the message is read (RFC 9110 section 6.5.1).
    #[error("the trailers are malformed, too large or forbidden")]
    Trailers,
}

impl Refusal {
    /// The status of the answer to a request refused for this.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::TooManyFields | Self::HeadTooLarge => 431,
            Self::Connect | Self::TransferEncoding => 501,
            Self::Version => 505,
            _ => 400,
        }
    }
}
