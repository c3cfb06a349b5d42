//! The head of a request (RFC 9112 section 3).

use memchr::memchr;

use crate::bytes::{is_host, is_target, is_token, trim};
use crate::field::{FieldName, Fields, line_end, list_members};
use crate::{BodyLength, Refusal, Span};

/// Most bytes of a head, the empty line at its end included.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Most bytes of a method: the longest that is registered has 17.
pub const MAX_METHOD_BYTES: usize = 64;
/// Most bytes of a request target.
pub const MAX_TARGET_BYTES: usize = 32 * 1024;

/// The methods of RFC 9110 section 9.3, and all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// TRACE
    Trace,
    /// Any other.
    Other,
}

impl Method {
    fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            _ => Self::Other,
        }
    }

    /// Whether doing it twice is the same as doing it once (RFC 9110 section 9.2.2).
    #[must_use]
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Self::Post | Self::Other)
    }
}

/// The forms of a request target (RFC 9112 section 3.2). The authority form is CONNECT's alone and so refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    Origin,
    /// `http://authority/path?query`
    Absolute {
        /// Host and port, which overrule `Host`.
        authority: Span,
    },
    /// `*`, of OPTIONS.
    Asterisk,
}

/// What the head of a request says, as positions in the buffer that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method as written.
    pub method_span: Span,
    /// Path and query, or `*`; empty where an absolute target has no path, which means `/`.
    pub target: Span,
    /// In which form the target was written.
    pub form: TargetForm,
    /// Whether the client speaks HTTP/1.1, not 1.0.
    pub is_1_1: bool,
    /// How the body is delimited.
    pub body: BodyLength,
    /// Whether the client keeps the connection for another request.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The protocol that the client wants to change to, where it asks for that properly.
    pub upgrade: Option<Span>,
    /// Whether `Connection` names headers beside the usual words, which are then not to be passed on either.
    pub names_connection_headers: bool,
    /// Bytes of the head, the empty line at its end included.
    pub length: usize,
}

/// Reads the head of a request from the beginning of `buffer`; `None` when it is not complete yet.
///
/// # Errors
///
/// Whatever is not exactly a request of HTTP/1.0 or 1.1, or is too large.
pub fn read_request(buffer: &[u8], fields: &mut Fields) -> Result<Option<RequestHead>, Refusal> {
    // One empty line before a request is passed over (RFC 9112 section 2.2).
    let start = if buffer.starts_with(b"\r\n") { 2 } else { 0 };
    match read_head(buffer, start, fields)? {
        Some(head) if head.length > MAX_HEAD_BYTES => Err(Refusal::HeadTooLarge),
        None if buffer.len() >= MAX_HEAD_BYTES => Err(Refusal::HeadTooLarge),
        head => Ok(head),
    }
}

fn read_head(
    buffer: &[u8],
    start: usize,
    fields: &mut Fields,
) -> Result<Option<RequestHead>, Refusal> {
    let Some(end) = line_end(buffer, start)? else {
        return unfinished_line(buffer, start);
    };
    let line = read_line(buffer, start, end)?;
    let Some(length) = fields.read(buffer, end + 2)? else {
        return Ok(None);
    };
    let mut head = RequestHead { length, ..line };
    Summary::of(fields, buffer)?.into_head(&mut head, fields, buffer)?;
    Ok(Some(head))
}

/// What can be said of a request line that has not come to its end: nothing, or that it never will be one.
fn unfinished_line(buffer: &[u8], start: usize) -> Result<Option<RequestHead>, Refusal> {
    let line = buffer.get(start..).unwrap_or_default();
    let method_end = memchr(b' ', line);
    let method = line.get(..method_end.unwrap_or(line.len()));
    let method = method.unwrap_or_default();
    let method = method.strip_suffix(b"\r").unwrap_or(method);
    // What is no method will not become one: TLS, or another protocol altogether.
    if method.len() > MAX_METHOD_BYTES || !(method.is_empty() || is_token(method)) {
        return Err(Refusal::Method);
    }
    let Some(method_end) = method_end else {
        return Ok(None);
    };
    let rest = line.get(method_end + 1..).unwrap_or_default();
    let target_length = memchr(b' ', rest).unwrap_or(rest.len());
    if target_length > MAX_TARGET_BYTES {
        return Err(Refusal::TargetTooLong);
    }
    Ok(None)
}

/// Reads `method SP target SP version`; the rest of the head is filled in later.
fn read_line(buffer: &[u8], start: usize, end: usize) -> Result<RequestHead, Refusal> {
    let line = buffer.get(start..end).unwrap_or_default();
    let method_end = memchr(b' ', line).ok_or(Refusal::RequestLine)?;
    let (method, rest) = line.split_at(method_end);
    if method.len() > MAX_METHOD_BYTES || !is_token(method) {
        return Err(Refusal::Method);
    }
    let rest = rest.get(1..).unwrap_or_default();
    let target_end = memchr(b' ', rest).ok_or(Refusal::RequestLine)?;
    let (target, version) = rest.split_at(target_end);
    if target.len() > MAX_TARGET_BYTES {
        return Err(Refusal::TargetTooLong);
    }
    let is_1_1 = match version {
        b" HTTP/1.1" => true,
        b" HTTP/1.0" => false,
        _ if is_other_version(version) => return Err(Refusal::Version),
        _ => return Err(Refusal::RequestLine),
    };
    if !is_target(target) {
        return Err(Refusal::Target);
    }
    let method_span = Span::new(start, start + method_end);
    let method = Method::of(method);
    let at = start + method_end + 1;
    let (form, path) = target_form(method_span.of(buffer), method, target, at)?;
    Ok(RequestHead {
        method,
        method_span,
        target: path,
        form,
        is_1_1,
        body: BodyLength::None,
        keep_alive: is_1_1,
        expects_continue: false,
        upgrade: None,
        names_connection_headers: false,
        length: 0,
    })
}

