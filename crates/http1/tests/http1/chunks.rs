//! Chunked bodies (RFC 9112 section 7.1), rule by rule.

use http1::{MAX_EXTENSION_BYTES, MAX_TRAILER_BYTES, Refusal};

use crate::reading::chunked;

#[track_caller]
fn refused(section: &str, bytes: &[u8], refusal: Refusal) {
    let found = chunked([bytes]);
    assert_eq!(
        found.end,
        Err(refusal),
        "{section}: {}",
        bytes.escape_ascii()
    );
}

#[track_caller]
fn accepted(section: &str, bytes: &[u8], data: &[u8]) {
    let found = chunked([bytes]);
    let shown = bytes.escape_ascii();
    assert_eq!(found.end, Ok(true), "{section}: {shown}");
    assert_eq!(
        (&found.data[..], found.length),
        (data, bytes.len()),
        "{section}: {shown}"
    );
}

#[test]
fn sizes() {
    for (section, size) in [
        ("7.1", "5"),
        ("7.1: leading zeros", "00005"),
        ("7.1: 15 digits", "000000000000005"),
    ] {
        accepted(
            section,
            format!("{size}\r\nhello\r\n0\r\n\r\n").as_bytes(),
            b"hello",
        );
    }
    accepted(
        "7.1: either case",
        b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n",
        b"01234567890123456789a",
    );
    for size in [
        "",
        "0x5",
        "0X5",
        "+5",
        "-5",
        " 5",
        "\t5",
        "5 ",
        "5\t",
        "5 ;a",
        "5,",
        "5h",
        "5.0",
        "5_0",
        "\u{b}5",
        "\0",
        "g",
        "\u{665}",
        "#5",
        "0000000000000005",
        "fffffffffffffffff",
        "10000000000000005",
        "ffffffffffffffff",
    ] {
        let bytes = format!("{size}\r\nhello\r\n0\r\n\r\n");
        refused("7.1", bytes.as_bytes(), Refusal::ChunkSize);
    }
    let huge = chunked([&b"fffffffffffffff\r\nhello"[..]]);
    assert_eq!((huge.end, &huge.data[..]), (Ok(false), &b"hello"[..]));
}

#[test]
fn line_ends() {
    use Refusal::{BareCarriageReturn, ChunkEnd, ChunkExtension, ChunkSize, Trailers};
    for (section, bytes, refusal) in [
        (
            "7.1: LF after the size",
            &b"5\nhello\r\n0\r\n\r\n"[..],
            ChunkSize,
        ),
        (
            "7.1: CR after the size",
            b"5\rhello\r\n0\r\n\r\n",
            BareCarriageReturn,
        ),
        (
            "7.1: CR CR LF",
            b"5\r\r\nhello\r\n0\r\n\r\n",
            BareCarriageReturn,
        ),
        ("7.1: LF after the data", b"5\r\nhello\n0\r\n\r\n", ChunkEnd),
        ("7.1: CR after the data", b"5\r\nhello\r0\r\n\r\n", ChunkEnd),
        (
            "7.1: nothing after the data",
            b"5\r\nhello0\r\n\r\n",
            ChunkEnd,
        ),
        (
            "7.1: two more bytes (ONE.TWO)",
            b"5\r\nhelloXX0\r\n\r\n",
            ChunkEnd,
        ),
        ("7.1: a longer chunk", b"5\r\nhello!\r\n0\r\n\r\n", ChunkEnd),
        (
            "7.1: an empty line before a size (ZERO.TWO)",
            b"5\r\nhello\r\n\r\n0\r\n\r\n",
            ChunkSize,
        ),
        (
            "7.1.1: LF ends an extension (TERM.EXT)",
            b"5;\nhello\r\n0\r\n\r\n",
            ChunkExtension,
        ),
        (
            "7.1.1: LF in an extension (EXT.TERM)",
            b"5;a\nb\r\nhello\r\n0\r\n\r\n",
            ChunkExtension,
        ),
        (
            "7.1.1: CR in an extension",
            b"5;a\rb\r\nhello\r\n0\r\n\r\n",
            BareCarriageReturn,
        ),
        (
            "7.1.1: NUL in an extension",
            b"5;a\0\r\nhello\r\n0\r\n\r\n",
            ChunkExtension,
        ),
        (
            "7.1.1: DEL in an extension",
            b"5;a\x7f\r\nhello\r\n0\r\n\r\n",
            ChunkExtension,
        ),
        ("7.1.2: LF ends the body", b"0\r\n\n", Trailers),
        ("7.1.2: LF ends a trailer", b"0\r\nX: y\n\r\n", Trailers),
        ("7.1.2: CR in a trailer", b"0\r\nX: a\rb\r\n\r\n", Trailers),
    ] {
        refused(section, bytes, refusal);
    }
}

