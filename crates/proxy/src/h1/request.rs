//! A request as it goes to a replica: its head composed anew, its body still to come.
//!
//! What a proxy changes in a head (RFC 9110 section 7.6, RFC 9112 section 3): the target becomes origin-form, path and
//! query byte for byte; headers that concern one connection only are left out; `X-Forwarded-For` is extended,
//! `X-Forwarded-Proto`, `X-Forwarded-Host` and `X-Request-Id` are set where absent. Everything else stays as received,
//! `Host` and `traceparent` among it.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use balance::session_hash;
use http1::{
    BodyLength, FieldName, Fields, Method, Refusal, RequestHead, Span, TargetForm, list_members,
    read_request,
};
use spec::{ReplicaProtocol, SessionAffinity};

use super::body::{Body, with_fields};
use crate::buffer::{Input, Text};
use crate::peer::Peer;
use crate::routing::Published;
use crate::split::Groups;

/// A body of this many bytes or fewer that came with its head is sent together with it, and again where the method
/// allows.
const MAX_WHOLE_BODY_BYTES: usize = 16 * 1024;

/// One request, ready to be sent.
#[derive(Debug)]
pub(super) struct Request {
    /// What goes to the replica first: the head, and the body where that is whole.
    pub(super) text: Text,
    method_length: usize,
    target: (usize, usize),
    request_id: (usize, usize),
    pub(super) method: Method,
    pub(super) is_1_1: bool,
    /// Whether the client keeps the connection for another request.
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    /// Whether the client asks for another protocol.
    pub(super) wants_upgrade: bool,
    /// What is still to come of the body, beyond `text`.
    pub(super) body: Body,
    /// Bytes of the body that `text` has.
    pub(super) body_bytes: u64,
    /// Length of the body where the client has said it, however much of it is in `text`.
    pub(super) content_length: Option<u64>,
    /// Whether the client may use the endpoint.
    pub(super) is_admitted: bool,
    /// Hash of the session, for `session_affinity`.
    pub(super) session: Option<u64>,
    /// Whether it asks for the version that has a share of the traffic.
    pub(super) is_wished: bool,
    /// Whether `text` is the head as it came, for replicas that do not speak HTTP/1.1.
    pub(super) is_raw: bool,
}

impl Request {
    /// The method as written.
    pub(super) fn method_text(&self) -> &[u8] {
        self.text.get(..self.method_length).unwrap_or_default()
    }

    /// Path and query.
    pub(super) fn target(&self) -> &[u8] {
        let (start, end) = self.target;
        self.text.get(start..end).unwrap_or_default()
    }

    /// The `X-Request-Id` that the replica sees.
    pub(super) fn request_id(&self) -> &[u8] {
        let (start, end) = self.request_id;
        self.text.get(start..end).unwrap_or_default()
    }

    /// The part of the body that is in `text`.
    pub(super) fn whole_body(&self) -> &[u8] {
        let length = usize::try_from(self.body_bytes).unwrap_or(usize::MAX);
        let start = self.text.len().saturating_sub(length);
        self.text.get(start..).unwrap_or_default()
    }

    /// Whether it may be sent again though a replica may have read it.
    pub(super) fn is_repeatable(&self) -> bool {
        self.method.is_idempotent() && self.body.has_ended()
    }
}

/// Takes the next request from what a client has sent; `None` when its head is not complete yet.
pub(super) fn take_request(
    input: &mut Input,
    peer: &Peer,
    published: &Published,
) -> Result<Option<Request>, Refusal> {
    let bytes = input.bytes();
    let (mut request, head_length) = with_fields(|fields| {
        let Some(head) = read_request(bytes, fields)? else {
            return Ok(None);
        };
        if published.table.load_balancer.replica_protocol == ReplicaProtocol::H2c {
            return Ok(Some((raw(&head, bytes), head.length)));
        }
        let mut request = compose(&head, fields, bytes, peer, published.keys.is_some());
        if let Some(keys) = &published.keys {
            let mut shown = fields.named(FieldName::Authorization);
            let first = shown.next().map(|field| field.value.of(bytes));
            request.is_admitted = shown.next().is_none() && keys.admit(first);
        }
        if published.ring.is_some() {
            request.session = session(fields, bytes, &published.settings.session_affinity);
        }
        if let Some(groups) = &published.groups {
            request.is_wished = groups.may_be_wished() && is_wished(groups, fields, bytes);
        }
        Ok(Some((request, head.length)))
    })?
    .map_or((None, 0), |(request, length)| (Some(request), length));
    if let Some(request) = &mut request {
        input.consume(head_length);
        take_whole_body(request, input)?;
    }
    Ok(request)
}

