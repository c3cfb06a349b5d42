//! Heads of requests, line by line.

use http1::{Fields, Refusal, RequestHead, read_request};

pub(crate) fn read(bytes: &[u8]) -> Result<Option<RequestHead>, Refusal> {
    read_request(bytes, &mut Fields::new())
}

/// `None`: accepted.
pub(crate) type Verdict = Option<Refusal>;
pub(crate) const ACCEPTED: Verdict = None;

#[track_caller]
pub(crate) fn check(section: &str, bytes: &[u8], verdict: Verdict) {
    let shown = bytes.escape_ascii();
    match (read(bytes), verdict) {
        (Ok(Some(head)), None) => assert_eq!(head.length, bytes.len(), "{section}: {shown}"),
        (Err(found), Some(wanted)) => assert_eq!(found, wanted, "{section}: {shown}"),
        (found, wanted) => panic!("{section}: {shown}: {found:?}, not {wanted:?}"),
    }
}

/// Each row is put where `{}` stands.
#[track_caller]
pub(crate) fn table(template: &str, rows: &[(&str, &[u8], Verdict)]) {
    let (before, after) = template.split_once("{}").unwrap();
    for (section, row, verdict) in rows {
        let bytes = [before.as_bytes(), *row, after.as_bytes()].concat();
        check(section, &bytes, *verdict);
    }
}

#[test]
fn request_lines() {
    use Refusal::{BareCarriageReturn, BareLineFeed, Connect, RequestLine, Version};
    let line = Some(RequestLine);
    let rows: &[(&str, &[u8], Verdict)] = &[
        ("9112 3", b"GET / HTTP/1.1", ACCEPTED),
        ("9112 2.3", b"GET / HTTP/1.0", ACCEPTED),
        (
            "9110 9.1: methods are case-sensitive tokens",
            b"get / HTTP/1.1",
            ACCEPTED,
        ),
        ("9110 16.1.1", b"M-SEARCH / HTTP/1.1", ACCEPTED),
        ("9112 3: one space", b"GET  / HTTP/1.1", line),
        ("9112 3: one space", b"GET /  HTTP/1.1", line),
        ("9112 3: no tab", b"GET\t/ HTTP/1.1", Some(Refusal::Method)),
        ("9112 3: no tab", b"GET /\tHTTP/1.1", line),
        (
            "9112 3: no vertical tab",
            b"GET\x0b/ HTTP/1.1",
            Some(Refusal::Method),
        ),
        (
            "9112 3: nothing before",
            b" GET / HTTP/1.1",
            Some(Refusal::Method),
        ),
        ("9112 3: nothing after", b"GET / HTTP/1.1 ", line),
        ("9112 3: spaces in the target", b"GET /a b HTTP/1.1", line),
        ("9112 3: HTTP/0.9 has no version", b"GET /", line),
        ("9112 3: HTTP/0.9 has no version", b"GET", line),
        ("9112 3: no version", b"GET / ", line),
        ("9112 2.3: case-sensitive", b"GET / http/1.1", line),
        ("9112 2.3: one digit each", b"GET / HTTP/1.10", line),
        ("9112 2.3: one digit each", b"GET / HTTP/01.1", line),
        ("9112 2.3", b"GET / HTTP/1,1", line),
        ("9112 2.3", b"GET / HTTP/1", line),
        ("9110 15.6.6", b"GET / HTTP/2.0", Some(Version)),
        ("9110 15.6.6", b"GET / HTTP/1.2", Some(Version)),
        ("9110 15.6.6", b"GET / HTTP/0.9", Some(Version)),
        ("9113 3.4: not here", b"PRI * HTTP/2.0", Some(Version)),
        ("9110 9.1", b"G(T / HTTP/1.1", Some(Refusal::Method)),
        ("9110 9.1", b"G\xc3\x89T / HTTP/1.1", Some(Refusal::Method)),
        ("9110 9.1", b"G\0T / HTTP/1.1", Some(Refusal::Method)),
        ("9110 9.3.6", b"CONNECT a:443 HTTP/1.1", Some(Connect)),
        ("9110 9.3.6", b"CONNECT / HTTP/1.1", Some(Connect)),
        ("9112 2.2", b"GET / HTTP/1.1\n", Some(BareLineFeed)),
        ("9112 2.2", b"\nGET / HTTP/1.1", Some(BareLineFeed)),
        ("9112 2.2", b"GET / HTTP/1.1\r", line),
        ("9112 2.2: one empty line", b"\r\nGET / HTTP/1.1", ACCEPTED),
        (
            "9112 2.2: two are too many",
            b"\r\n\r\nGET / HTTP/1.1",
            line,
        ),
    ];
    table("{}\r\nHost: a\r\n\r\n", rows);
    let cr = b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n";
    check("9112 2.2", cr, Some(BareCarriageReturn));
}

