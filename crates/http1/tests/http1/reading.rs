//! Messages read to their end by the reader under test, as a proxy would, from bytes that come in pieces.

use http1::{BodyLength, ChunkedReader, Fields, Piece, Refusal, read_answer, read_request};

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// More bytes were wanted.
    Incomplete,
    /// The last message said that it is the last.
    Closed,
    /// What followed is not HTTP.
    Refused(Refusal),
}

/// A request whose head was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// As written.
    pub(crate) method: Vec<u8>,
    /// Path and query.
    pub(crate) target: Vec<u8>,
    /// Without framing.
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(crate) complete: bool,
}

/// A body, and how many bytes it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    /// Without framing.
    pub(crate) data: Vec<u8>,
    /// Of the body, framing included; what follows is not its own.
    pub(crate) length: usize,
    /// The bytes of the trailers, empty line included.
    pub(crate) trailers: Vec<u8>,
    /// `Ok`: whether it came to its end.
    pub(crate) end: Result<bool, Refusal>,
}

/// Reads a chunked body that comes in `pieces`.
pub(crate) fn chunked<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Body {
    let (mut reader, mut fields, mut waiting) = (ChunkedReader::new(), Fields::new(), Vec::new());
    let mut body = Body {
        data: Vec::new(),
        length: 0,
        trailers: Vec::new(),
        end: Ok(false),
    };
    for piece in pieces {
        waiting.extend_from_slice(piece);
        while !reader.has_ended() {
            let used = match reader.next(&waiting, &mut fields) {
                Ok(Piece::Framing(length)) => length,
                Ok(Piece::Data(length)) => {
                    body.data.extend_from_slice(&waiting[..length]);
                    length
                }
                Ok(Piece::Trailers(length)) => {
                    body.trailers.extend_from_slice(&waiting[..length]);
                    length
                }
                Ok(Piece::More) => break,
                Err(refusal) => {
                    // How much of the framing before it was seen at once depends on the pieces.
                    body.length = 0;
                    body.end = Err(refusal);
                    return body;
                }
            };
            assert!(used > 0, "no progress");
            waiting.drain(..used);
            body.length += used;
        }
    }
    body.end = Ok(reader.has_ended());
    body
}

/// Reads requests until the bytes end, the connection would, or something is refused.
pub(crate) fn requests(mut bytes: &[u8]) -> (Vec<Request>, End) {
    let (mut requests, mut fields) = (Vec::new(), Fields::new());
    loop {
        let head = match read_request(bytes, &mut fields) {
            Ok(Some(head)) => head,
            Ok(None) => return (requests, End::Incomplete),
            Err(refusal) => return (requests, End::Refused(refusal)),
        };
        let target = match head.target.of(bytes) {
            b"" => b"/",
            target => target,
        };
        let mut request = Request {
            method: head.method_span.of(bytes).to_vec(),
            target: target.to_vec(),
            ..Request::default()
        };
        bytes = &bytes[head.length..];
        let (length, refused) = read_body(head.body, bytes, &mut request);
        let complete = request.complete;
        requests.push(request);
        if let Some(refusal) = refused {
            return (requests, End::Refused(refusal));
        }
        if !complete {
            return (requests, End::Incomplete);
        }
        if !head.keep_alive {
            return (requests, End::Closed);
        }
        bytes = &bytes[length..];
    }
}

fn read_body(length: BodyLength, bytes: &[u8], into: &mut Request) -> (usize, Option<Refusal>) {
    match length {
        BodyLength::None => {
            into.complete = true;
            (0, None)
        }
        BodyLength::Bytes(wanted) => {
            let length = usize::try_from(wanted).unwrap_or(usize::MAX);
            let length = length.min(bytes.len());
            into.body = bytes[..length].to_vec();
            into.complete = length as u64 == wanted;
            (length, None)
        }
        BodyLength::Chunked => {
            let body = chunked([bytes]);
            into.body = body.data;
            into.complete = body.end == Ok(true);
            (body.length, body.end.err())
        }
        BodyLength::UntilClose => unreachable!("a request never lasts until the connection ends"),
    }
}

/// Reads the head of an answer, and of a chunked body what there is; whatever the bytes are, this ends.
pub(crate) fn answer(bytes: &[u8]) -> Result<Option<(u16, BodyLength, usize)>, Refusal> {
    let mut fields = Fields::new();
    let Some(head) = read_answer(bytes, &mut fields)? else {
        return Ok(None);
    };
    assert!(head.length <= bytes.len());
    if head.body == BodyLength::Chunked {
        chunked([&bytes[head.length..]]).end?;
    }
    Ok(Some((head.status, head.body, head.length)))
}