/// Takes a body that is there already, if it is small.
fn take_whole_body(request: &mut Request, input: &mut Input) -> Result<(), Refusal> {
    if request.is_raw || request.body.has_ended() || request.expects_continue || input.is_empty() {
        return Ok(());
    }
    let mut body = request.body;
    let passed = body.pass(input.bytes())?;
    let small = request.method.is_idempotent() || passed.bytes <= 1024;
    if body.has_ended() && passed.bytes <= MAX_WHOLE_BODY_BYTES && small {
        request
            .text
            .push(input.bytes().get(..passed.bytes).unwrap_or_default());
        request.body = body;
        request.body_bytes = passed.data;
        input.consume(passed.bytes);
    }
    Ok(())
}

/// The hash of the value by which the session of a request is known.
fn session(fields: &Fields, bytes: &[u8], affinity: &SessionAffinity) -> Option<u64> {
    let value = match affinity {
        SessionAffinity::Header(name) => values(fields, bytes, name).next(),
        SessionAffinity::Cookie(name) => fields
            .named(FieldName::Cookie)
            .find_map(|field| cookie(field.value.of(bytes), name.as_bytes())),
    };
    value.filter(|value| !value.is_empty()).map(session_hash)
}

/// Whether a request asks for the version that has a share of the traffic.
fn is_wished(groups: &Groups, fields: &Fields, bytes: &[u8]) -> bool {
    groups.is_wished(
        |header| values(fields, bytes, &header.name).any(|value| value == header.value.as_bytes()),
        |wanted| {
            let mut cookies = fields.named(FieldName::Cookie);
            cookies.any(|field| {
                cookie(field.value.of(bytes), wanted.name.as_bytes())
                    == Some(wanted.value.as_bytes())
            })
        },
    )
}

/// The values of the headers of this name.
fn values<'a>(
    fields: &'a Fields,
    bytes: &'a [u8],
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> {
    let is_named = move |field: &&http1::Field| {
        let field = field.name_span.of(bytes);
        field.eq_ignore_ascii_case(name.as_bytes())
    };
    let named = fields.iter().filter(is_named);
    named.map(|field| field.value.of(bytes))
}

/// The value of the cookie of this name (RFC 6265 section 4.2.1).
pub(crate) fn cookie<'a>(cookies: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    cookies.split(|byte| *byte == b';').find_map(|pair| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(name)?.strip_prefix(b"=")
    })
}

/// `hide_key`: the `Authorization` header was meant for the endpoint and stays here.
fn compose(
    head: &RequestHead,
    fields: &Fields,
    bytes: &[u8],
    peer: &Peer,
    hide_key: bool,
) -> Request {
    let mut text = Text::new();
    let method = head.method_span.of(bytes);
    text.push(method);
    text.push(b" ");
    let target = match head.target.of(bytes) {
        // RFC 9112 section 3.2.4: of the whole server, not of its root.
        b"" if head.method == Method::Options => b"*",
        b"" => b"/",
        target => target,
    };
    text.push(target);
    text.push(b" HTTP/1.1\r\n");
    let host = compose_host(&mut text, head, fields, bytes);
    let forwarded = copy_fields(&mut text, head, fields, bytes, hide_key);
    if let Some(protocol) = head.upgrade {
        text.push(b"Connection: upgrade\r\nUpgrade: ");
        text.push(protocol.of(bytes));
        text.push(b"\r\n");
    } else if fields.has_member(FieldName::Te, bytes, b"trailers") {
        text.push(b"Connection: te\r\nTE: trailers\r\n");
    }
    if head.body == BodyLength::Chunked {
        text.push(b"Transfer-Encoding: chunked\r\n");
    }
    let made = compose_forwarded(&mut text, &forwarded, fields, bytes, host.of(bytes), peer);
    text.push(b"\r\n");
    Request {
        text,
        method_length: method.len(),
        target: (method.len() + 1, method.len() + 1 + target.len()),
        request_id: forwarded.request_id.unwrap_or(made),
        method: head.method,
        is_1_1: head.is_1_1,
        keep_alive: head.keep_alive,
        expects_continue: head.expects_continue,
        wants_upgrade: head.upgrade.is_some(),
        body: Body::new(head.body),
        body_bytes: 0,
        content_length: match head.body {
            BodyLength::Bytes(bytes) => Some(bytes),
            _ => None,
        },
        is_admitted: true,
        session: None,
        is_wished: false,
        is_raw: false,
    }
}

/// A request that is not to be sent in HTTP/1.1.
fn raw(head: &RequestHead, bytes: &[u8]) -> Request {
    let mut text = Text::new();
    // An empty line before the head stays behind.
    let start = head.method_span.start as usize;
    text.push(bytes.get(start..head.length).unwrap_or_default());
    let place = |position: u32| position as usize - start;
    Request {
        text,
        method_length: head.method_span.len(),
        target: (place(head.target.start), place(head.target.end)),
        method: head.method,
        is_1_1: head.is_1_1,
        keep_alive: head.keep_alive,
        expects_continue: head.expects_continue,
        wants_upgrade: false,
        body: Body::new(head.body),
        body_bytes: 0,
        content_length: match head.body {
            BodyLength::Bytes(bytes) => Some(bytes),
            _ => None,
        },
        is_admitted: true,
        session: None,
        is_wished: false,
        request_id: (0, 0),
        is_raw: true,
    }
}

