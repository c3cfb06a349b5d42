//! Answers of the proxy's own to requests of gRPC (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>): HTTP 200
//! and a status, in a head that is all there is of the answer ("trailers-only").

use std::fmt::Write;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// A status of gRPC, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Cancelled = 1,
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Status {
    /// What the status of an own answer over HTTP is in gRPC: as clients of gRPC read it themselves
    /// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>), but more exact where the proxy knows more.
    pub(super) fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::REQUEST_TIMEOUT => Self::Cancelled,
            StatusCode::PAYLOAD_TOO_LARGE => Self::ResourceExhausted,
            StatusCode::NOT_IMPLEMENTED => Self::Unimplemented,
            StatusCode::GATEWAY_TIMEOUT => Self::DeadlineExceeded,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

/// Whether a request is one of gRPC over HTTP/2: `application/grpc`, also with `+proto` and the like. gRPC-Web is not: it is made
/// for HTTP/1.1.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| {
        let (name, rest) = kind.split_at_checked(b"application/grpc".len())?;
        name.eq_ignore_ascii_case(b"application/grpc")
            .then_some(rest)
    });
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t')))
}

/// The fields that say how a call ended.
pub(super) fn status_fields(status: Status, message: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert(GRPC_STATUS, HeaderValue::from(status as u16));
    if let Ok(message) = HeaderValue::from_str(&encode(message)) {
        fields.insert(GRPC_MESSAGE, message);
    }
    fields
}

/// Percent-encodes what the protocol does not let stand: all but the printable characters of ASCII, and `%`.
fn encode(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            byte => {
                // Writing to a String cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; x=1", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcish", false),
            ("application/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
            assert_eq!(is_grpc(&headers), expected, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn messages_are_percent_encoded() {
        let fields = status_fields(Status::Unavailable, "100 % \"käse\"\n");
        assert_eq!(fields["grpc-status"], "14");
        assert_eq!(fields["grpc-message"], "100 %25 \"k%C3%A4se\"%0A");
    }
}