#[test]
fn targets() {
    let target = Some(Refusal::Target);
    let rows: &[(&str, &[u8], Verdict)] = &[
        ("9112 3.2.1", b"/", ACCEPTED),
        (
            "9112 3.2.1: byte for byte",
            b"//a//../b/.;x=1?y=/?z&&",
            ACCEPTED,
        ),
        ("3986 3.3: tolerated", b"/\xc3\xa9{}|\\\"<>", ACCEPTED),
        ("9112 3.2: no fragment", b"/a#b", target),
        ("9112 3.2", b"/a\x7f", target),
        ("9112 3.2", b"/a\0", target),
        ("9112 3.2", b"/a\x0b", target),
        ("9112 2.2", b"/a\rb", target),
        ("9112 3.2", b"a", target),
        ("9112 3.2", b"?q", target),
        ("9112 3.2.2", b"http://b", ACCEPTED),
        ("9112 3.2.2", b"http://b/p?q", ACCEPTED),
        ("9112 3.2.2", b"HTTP://b:80/", ACCEPTED),
        ("9112 3.2.2", b"https://[::1]:8443/", ACCEPTED),
        ("9110 4.2.4: user information", b"http://user@b/", target),
        (
            "9110 4.2.4: user information",
            b"http://user:word@b/",
            target,
        ),
        ("9110 4.2.1: no host", b"http:///p", target),
        ("9110 4.2.1: no host", b"http://:80/p", target),
        ("9110 4.2.1", b"http://b:x/", target),
        ("9110 4.2.1", b"http://b?q", target),
        ("9110 4.2.1", b"http:/b/", target),
        ("9110 4.2.1", b"http://b\\c/", target),
        ("9112 3.2.2: other schemes", b"ftp://b/", target),
        ("9112 3.2.2: other schemes", b"file:///etc/passwd", target),
        ("9112 3.2.3: CONNECT only", b"a:443", target),
        ("9112 3.2.4: OPTIONS only", b"*", target),
        ("9112 3.2.4", b"**", target),
    ];
    table("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", rows);
    check(
        "9112 3.2.4",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        ACCEPTED,
    );
    check(
        "9112 3.2.4",
        b"OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n",
        target,
    );
}

#[test]
fn hosts() {
    let host = Some(Refusal::Host);
    let rows: &[(&str, &[u8], Verdict)] = &[
        ("9112 3.2", b"Host: a.example", ACCEPTED),
        ("9110 7.2", b"Host: a:80", ACCEPTED),
        ("3986 3.2.3: the port may be empty", b"Host: a:", ACCEPTED),
        ("3986 3.2.2", b"Host: 127.0.0.1:1", ACCEPTED),
        ("3986 3.2.2", b"Host: [2001:db8::1]", ACCEPTED),
        ("3986 3.2.2", b"Host: [::ffff:1.2.3.4]:80", ACCEPTED),
        (
            "3986 3.2.2: names of containers",
            b"Host: my_service",
            ACCEPTED,
        ),
        ("9112 3.2: no authority", b"Host:", ACCEPTED),
        ("9110 5.5: space around", b"Host: \t a \t", ACCEPTED),
        ("9112 3.2: none", b"X: y", host),
        ("9112 3.2: two", b"Host: a\r\nHost: b", host),
        ("9112 3.2: two, alike", b"Host: a\r\nhost: a", host),
        ("9112 3.2: a list", b"Host: a, b", host),
        ("9112 3.2: a list", b"Host: a,b", host),
        ("9110 7.2: user information", b"Host: u@a", host),
        ("9110 7.2", b"Host: a/b", host),
        ("9110 7.2", b"Host: http://a", host),
        ("9110 7.2", b"Host: a b", host),
        ("9110 7.2", b"Host: a?b", host),
        ("9110 7.2", b"Host: a#b", host),
        ("9110 7.2", b"Host: a\\b", host),
        ("9110 7.2", b"Host: a%00b", host),
        ("9110 7.2", b"Host: \xc3\xa9", host),
        ("9110 7.2", b"Host: :80", host),
        ("9110 7.2", b"Host: a:80:90", host),
        ("9110 7.2", b"Host: a:8o", host),
        ("9110 7.2", b"Host: a:+80", host),
        ("3986 3.2.2", b"Host: [::1", host),
        ("3986 3.2.2", b"Host: ::1", host),
        ("3986 3.2.2", b"Host: []", host),
        ("3986 3.2.2", b"Host: [a:g]", host),
        ("3986 3.2.2", b"Host: [::1]x", host),
        ("3986 3.2.2", b"Host: x[::1]", host),
    ];
    table("GET / HTTP/1.1\r\n{}\r\n\r\n", rows);
    check(
        "9112 3.2: 1.0 has none",
        b"GET / HTTP/1.0\r\n\r\n",
        ACCEPTED,
    );
    check(
        "9112 3.2",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        host,
    );
    check("9112 3.2.2", b"GET http://b/ HTTP/1.1\r\n\r\n", host);
}

