//! Header lines: name, colon, value.

use memchr::memchr;

use crate::bytes::{is_token, is_value, trim};
use crate::{Refusal, Span};

/// Most header lines of a message.
pub const MAX_FIELDS: usize = 128;

/// Names that a proxy has to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldName {
    /// `Authorization`
    Authorization,
    /// `Connection`
    Connection,
    /// `Content-Length`
    ContentLength,
    /// `Content-Type`
    ContentType,
    /// `Cookie`
    Cookie,
    /// `Expect`
    Expect,
    /// `Host`
    Host,
    /// `HTTP2-Settings`
    Http2Settings,
    /// `Keep-Alive`
    KeepAlive,
    /// `Proxy-Connection`
    ProxyConnection,
    /// `TE`
    Te,
    /// `Trailer`
    Trailer,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Upgrade`
    Upgrade,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `X-Forwarded-Host`
    XForwardedHost,
    /// `X-Forwarded-Proto`
    XForwardedProto,
    /// `X-Request-Id`
    XRequestId,
    /// Any other.
    #[default]
    Other,
}

impl FieldName {
    fn of(name: &[u8]) -> Self {
        let (known, as_written): (Self, &[u8]) = match name.len() {
            2 => (Self::Te, b"te"),
            4 => (Self::Host, b"host"),
            6 => match name.first() {
                Some(b'c' | b'C') => (Self::Cookie, b"cookie"),
                _ => (Self::Expect, b"expect"),
            },
            7 => match name.first() {
                Some(b't' | b'T') => (Self::Trailer, b"trailer"),
                _ => (Self::Upgrade, b"upgrade"),
            },
            10 => match name.first() {
                Some(b'c' | b'C') => (Self::Connection, b"connection"),
                _ => (Self::KeepAlive, b"keep-alive"),
            },
            12 => match name.first() {
                Some(b'c' | b'C') => (Self::ContentType, b"content-type"),
                _ => (Self::XRequestId, b"x-request-id"),
            },
            13 => (Self::Authorization, b"authorization"),
            14 => match name.first() {
                Some(b'c' | b'C') => (Self::ContentLength, b"content-length"),
                _ => (Self::Http2Settings, b"http2-settings"),
            },
            15 => (Self::XForwardedFor, b"x-forwarded-for"),
            16 => match name.first() {
                Some(b'x' | b'X') => (Self::XForwardedHost, b"x-forwarded-host"),
                _ => (Self::ProxyConnection, b"proxy-connection"),
            },
            17 => match name.first() {
                Some(b'x' | b'X') => (Self::XForwardedProto, b"x-forwarded-proto"),
                _ => (Self::TransferEncoding, b"transfer-encoding"),
            },
            _ => return Self::Other,
        };
        if name.eq_ignore_ascii_case(as_written) {
            known
        } else {
            Self::Other
        }
    }

    /// Whether it concerns one connection only (RFC 9110 section 7.6.1), so that a proxy never passes it on as it came.
    #[must_use]
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
                | Self::Http2Settings
        )
    }

    /// Whether it must not be among trailers, where it would change how the message or its connection is read
    /// (RFC 9110 section 6.5.1).
    fn is_forbidden_in_trailers(self) -> bool {
        self.is_hop_by_hop()
            || matches!(
                self,
                Self::ContentLength
                    | Self::Host
                    | Self::Authorization
                    | Self::Cookie
                    | Self::Expect
                    | Self::Trailer
                    | Self::XForwardedFor
                    | Self::XForwardedHost
                    | Self::XForwardedProto
            )
    }
}

/// One header line of a head, as positions in the buffer that it was read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// Which one.
    pub name: FieldName,
    /// The whole line, its CRLF included.
    pub line: Span,
    /// The name as written.
    pub name_span: Span,
    /// The value without the space around it.
    pub value: Span,
}

/// The header lines of one head. Kept by whoever reads many heads, so that none is allocated anew.
#[derive(Debug, Default)]
pub struct Fields {
    fields: Vec<Field>,
}

impl Fields {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// In the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter()
    }

    /// All of this name.
    pub fn named(&self, name: FieldName) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(move |field| field.name == name)
    }

    /// The value of the first of this name.
    #[must_use]
    pub fn value<'a>(&self, name: FieldName, buffer: &'a [u8]) -> Option<&'a [u8]> {
        self.named(name).next().map(|field| field.value.of(buffer))
    }

    /// Whether `option` is among the members of the lists of this name (RFC 9110 section 5.6.1).
    #[must_use]
    pub fn has_member(&self, name: FieldName, buffer: &[u8], option: &[u8]) -> bool {
        self.named(name)
            .flat_map(|field| list_members(field.value.of(buffer)))
            .any(|member| member.eq_ignore_ascii_case(option))
    }

    /// Reads header lines from `position` up to and with the empty line; `None` when that has not come yet.
    pub(crate) fn read(
        &mut self,
        buffer: &[u8],
        position: usize,
    ) -> Result<Option<usize>, Refusal> {
        self.fields.clear();
        let mut start = position;
        loop {
            let Some(end) = line_end(buffer, start)? else {
                return Ok(None);
            };
            let line = buffer.get(start..end).unwrap_or_default();
            let next = end + 2;
            if line.is_empty() {
                return Ok(Some(next));
            }
            if self.fields.len() == MAX_FIELDS {
                return Err(Refusal::TooManyFields);
            }
            self.fields.push(field(line, start, next)?);
            start = next;
        }
    }

    /// Whether these may be the trailers of a message.
    pub(crate) fn are_trailers(&self) -> bool {
        !self
            .fields
            .iter()
            .any(|field| field.name.is_forbidden_in_trailers())
    }
}

/// Where the line that begins at `start` ends, its CRLF not included; `None` when that has not come yet.
pub(crate) fn line_end(buffer: &[u8], start: usize) -> Result<Option<usize>, Refusal> {
    let rest = buffer.get(start..).unwrap_or_default();
    let Some(length) = memchr(b'\n', rest) else {
        return Ok(None);
    };
    match length.checked_sub(1).and_then(|last| rest.get(last)) {
        Some(b'\r') => Ok(Some(start + length - 1)),
        _ => Err(Refusal::BareLineFeed),
    }
}

/// Reads the line `line`, which begins at `start` of the buffer; the next begins at `next`.
fn field(line: &[u8], start: usize, next: usize) -> Result<Field, Refusal> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Refusal::Folded);
    }
    let colon = memchr(b':', line).ok_or(Refusal::FieldName)?;
    let (name, rest) = line.split_at(colon);
    if !is_token(name) {
        return Err(Refusal::FieldName);
    }
    let rest = rest.get(1..).unwrap_or_default();
    if !is_value(rest) {
        let alone = memchr(b'\r', rest).is_some();
        return Err(if alone {
            Refusal::BareCarriageReturn
        } else {
            Refusal::FieldValue
        });
    }
    let value = trim(rest);
    let leading = rest
        .iter()
        .take_while(|byte| **byte == b' ' || **byte == b'\t')
        .count();
    let value_start = start + colon + 1 + leading;
    Ok(Field {
        name: FieldName::of(name),
        line: Span::new(start, next),
        name_span: Span::new(start, start + colon),
        value: Span::new(value_start, value_start + value.len()),
    })
}

/// The members of a comma-separated list (RFC 9110 section 5.6.1), empty ones passed over.
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(trim)
        .filter(|member| !member.is_empty())
}
