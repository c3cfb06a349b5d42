//! The head of an answer (RFC 9112 section 4).

use crate::bytes::is_value;
use crate::field::{FieldName, Fields, line_end, list_members};
use crate::request_head::{MAX_HEAD_BYTES, content_length};
use crate::{BodyLength, Refusal, Span};

/// What the head of an answer says, as positions in the buffer that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerHead {
    /// The status, 100 to 999.
    pub status: u16,
    /// Everything after the version of the status line: space, status, reason; without CRLF.
    pub status_span: Span,
    /// Whether the replica speaks HTTP/1.1, not 1.0.
    pub is_1_1: bool,
    /// How the body is delimited, provided that the request was not HEAD.
    pub body: BodyLength,
    /// Whether the replica keeps the connection for another request.
    pub keep_alive: bool,
    /// Whether it has headers that concern one connection only.
    pub has_hop_by_hop: bool,
    /// Whether `Connection` names headers beside the usual words, which are then not to be passed on either.
    pub names_connection_headers: bool,
    /// Bytes of the head, the empty line at its end included.
    pub length: usize,
}

/// Reads the head of an answer from the beginning of `buffer`; `None` when it is not complete yet.
///
/// # Errors
///
/// Whatever is not exactly an answer of HTTP/1.0 or 1.1, or is too large.
pub fn read_answer(buffer: &[u8], fields: &mut Fields) -> Result<Option<AnswerHead>, Refusal> {
    let head = read_head(buffer, fields)?;
    match head {
        Some(head) if head.length > MAX_HEAD_BYTES => Err(Refusal::HeadTooLarge),
        None if buffer.len() >= MAX_HEAD_BYTES => Err(Refusal::HeadTooLarge),
        head => Ok(head),
    }
}

fn read_head(buffer: &[u8], fields: &mut Fields) -> Result<Option<AnswerHead>, Refusal> {
    let prefix_length = buffer.len().min(7);
    if buffer.get(..prefix_length) != b"HTTP/1.".get(..prefix_length) {
        return Err(Refusal::StatusLine);
    }
    let Some(end) = line_end(buffer, 0)? else {
        return Ok(None);
    };
    let line = buffer.get(..end).unwrap_or_default();
    let (is_1_1, status) = status_line(line)?;
    let Some(length) = fields.read(buffer, end + 2)? else {
        return Ok(None);
    };
    let mut head = AnswerHead {
        status,
        status_span: Span::new(8, end),
        is_1_1,
        body: BodyLength::UntilClose,
        keep_alive: is_1_1,
        has_hop_by_hop: false,
        names_connection_headers: false,
        length,
    };
    read_fields(&mut head, fields, buffer)?;
    Ok(Some(head))
}

fn status_line(line: &[u8]) -> Result<(bool, u16), Refusal> {
    let is_1_1 = match line.get(7) {
        Some(b'1') => true,
        Some(b'0') => false,
        _ => return Err(Refusal::StatusLine),
    };
    let [b' ', first @ b'1'..=b'9', second, third, reason @ ..] = line.get(8..).unwrap_or_default()
    else {
        return Err(Refusal::StatusLine);
    };
    if !second.is_ascii_digit() || !third.is_ascii_digit() {
        return Err(Refusal::StatusLine);
    }
    // The space before an empty reason is often forgotten.
    if !matches!(reason.first(), None | Some(b' ')) || !is_value(reason) {
        return Err(Refusal::StatusLine);
    }
    let digit = |digit: &u8| u16::from(digit - b'0');
    Ok((
        is_1_1,
        digit(first) * 100 + digit(second) * 10 + digit(third),
    ))
}

fn read_fields(head: &mut AnswerHead, fields: &Fields, buffer: &[u8]) -> Result<(), Refusal> {
    let (mut length, mut chunked, mut close, mut keep_alive) = (None, false, false, false);
    for field in fields.iter() {
        let value = field.value.of(buffer);
        head.has_hop_by_hop |=
            field.name.is_hop_by_hop() && field.name != FieldName::TransferEncoding;
        match field.name {
            FieldName::ContentLength => {
                let this = content_length(value)?;
                if length.replace(this).is_some() {
                    return Err(Refusal::ContentLength);
                }
            }
            FieldName::TransferEncoding => {
                if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::TransferEncoding);
                }
                chunked = true;
            }
            FieldName::Connection => {
                for option in list_members(value) {
                    if option.eq_ignore_ascii_case(b"close") {
                        close = true;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        keep_alive = true;
                    } else if !option.eq_ignore_ascii_case(b"upgrade") {
                        head.names_connection_headers = true;
                    }
                }
            }
            _ => {}
        }
    }
    if chunked && length.is_some() {
        return Err(Refusal::TwoLengths);
    }
    if chunked && !head.is_1_1 {
        return Err(Refusal::TransferEncoding);
    }
    head.keep_alive = !close && (head.is_1_1 || keep_alive);
    head.body = match (head.status, length) {
        // RFC 9112 section 6.3, rule 1.
        (100..=199 | 204 | 304, _) => BodyLength::None,
        _ if chunked => BodyLength::Chunked,
        (_, Some(0)) => BodyLength::None,
        (_, Some(length)) => BodyLength::Bytes(length),
        (_, None) => BodyLength::UntilClose,
    };
    Ok(())
}
