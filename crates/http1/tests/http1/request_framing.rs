//! What the headers of a request decide: its body, its connection, other protocols.

use http1::{BodyLength, Method, Refusal, RequestHead, TargetForm};

use crate::requests::{ACCEPTED, Verdict, check, read, table};

#[test]
fn lengths() {
    use Refusal::{ContentLength, TransferEncoding, TwoLengths};
    let (length, coding, two) = (
        Some(ContentLength),
        Some(TransferEncoding),
        Some(TwoLengths),
    );
    let rows: &[(&str, &[u8], Verdict)] = &[
        ("9110 8.6", b"Content-Length: 5", ACCEPTED),
        ("9110 8.6: leading zeros", b"Content-Length: 0005", ACCEPTED),
        ("9110 8.6", b"Content-Length: 9999999999999999999", ACCEPTED),
        ("9110 5.5: OWS", b"content-length:\t5 ", ACCEPTED),
        ("9110 8.6: empty", b"Content-Length:", length),
        ("9110 8.6: sign", b"Content-Length: +5", length),
        ("9110 8.6: sign", b"Content-Length: -5", length),
        ("9110 8.6: hexadecimal", b"Content-Length: 0x5", length),
        ("9110 8.6: fraction", b"Content-Length: 5.0", length),
        ("9110 8.6: exponent", b"Content-Length: 5e1", length),
        ("9110 8.6: separator", b"Content-Length: 1_000", length),
        ("9112 6.3: list", b"Content-Length: 5,5", length),
        ("9112 6.3: list", b"Content-Length: 5, 6", length),
        ("9110 8.6: two words", b"Content-Length: 5 5", length),
        (
            "9110 8.6: 2^64",
            b"Content-Length: 18446744073709551616",
            length,
        ),
        (
            "9110 8.6: 20 digits",
            b"Content-Length: 00000000000000000005",
            length,
        ),
        (
            "9110 8.6: other digits",
            b"Content-Length: \xd9\xa5",
            length,
        ),
        (
            "9112 6.3: two, alike",
            b"Content-Length: 5\r\nContent-Length: 5",
            length,
        ),
        (
            "9112 6.3: two",
            b"Content-Length: 5\r\ncontent-length: 6",
            length,
        ),
        (
            "9112 6.3",
            b"Content-Length: 5\r\nTransfer-Encoding: chunked",
            two,
        ),
        (
            "9112 6.3",
            b"Transfer-Encoding: chunked\r\nContent-Length: 5",
            two,
        ),
        (
            "9112 6.3",
            b"Transfer-Encoding: chunked\r\nContent-Length: 0",
            two,
        ),
        ("9112 6.1", b"Transfer-Encoding: chunked", ACCEPTED),
        (
            "9112 7: case-insensitive",
            b"TRANSFER-ENCODING: ChUnKeD",
            ACCEPTED,
        ),
        (
            "9110 5.5: OWS",
            b"Transfer-Encoding:\t chunked \t",
            ACCEPTED,
        ),
        ("9112 6.1", b"Transfer-Encoding: xchunked", coding),
        ("9112 6.1", b"Transfer-Encoding: chunkedx", coding),
        ("9112 6.1", b"Transfer-Encoding: chunk", coding),
        ("9112 6.1", b"Transfer-Encoding: chun ked", coding),
        ("9112 6.1", b"Transfer-Encoding: \"chunked\"", coding),
        ("9112 6.1", b"Transfer-Encoding: 'chunked'", coding),
        ("9112 6.1", b"Transfer-Encoding:", coding),
        ("9112 6.1: obsolete", b"Transfer-Encoding: identity", coding),
        (
            "9112 6.1: last",
            b"Transfer-Encoding: chunked, identity",
            coding,
        ),
        ("9112 6.1", b"Transfer-Encoding: identity, chunked", coding),
        ("9112 6.1", b"Transfer-Encoding: gzip, chunked", coding),
        (
            "9112 6.1: once",
            b"Transfer-Encoding: chunked, chunked",
            coding,
        ),
        ("9112 6.1", b"Transfer-Encoding: chunked,", coding),
        ("9112 6.1", b"Transfer-Encoding: ,chunked", coding),
        (
            "9112 7: no parameters",
            b"Transfer-Encoding: chunked;q=1",
            coding,
        ),
        (
            "9112 6.1: above 127",
            b"Transfer-Encoding: \xa0chunked",
            coding,
        ),
        (
            "9112 6.1: twice",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            coding,
        ),
        (
            "9112 6.1: twice",
            b"Transfer-Encoding: chunked\r\nTransfer-encoding: identity",
            coding,
        ),
        (
            "9112 6.1: twice",
            b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            coding,
        ),
    ];
    table("POST / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", rows);
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    check("9112 6.1: 1.0 has none", old, coding);
    for refusal in [TransferEncoding, Refusal::Connect] {
        assert_eq!(refusal.status(), 501);
    }
}