#[test]
fn extensions() {
    for extension in [";a", ";a=b", ";a=\"b c\"", ";a;b=c", "; a = b", ";"] {
        let bytes = format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n");
        accepted("7.1.1: ignored", bytes.as_bytes(), b"hello");
    }
    let limit = MAX_EXTENSION_BYTES as usize;
    let one = |length: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(length - 1));
    accepted("7.1.1", one(limit).as_bytes(), b"x");
    refused(
        "7.1.1: a limit",
        one(limit + 1).as_bytes(),
        Refusal::ChunkExtension,
    );
    let many = |chunks: usize| {
        let chunk = format!("1;{}\r\nx\r\n", "e".repeat(limit - 1));
        format!("{}0\r\n\r\n", chunk.repeat(chunks))
    };
    accepted("7.1.1", many(16).as_bytes(), &[b'x'; 16]);
    refused(
        "7.1.1: a limit of all",
        many(17).as_bytes(),
        Refusal::ChunkExtension,
    );
}

#[test]
fn trailers() {
    let body = b"0\r\nX-Sum: 1\r\nY:\r\n\r\n";
    accepted("7.1.2", body, b"");
    assert_eq!(chunked([&body[..]]).trailers, b"X-Sum: 1\r\nY:\r\n\r\n");
    for name in [
        "Content-Length: 5",
        "content-length: 5",
        "Transfer-Encoding: chunked",
        "Host: a",
        "Connection: close",
        "Keep-Alive: x",
        "Upgrade: x",
        "TE: trailers",
        "Trailer: x",
        "Expect: 100-continue",
        "Authorization: x",
        "Cookie: x",
        "X-Forwarded-For: x",
        "X-Forwarded-Host: x",
        "X-Forwarded-Proto: x",
        "HTTP2-Settings: x",
        "Proxy-Connection: close",
    ] {
        let bytes = format!("0\r\n{name}\r\n\r\n");
        refused("9110 6.5.1", bytes.as_bytes(), Refusal::Trailers);
    }
    for line in [
        "X : y",
        " X: y",
        "X: y\r\n z",
        "X",
        ": y",
        "X: \0",
        "GET / HTTP/1.1",
    ] {
        let bytes = format!("0\r\n{line}\r\n\r\n");
        refused("9112 5", bytes.as_bytes(), Refusal::Trailers);
    }
    let long = |length: usize| format!("0\r\nX: {}\r\n\r\n", "y".repeat(length - 7));
    accepted("9110 6.5", long(MAX_TRAILER_BYTES).as_bytes(), b"");
    for length in [MAX_TRAILER_BYTES + 1, MAX_TRAILER_BYTES + 500] {
        refused(
            "9110 6.5: a limit",
            long(length).as_bytes(),
            Refusal::Trailers,
        );
    }
    let endless = format!("0\r\nX: {}", "y".repeat(MAX_TRAILER_BYTES));
    refused("9110 6.5: a limit", endless.as_bytes(), Refusal::Trailers);
    let many = format!("0\r\n{}\r\n", "X:\r\n".repeat(http1::MAX_FIELDS + 1));
    refused("9110 6.5: a limit", many.as_bytes(), Refusal::Trailers);
}

#[test]
fn a_body_ends_where_it_ends() {
    let found = chunked([&b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"[..]]);
    assert_eq!((found.end, found.length), (Ok(true), 15));
    for end in 0..15 {
        let found = chunked([&b"5\r\nhello\r\n0\r\n\r\n"[..end]]);
        assert_eq!(found.end, Ok(false), "{end}");
    }
}
