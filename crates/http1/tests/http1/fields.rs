//! Header lines as their readers find them.

use http1::{FieldName, Fields, Span, is_token, list_members, read_request};

fn fields(lines: &str) -> (Fields, Vec<u8>) {
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
    let mut fields = Fields::new();
    read_request(&text, &mut fields).unwrap().unwrap();
    (fields, text)
}

#[test]
fn names_are_known_in_any_case_and_only_whole() {
    for (name, known) in [
        ("Authorization", FieldName::Authorization),
        ("Content-Type", FieldName::ContentType),
        ("Cookie", FieldName::Cookie),
        ("HTTP2-Settings", FieldName::Http2Settings),
        ("Keep-Alive", FieldName::KeepAlive),
        ("Proxy-Connection", FieldName::ProxyConnection),
        ("TE", FieldName::Te),
        ("Trailer", FieldName::Trailer),
        ("Upgrade", FieldName::Upgrade),
        ("X-Forwarded-For", FieldName::XForwardedFor),
        ("X-Forwarded-Host", FieldName::XForwardedHost),
        ("X-Forwarded-Proto", FieldName::XForwardedProto),
        ("X-Request-Id", FieldName::XRequestId),
        ("Content_Length", FieldName::Other),
        ("Transfer_Encoding", FieldName::Other),
        ("Content-Lengthx", FieldName::Other),
    ] {
        for name in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
            let (fields, _) = fields(&format!("{name}: v\r\n"));
            assert_eq!(fields.iter().last().unwrap().name, known, "{name}");
        }
    }
}

#[test]
fn lines_names_and_values_stand_where_they_say() {
    let (fields, text) = fields("Cookie: \t a \r\nX:b\r\nY:\r\nCookie: c\r\n");
    let parts: Vec<_> = fields
        .iter()
        .map(|field| {
            (
                field.line.of(&text),
                field.name_span.of(&text),
                field.value.of(&text),
            )
        })
        .collect();
    let wanted: [(&[u8], &[u8], &[u8]); 5] = [
        (b"Host: a\r\n", b"Host", b"a"),
        (b"Cookie: \t a \r\n", b"Cookie", b"a"),
        (b"X:b\r\n", b"X", b"b"),
        (b"Y:\r\n", b"Y", b""),
        (b"Cookie: c\r\n", b"Cookie", b"c"),
    ];
    assert_eq!(parts, wanted);
    assert_eq!(fields.named(FieldName::Cookie).count(), 2);
    assert_eq!(fields.value(FieldName::Cookie, &text), Some(&b"a"[..]));
    assert_eq!(fields.value(FieldName::Te, &text), None);
}

#[test]
fn lists_are_those_of_rfc_9110_section_5_6_1() {
    let members: Vec<_> = list_members(b" a ,, b\t,\tc d,").collect();
    assert_eq!(members, [&b"a"[..], b"b", b"c d"]);
    assert_eq!(list_members(b"").count() + list_members(b" , ").count(), 0);
    let (fields, text) = fields("TE: gzip\r\nTE: x, Trailers\r\n");
    assert!(fields.has_member(FieldName::Te, &text, b"trailers"));
    assert!(!fields.has_member(FieldName::Te, &text, b"trailer"));
}

#[test]
fn a_list_is_of_the_head_read_last() {
    let mut fields = Fields::new();
    for count in [5, 2] {
        let text = format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X: y\r\n".repeat(count)
        );
        read_request(text.as_bytes(), &mut fields).unwrap().unwrap();
        assert_eq!(fields.iter().count(), count + 1);
    }
}

#[test]
fn spans_and_tokens() {
    let span = Span { start: 1, end: 3 };
    assert_eq!(
        (span.of(b"abcd"), span.len(), span.is_empty()),
        (&b"bc"[..], 2, false)
    );
    assert_eq!(span.of(b"ab"), b"", "not of this buffer");
    let backwards = Span { start: 3, end: 1 };
    assert_eq!(
        (backwards.of(b"abcd"), backwards.len(), backwards.is_empty()),
        (&b""[..], 0, true)
    );
    assert!(is_token(b"x-Y.1") && !is_token(b"") && !is_token(b"a b") && !is_token(b"\x80"));
}
