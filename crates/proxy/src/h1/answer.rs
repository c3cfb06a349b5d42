//! Heads of answers to the client: a replica's, changed where a proxy must, and those of the proxy's own.

use std::io::Write;

use http1::{AnswerHead, BodyLength, FieldName, Fields};

use super::request::is_named;
use crate::buffer::Text;
use crate::own_answer::{OwnAnswer, RETRY_AFTER_SECONDS};

/// How the body of an answer reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it comes.
    AsIs,
    /// Out of its chunks, for a client that does not know chunks.
    Dechunked,
    /// Into chunks, for a client that keeps its connection though the replica does not.
    Chunked,
}

/// What the head for the client depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) coding: Coding,
    /// Whether the client speaks HTTP/1.1.
    pub(super) is_1_1: bool,
    /// Whether the connection to the client ends after this answer.
    pub(super) close: bool,
}

/// How an answer reaches a client that speaks 1.1 or does not, given how its body is delimited.
pub(super) fn coding(body: BodyLength, client_is_1_1: bool) -> Coding {
    match body {
        BodyLength::Chunked if !client_is_1_1 => Coding::Dechunked,
        BodyLength::UntilClose if client_is_1_1 => Coding::Chunked,
        _ => Coding::AsIs,
    }
}

/// The head of a replica's answer for the client; `None` when it can be passed on as it came.
pub(super) fn compose(
    head: &AnswerHead,
    fields: &Fields,
    bytes: &[u8],
    form: Form,
) -> Option<Text> {
    let has_no_body = head.status < 200 || head.status == 204;
    let plain = head.is_1_1
        && form.is_1_1
        && !form.close
        && form.coding == Coding::AsIs
        && !head.has_hop_by_hop
        && !has_no_body;
    if plain {
        return None;
    }
    let mut text = start(head, bytes);
    for field in fields.iter() {
        let keep = match field.name {
            FieldName::Other => true,
            FieldName::TransferEncoding => form.coding == Coding::AsIs && !has_no_body,
            // RFC 9110 section 8.6: not with these.
            FieldName::ContentLength => !has_no_body,
            FieldName::Trailer => form.coding != Coding::Dechunked,
            name => !name.is_hop_by_hop(),
        };
        if keep && !(head.names_connection_headers && is_named(fields, bytes, field)) {
            text.push(field.line.of(bytes));
        }
    }
    if form.coding == Coding::Chunked {
        text.push(b"Transfer-Encoding: chunked\r\n");
    }
    if head.status >= 200 {
        if form.close {
            text.push(b"Connection: close\r\n");
        } else if !form.is_1_1 {
            text.push(b"Connection: keep-alive\r\n");
        }
    }
    text.push(b"\r\n");
    Some(text)
}

/// The head that tells the client that the protocol is switched.
pub(super) fn compose_switch(head: &AnswerHead, fields: &Fields, bytes: &[u8]) -> Text {
    let mut text = start(head, bytes);
    for field in fields.iter() {
        let named = head.names_connection_headers && is_named(fields, bytes, field);
        let length = matches!(field.name, FieldName::ContentLength);
        if !field.name.is_hop_by_hop() && !named && !length {
            text.push(field.line.of(bytes));
        }
    }
    text.push(b"Connection: upgrade\r\n");
    if let Some(protocol) = fields.value(FieldName::Upgrade, bytes) {
        text.push(b"Upgrade: ");
        text.push(protocol);
        text.push(b"\r\n");
    }
    text.push(b"\r\n");
    text
}

fn start(head: &AnswerHead, bytes: &[u8]) -> Text {
    let mut text = Text::new();
    text.push(b"HTTP/1.1");
    text.push(head.status_span.of(bytes));
    text.push(b"\r\n");
    text
}

impl OwnAnswer {
    /// Head and body; to HEAD the head alone.
    pub(super) fn compose(&self, to_head: bool, close: bool, is_1_1: bool) -> Text {
        let body = self.json();
        let mut text = Text::new();
        // Writing to memory cannot fail.
        let _ = write!(
            text,
            "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            self.status,
            reason(self.status),
            body.len()
        );
        if self.status == 401 {
            text.push(b"WWW-Authenticate: Bearer\r\n");
        }
        if self.status == 503 {
            let _ = write!(text, "Retry-After: {RETRY_AFTER_SECONDS}\r\n");
        }
        if close {
            text.push(b"Connection: close\r\n");
        } else if !is_1_1 {
            text.push(b"Connection: keep-alive\r\n");
        }
        text.push(b"\r\n");
        if !to_head {
            text.push(body.as_bytes());
        }
        text
    }

    /// Bytes of the body.
    pub(super) fn body_bytes(&self) -> u64 {
        self.json().len() as u64
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