/// Writes `Host` where it is not copied as it came, and says where the host stands.
fn compose_host(text: &mut Text, head: &RequestHead, fields: &Fields, bytes: &[u8]) -> Span {
    if let TargetForm::Absolute { authority } = head.form {
        text.push(b"Host: ");
        text.push(authority.of(bytes));
        text.push(b"\r\n");
        return authority;
    }
    match fields.named(FieldName::Host).next() {
        Some(host) => host.value,
        None => {
            // HTTP/1.1, which replicas are spoken to in, wants the header; empty means "none is known".
            text.push(b"Host: \r\n");
            Span::default()
        }
    }
}

/// Which of the headers that are set where absent are present.
#[derive(Default)]
struct Present {
    forwarded_for: bool,
    forwarded_host: bool,
    forwarded_proto: bool,
    /// Where it stands in the head for the replica.
    request_id: Option<(usize, usize)>,
}

fn copy_fields(
    text: &mut Text,
    head: &RequestHead,
    fields: &Fields,
    bytes: &[u8],
    hide_key: bool,
) -> Present {
    let mut present = Present::default();
    let absolute = matches!(head.form, TargetForm::Absolute { .. });
    for field in fields.iter() {
        // Before it counts as present: what is left out is set anew.
        if head.names_connection_headers && is_named(fields, bytes, field) {
            continue;
        }
        let keep = match field.name {
            FieldName::Other => true,
            FieldName::Host => !absolute,
            FieldName::Expect => head.expects_continue,
            FieldName::Authorization => !hide_key,
            FieldName::XForwardedFor => {
                present.forwarded_for = true;
                false
            }
            FieldName::XForwardedHost => {
                present.forwarded_host = true;
                true
            }
            FieldName::XForwardedProto => {
                present.forwarded_proto = true;
                true
            }
            FieldName::XRequestId => !field.value.is_empty(),
            name => !name.is_hop_by_hop(),
        };
        if keep {
            if field.name == FieldName::XRequestId && present.request_id.is_none() {
                let before = (field.value.start - field.line.start) as usize;
                let start = text.len() + before;
                present.request_id = Some((start, start + field.value.len()));
            }
            text.push(field.line.of(bytes));
        }
    }
    present
}

/// Whether `Connection` names this header, which then concerns that connection only. What delimits the body and the host
/// are not the sender's to take away (RFC 9110 section 7.6.1).
pub(super) fn is_named(fields: &Fields, bytes: &[u8], field: &http1::Field) -> bool {
    if matches!(
        field.name,
        FieldName::ContentLength | FieldName::TransferEncoding | FieldName::Host
    ) {
        return false;
    }
    let name = field.name_span.of(bytes);
    fields
        .named(FieldName::Connection)
        .flat_map(|connection| list_members(connection.value.of(bytes)))
        .any(|member| member.eq_ignore_ascii_case(name))
}

/// Where the id of the request stands, if one was made.
fn compose_forwarded(
    text: &mut Text,
    present: &Present,
    fields: &Fields,
    bytes: &[u8],
    host: &[u8],
    peer: &Peer,
) -> (usize, usize) {
    text.push(b"X-Forwarded-For: ");
    if present.forwarded_for {
        let before = fields.named(FieldName::XForwardedFor);
        for value in before.map(|field| field.value.of(bytes)) {
            if !value.is_empty() {
                text.push(value);
                text.push(b", ");
            }
        }
    }
    text.push(peer.text());
    text.push(b"\r\n");
    if !present.forwarded_proto {
        text.push(b"X-Forwarded-Proto: ");
        text.push(peer.scheme());
        text.push(b"\r\n");
    }
    if !present.forwarded_host && !host.is_empty() {
        text.push(b"X-Forwarded-Host: ");
        text.push(host);
        text.push(b"\r\n");
    }
    let mut made = (0, 0);
    if present.request_id.is_none() {
        text.push(b"X-Request-Id: ");
        let start = text.len();
        text.push(&new_request_id());
        made = (start, text.len());
        text.push(b"\r\n");
    }
    made
}

/// 32 hexadecimal digits that no other request has: a random number of this thread and a count.
pub(crate) fn new_request_id() -> [u8; 32] {
    thread_local! {
        static NEXT: Cell<(u64, u64)> = Cell::new((RandomState::new().hash_one(0_u8), 0));
    }
    let (thread, count) = NEXT.get();
    NEXT.set((thread, count.wrapping_add(1)));
    let mut text = [0; 32];
    let (high, low) = text.split_at_mut(16);
    write_hex(high, thread);
    write_hex(low, count);
    text
}

fn write_hex(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        let value = u8::try_from(number & 15).unwrap_or(0);
        *digit = if value < 10 {
            b'0' + value
        } else {
            b'a' + value - 10
        };
        number >>= 4;
    }
}
