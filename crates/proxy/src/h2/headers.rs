//! What a proxy changes in the head of a message (RFC 9110 section 7.6, RFC 9112 section 3, RFC 9113 section 8).
//!
//! Requests: the target becomes origin-form with path and query byte for byte; headers that concern
//! one connection only are removed (hyper refuses requests over HTTP/2 that have any, RFC 9113 section 8.2.2);
//! `X-Forwarded-For` is extended, `X-Forwarded-Proto` and `X-Forwarded-Host` are set where absent. `Host` stays as received.
//! Answers: headers of one connection are removed, nothing is added.

use balance::session_hash;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, StatusCode, Uri, Version, request, response};
use hyper::Request;
use spec::SessionAffinity;

use super::request_body::RequestBody;
use crate::h1::{cookie, new_request_id};
use crate::keys::Keys;
use crate::own_answer::OwnAnswer;
use crate::peer::Peer;
use crate::split::Groups;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// A request that no replica shall see.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    status: StatusCode,
    detail: &'static str,
}

impl Rejection {
    const fn bad(detail: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            detail,
        }
    }

    pub(super) fn into_answer(self) -> OwnAnswer {
        OwnAnswer::rejected(self.status.as_u16(), self.detail)
    }
}

/// The head of a request as all replicas get it, whatever they speak.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    target: PathAndQuery,
    has_body: bool,
    takes_trailers: bool,
}

/// Whether doing it twice is the same as doing it once (RFC 9110 section 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

impl Head {
    /// Makes the head of a client's request the head of a request to a replica.
    pub(super) fn of(
        mut parts: request::Parts,
        peer: &Peer,
        has_body: bool,
    ) -> Result<Self, Rejection> {
        if parts.method == Method::CONNECT {
            let detail = "CONNECT is for forward proxies; this is an endpoint of a service";
            return Err(Rejection {
                status: StatusCode::NOT_IMPLEMENTED,
                detail,
            });
        }
        set_host(&mut parts)?;
        let target = take_target(&parts)?;
        let mut headers = parts.headers;
        let takes_trailers = has_option(&headers, &TE, "trailers");
        remove_connection_headers(&mut headers);
        join_cookies(&mut headers);
        add_forwarded(&mut headers, peer);
        Ok(Self {
            method: parts.method,
            headers,
            target,
            has_body,
            takes_trailers,
        })
    }

    /// The `X-Request-Id` that the replica sees.
    pub(super) fn request_id(&self) -> &[u8] {
        self.headers
            .get(X_REQUEST_ID)
            .map_or(&[], HeaderValue::as_bytes)
    }

    /// Whether the body has no announced length, so that it may have trailers in HTTP/1.1.
    pub(super) fn is_chunked(&self) -> bool {
        self.has_body && !self.headers.contains_key(CONTENT_LENGTH)
    }