fn is_other_version(version: &[u8]) -> bool {
    matches!(version, [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// The form of `target`, which begins at `at` of the buffer, and where its path and query stand.
fn target_form(
    name: &[u8],
    method: Method,
    target: &[u8],
    at: usize,
) -> Result<(TargetForm, Span), Refusal> {
    let end = at + target.len();
    if name == b"CONNECT" {
        return Err(Refusal::Connect);
    }
    if target.first() == Some(&b'/') {
        return Ok((TargetForm::Origin, Span::new(at, end)));
    }
    if target == b"*" {
        return match method {
            Method::Options => Ok((TargetForm::Asterisk, Span::new(at, end))),
            _ => Err(Refusal::Target),
        };
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| {
            target
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
        .ok_or(Refusal::Target)?;
    let rest = target.get(scheme.len()..).unwrap_or_default();
    let authority_length = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let authority = rest.get(..authority_length).unwrap_or_default();
    if !is_host(authority) {
        return Err(Refusal::Target);
    }
    // A query without a path would need a slash put before it; nobody sends that.
    if rest.get(authority_length) == Some(&b'?') {
        return Err(Refusal::Target);
    }
    let path = at + scheme.len() + authority_length;
    let authority = Span::new(at + scheme.len(), path);
    Ok((TargetForm::Absolute { authority }, Span::new(path, end)))
}

/// Fields that decide how a message is read, gathered in one pass.
#[derive(Default)]
struct Summary {
    host: Option<Span>,
    content_length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    other_option: bool,
    upgrade: Option<Span>,
    expects_continue: bool,
}

impl Summary {
    fn of(fields: &Fields, buffer: &[u8]) -> Result<Self, Refusal> {
        let mut summary = Self::default();
        for field in fields.iter() {
            let value = field.value.of(buffer);
            match field.name {
                FieldName::Other => {}
                FieldName::Host => {
                    // Empty where the target has no authority (RFC 9112 section 3.2).
                    if summary.host.is_some() || !(value.is_empty() || is_host(value)) {
                        return Err(Refusal::Host);
                    }
                    summary.host = Some(field.value);
                }
                FieldName::ContentLength => {
                    if summary.content_length.is_some() {
                        return Err(Refusal::ContentLength);
                    }
                    summary.content_length = Some(content_length(value)?);
                }
                FieldName::TransferEncoding => {
                    if summary.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Refusal::TransferEncoding);
                    }
                    summary.chunked = true;
                }
                FieldName::Connection => summary.connection(value),
                FieldName::Upgrade => summary.upgrade = Some(field.value),
                FieldName::Expect => {
                    if !value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(Refusal::Expectation);
                    }
                    summary.expects_continue = true;
                }
                _ => {}
            }
        }
        Ok(summary)
    }

    fn connection(&mut self, value: &[u8]) {
        for option in list_members(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade_option = true;
            } else {
                self.other_option = true;
            }
        }
    }

    fn into_head(
        self,
        head: &mut RequestHead,
        fields: &Fields,
        buffer: &[u8],
    ) -> Result<(), Refusal> {
        if self.chunked && self.content_length.is_some() {
            return Err(Refusal::TwoLengths);
        }
        if self.chunked && !head.is_1_1 {
            return Err(Refusal::TransferEncoding);
        }
        if self.host.is_none() && head.is_1_1 {
            return Err(Refusal::Host);
        }
        head.body = match self.content_length {
            _ if self.chunked => BodyLength::Chunked,
            None | Some(0) => BodyLength::None,
            Some(length) => BodyLength::Bytes(length),
        };
        head.keep_alive = !self.close && (head.is_1_1 || self.keep_alive);
        // HTTP/1.0 knows neither (RFC 9110 sections 7.8 and 10.1.1).
        head.expects_continue = self.expects_continue && head.is_1_1;
        head.names_connection_headers = self.other_option;
        let wanted = self.upgrade.filter(|_| self.upgrade_option && head.is_1_1);
        // The change to HTTP/2 is passed over: it is obsolete (RFC 9113 section 3.1), and whoever asks can do without.
        // One member of the list is enough for a replica to accept it.
        let is_h2c = |field: &Span| {
            list_members(field.of(buffer)).any(|member| {
                let name = member.split(|byte| *byte == b'/').next();
                name.is_some_and(|name| trim(name).eq_ignore_ascii_case(b"h2c"))
            })
        };
        let one = fields.named(FieldName::Upgrade).count() == 1;
        head.upgrade = wanted.filter(|field| one && !field.is_empty() && !is_h2c(field));
        Ok(())
    }
}

/// A `Content-Length` (RFC 9110 section 8.6): digits and nothing else.
pub(crate) fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || value.len() > 19 {
        return Err(Refusal::ContentLength);
    }
    value.iter().try_fold(0_u64, |length, digit| {
        if !digit.is_ascii_digit() {
            return Err(Refusal::ContentLength);
        }
        Ok(length * 10 + u64::from(digit - b'0'))
    })
}