#[test]
fn expectations() {
    let rows: &[(&str, &[u8], Verdict)] = &[
        ("9110 10.1.1", b"100-continue", ACCEPTED),
        ("9110 10.1.1: case-insensitive", b"100-Continue", ACCEPTED),
        ("9110 10.1.1", b"200-ok", Some(Refusal::Expectation)),
        ("9110 10.1.1", b"", Some(Refusal::Expectation)),
        (
            "9110 10.1.1",
            b"100-continue, x",
            Some(Refusal::Expectation),
        ),
    ];
    table(
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: {}\r\n\r\n",
        rows,
    );
    assert_eq!(Refusal::Expectation.status(), 417);
}

fn head(text: &str) -> RequestHead {
    read(text.as_bytes()).unwrap().unwrap()
}

#[test]
fn what_a_head_says() {
    let text = "POST http://b:1/p?q HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nrest";
    let found = head(text);
    assert_eq!(
        (found.method, found.body),
        (Method::Post, BodyLength::Bytes(7))
    );
    assert_eq!(found.target.of(text.as_bytes()), b"/p?q");
    assert!(matches!(found.form, TargetForm::Absolute { authority }
        if authority.of(text.as_bytes()) == b"b:1"));
    assert_eq!(found.length, text.len() - 4);
    for (version, connection, keeps) in [
        ("1.1", "x", true),
        ("1.1", "close", false),
        ("1.1", "keep-alive, Close", false),
        ("1.0", "x", false),
        ("1.0", "Keep-Alive", true),
        ("1.0", "close, keep-alive", false),
    ] {
        let found = head(&format!(
            "GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n"
        ));
        assert_eq!(found.keep_alive, keeps, "{version} {connection}");
        assert_eq!(found.names_connection_headers, connection == "x");
    }
    let old = head("PUT / HTTP/1.0\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!((old.expects_continue, old.body), (false, BodyLength::None));
    for (name, idempotent) in [
        ("PUT", true),
        ("TRACE", true),
        ("POST", false),
        ("PATCH", false),
    ] {
        let found = head(&format!("{name} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(found.method.is_idempotent(), idempotent, "{name}");
    }
}

/// RFC 9110 section 7.8; what asks for h2c would, if granted, carry requests past everything that this proxy looks at.
#[test]
fn upgrades() {
    for (headers, wanted) in [
        ("Connection: upgrade\r\nUpgrade: websocket", true),
        (
            "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket",
            true,
        ),
        ("Upgrade: websocket", false),
        ("Connection: upgrade", false),
        ("Connection: upgrade\r\nUpgrade:", false),
        ("Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b", false),
        ("Connection: upgrade\r\nUpgrade: h2c", false),
        ("Connection: upgrade\r\nUpgrade: H2C", false),
        ("Connection: upgrade\r\nUpgrade: websocket, h2c", false),
        ("Connection: upgrade\r\nUpgrade: h2c,", false),
        ("Connection: upgrade\r\nUpgrade: h2c/1, websocket", false),
        ("Connection: upgrade\r\nUpgrade: h2cx", true),
    ] {
        let found = head(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n"));
        assert_eq!(found.upgrade.is_some(), wanted, "{headers}");
        let old = head(&format!("GET / HTTP/1.0\r\n{headers}\r\n\r\n"));
        assert_eq!(old.upgrade, None, "{headers}");
    }
}