    /// The request for a replica that speaks HTTP/1.1.
    pub(super) fn to_http1(&self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(self.target.clone());
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        if self.takes_trailers {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if self.is_chunked() {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        request
    }

    /// The request for a replica that speaks HTTP/2 (RFC 9113 section 8.3.1). A host that is no authority, as none at
    /// all, is replaced by `address`.
    pub(super) fn to_http2(
        &self,
        body: RequestBody,
        address: std::net::SocketAddr,
    ) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = self.method.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        let host = headers.remove(HOST);
        let authority = host
            .and_then(|host| Authority::try_from(host.as_bytes()).ok())
            .or_else(|| Authority::try_from(address.to_string()).ok());
        if self.takes_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = authority;
        uri.path_and_query = Some(self.target.clone());
        // It has all three parts, so it is one.
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        request
    }
}

/// Whether the client may use the endpoint. The key is meant for the endpoint and stays here.
pub(super) fn admit(headers: &mut HeaderMap, keys: Option<&Keys>) -> bool {
    let Some(keys) = keys else {
        return true;
    };
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    let first = shown.next().map(HeaderValue::as_bytes);
    let admitted = shown.next().is_none() && keys.admit(first);
    headers.remove(AUTHORIZATION);
    admitted
}

/// The hash of the value by which the session of a request is known.
pub(super) fn session(headers: &HeaderMap, affinity: &SessionAffinity) -> Option<u64> {
    let value = match affinity {
        SessionAffinity::Header(name) => headers.get(name.as_str()).map(HeaderValue::as_bytes),
        SessionAffinity::Cookie(name) => headers
            .get_all(COOKIE)
            .iter()
            .find_map(|cookies| cookie(cookies.as_bytes(), name.as_bytes())),
    };
    value.filter(|value| !value.is_empty()).map(session_hash)
}

/// Whether a request asks for the version that has a share of the traffic.
pub(super) fn is_wished(headers: &HeaderMap, groups: &Groups) -> bool {
    let all = |name: &str| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    groups.is_wished(
        |header| all(&header.name).any(|value| value == header.value.as_bytes()),
        |wanted| {
            let (name, value) = (wanted.name.as_bytes(), wanted.value.as_bytes());
            all(COOKIE.as_str()).any(|cookies| cookie(cookies, name) == Some(value))
        },
    )
}

/// Makes the head of a replica's answer the head of the answer to the client.
pub(super) fn clean_answer(parts: &mut response::Parts) {
    remove_connection_headers(&mut parts.headers);
    parts.version = Version::HTTP_2;
}

/// One `Host` (RFC 9112 section 3.2): an absolute target overrules it, HTTP/1.0 may lack it. In HTTP/2 it may not differ from
/// the target's (RFC 9113 section 8.3.1).
fn set_host(parts: &mut request::Parts) -> Result<(), Rejection> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err(Rejection::bad("the request has more than one Host header"));
    }
    let authority = parts.uri.authority().map(|authority| {
        // User information is not part of Host.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        HeaderValue::from_str(host)
    });
    match (authority, first) {
        (Some(Ok(host)), Some(other)) if parts.version == Version::HTTP_2 && host != other => {
            return Err(Rejection::bad("Host and :authority name different hosts"));
        }
        (Some(Ok(host)), _) => {
            parts.headers.insert(HOST, host);
        }
        (Some(Err(_)), _) => return Err(Rejection::bad("the target names no valid host")),
        (None, Some(_)) => {}
        (None, None) if parts.version == Version::HTTP_10 => {
            // HTTP/1.1, which replicas are spoken to in, wants the header; empty means "none is
            // known".
            parts.headers.insert(HOST, HeaderValue::from_static(""));
        }
        (None, None) => return Err(Rejection::bad("the request has no Host header")),
    }
    Ok(())
}

/// Path and query, byte for byte, of whatever form the target has.
fn take_target(parts: &request::Parts) -> Result<PathAndQuery, Rejection> {
    const NO_PATH: Rejection = Rejection::bad("the target of the request has no path");
    let target = parts.uri.path_and_query().ok_or(NO_PATH)?;
    let is_path = target.as_str().starts_with('/');
    let is_server = target.as_str() == "*" && parts.method == Method::OPTIONS;
    if is_path || is_server {
        Ok(target.clone())
    } else {
        Err(NO_PATH)
    }
}

/// HTTP/2 may send the cookies of a request one by one, which nothing else does (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let cookies: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // Joined values are a value.
    if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Removes the headers that concern one connection only (RFC 9110 section 7.6.1) and those that
/// `Connection` names. The length of the body and the host are not the client's to take away.
pub(super) fn remove_connection_headers(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = options(headers, &CONNECTION)
            .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
            .filter(|name| *name != CONTENT_LENGTH && *name != HOST)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

fn add_forwarded(headers: &mut HeaderMap, peer: &Peer) {
    let before = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .map(HeaderValue::as_bytes);
    let mut chain: Vec<u8> = Vec::new();
    for value in before.filter(|value| !value.is_empty()) {
        chain.extend_from_slice(value);
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.text());
    if let Ok(chain) = HeaderValue::from_bytes(&chain) {
        headers.insert(X_FORWARDED_FOR, chain);
    }
    headers
        .entry(X_FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static(if peer.is_tls {
            "https"
        } else {
            "http"
        }));
    if let Some(host) = headers.get(HOST).filter(|host| !host.is_empty()).cloned() {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    if headers.get(X_REQUEST_ID).is_none_or(HeaderValue::is_empty)
        && let Ok(id) = HeaderValue::from_bytes(&new_request_id())
    {
        headers.insert(X_REQUEST_ID, id);
    }
}

fn has_option(headers: &HeaderMap, name: &HeaderName, option: &str) -> bool {
    options(headers, name).any(|found| found.eq_ignore_ascii_case(option))
}

/// The members of a comma-separated header, over all its lines.
fn options<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|option| !option.is_empty())
}

#[cfg(test)]
mod tests;