#[test]
fn header_lines() {
    use Refusal::{BareCarriageReturn, BareLineFeed, FieldName, FieldValue, Folded};
    let name = Some(FieldName);
    let rows: &[(&str, &[u8], Verdict)] = &[
        ("9112 5.1", b"X: y", ACCEPTED),
        ("9112 5.1: no space is needed", b"X:y", ACCEPTED),
        ("9112 5.1: an empty value", b"X:", ACCEPTED),
        ("9112 5.1: OWS", b"X: \t y \t ", ACCEPTED),
        ("9110 5.5: obs-text", b"X: \x80\xff", ACCEPTED),
        ("9110 5.5", b"X: a:b", ACCEPTED),
        ("9110 5.6.2", b"!#$%&'*+-.^_`|~0aZ: y", ACCEPTED),
        ("9112 5.1: space before the colon", b"X : y", name),
        (
            "9112 5.1: space before the colon",
            b"Transfer-Encoding : chunked",
            name,
        ),
        (
            "9112 5.1: tab before the colon",
            b"Transfer-Encoding\t: chunked",
            name,
        ),
        (
            "9112 5.1: vertical tab",
            b"Transfer-Encoding\x0b: chunked",
            name,
        ),
        ("9112 5.1: no colon", b"X", name),
        ("9112 5.1: no colon", b"Transfer-Encoding chunked", name),
        ("9112 5.1: no name", b": y", name),
        ("9112 5.1: no name", b":", name),
        ("9110 5.1: space within", b"X Y: z", name),
        ("9110 5.1: above 127", b"\x80X: y", name),
        ("9110 5.1: above 127", b"Content-Length\xa0: 5", name),
        ("9110 5.1: NUL", b"Content-Length\0: 5", name),
        ("9110 5.1", b"X(: y", name),
        ("9110 5.1", b"\"X\": y", name),
        ("9112 5.2: obs-fold", b"X: y\r\n z", Some(Folded)),
        ("9112 5.2: obs-fold", b"X: y\r\n\tz", Some(Folded)),
        (
            "9112 5.2: obs-fold",
            b"Transfer-Encoding:\r\n chunked",
            Some(Folded),
        ),
        ("9112 2.2: at the beginning", b" X: y", Some(Folded)),
        ("9110 5.5: NUL", b"X: a\0b", Some(FieldValue)),
        ("9110 5.5: DEL", b"X: a\x7f", Some(FieldValue)),
        (
            "9110 5.5: vertical tab",
            b"Transfer-Encoding: \x0bchunked",
            Some(FieldValue),
        ),
        (
            "9110 5.5: form feed",
            b"Transfer-Encoding: chunked\x0c",
            Some(FieldValue),
        ),
        ("9112 2.2: bare CR", b"X: a\rb", Some(BareCarriageReturn)),
        ("9112 2.2: bare CR", b"X: y\r", Some(BareCarriageReturn)),
        (
            "9112 2.2: bare CR",
            b"X: y\rTransfer-Encoding: chunked",
            Some(BareCarriageReturn),
        ),
        (
            "9112 2.2: bare LF",
            b"X: y\nTransfer-Encoding: chunked",
            Some(BareLineFeed),
        ),
        ("9112 2.2: bare CR in a name", b"X\r: y", name),
        ("9112 2.2: bare CR for an end", b"\r", name),
    ];
    table("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", rows);
    let folded = b"GET / HTTP/1.1\r\n Host: a\r\n\r\n";
    check("9112 2.2: after the request line", folded, Some(Folded));
    check(
        "9112 2.2",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        Some(BareLineFeed),
    );
    check(
        "9112 2.2",
        b"GET / HTTP/1.1\nHost: a\n\n",
        Some(BareLineFeed),
    );
}
