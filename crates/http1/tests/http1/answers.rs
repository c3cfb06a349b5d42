//! Heads of answers, rule by rule.

use http1::{AnswerHead, BodyLength, Fields, MAX_HEAD_BYTES, Refusal, read_answer};

use crate::seeds::ANSWERS;

fn read(bytes: &[u8]) -> Result<Option<AnswerHead>, Refusal> {
    read_answer(bytes, &mut Fields::new())
}

fn head(text: &str) -> AnswerHead {
    read(text.as_bytes()).unwrap().unwrap()
}

#[test]
fn status_lines() {
    use Refusal::{BareLineFeed, StatusLine};
    let rows: &[(&str, &[u8], Option<Refusal>)] = &[
        ("9112 4", b"HTTP/1.1 200 OK\r\n", None),
        ("9112 4: an empty reason", b"HTTP/1.1 200 \r\n", None),
        ("9112 4: tolerated", b"HTTP/1.1 200\r\n", None),
        ("9112 4", b"HTTP/1.0 404 Not\tFound \xe9\r\n", None),
        (
            "9110 15: unknown ones are taken by their class",
            b"HTTP/1.1 799 X\r\n",
            None,
        ),
        ("9112 2.3", b"HTTP/1.2 200 OK\r\n", Some(StatusLine)),
        ("9112 2.3", b"HTTP/2.0 200 OK\r\n", Some(StatusLine)),
        ("9112 2.3", b"http/1.1 200 OK\r\n", Some(StatusLine)),
        ("9112 4", b"HTTP/1.1  200 OK\r\n", Some(StatusLine)),
        ("9112 4", b"HTTP/1.1\t200 OK\r\n", Some(StatusLine)),
        ("9112 4", b"HTTP/1.1 200\tOK\r\n", Some(StatusLine)),
        (
            "9112 4: three digits",
            b"HTTP/1.1 20 OK\r\n",
            Some(StatusLine),
        ),
        (
            "9112 4: three digits",
            b"HTTP/1.1 2000 OK\r\n",
            Some(StatusLine),
        ),
        ("9110 15", b"HTTP/1.1 000 X\r\n", Some(StatusLine)),
        ("9110 15", b"HTTP/1.1 +20 X\r\n", Some(StatusLine)),
        ("9112 4", b"HTTP/1.1 200 a\0b\r\n", Some(StatusLine)),
        ("9112 2.2", b"HTTP/1.1 200 a\rb\r\n", Some(StatusLine)),
        ("9112 2.2", b"HTTP/1.1 200 OK\n", Some(BareLineFeed)),
        ("9112 4", b"\r\nHTTP/1.1 200 OK\r\n", Some(StatusLine)),
        ("9112 4: a body without a head", b"<html>", Some(StatusLine)),
        (
            "9112 4: another protocol",
            b"SSH-2.0-x\r\n",
            Some(StatusLine),
        ),
    ];
    for (section, line, refusal) in rows {
        let bytes = [*line, b"\r\n"].concat();
        assert_eq!(
            read(&bytes).err(),
            *refusal,
            "{section}: {}",
            line.escape_ascii()
        );
    }
}

#[test]
fn lengths_of_answers() {
    use Refusal::{ContentLength, FieldName, Folded, TransferEncoding, TwoLengths};
    let rows: &[(&str, &str, Result<BodyLength, Refusal>)] = &[
        ("9112 6.3: 8", "HTTP/1.1 200 OK", Ok(BodyLength::UntilClose)),
        (
            "9112 6.3: 6",
            "HTTP/1.1 200 OK\r\nContent-Length: 5",
            Ok(BodyLength::Bytes(5)),
        ),
        (
            "9112 6.3: 6",
            "HTTP/1.1 200 OK\r\nContent-Length: 0",
            Ok(BodyLength::None),
        ),
        (
            "9112 6.3: 4",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
            Ok(BodyLength::Chunked),
        ),
        (
            "9112 6.3: 1",
            "HTTP/1.1 103 X\r\nContent-Length: 5",
            Ok(BodyLength::None),
        ),
        (
            "9112 6.3: 1",
            "HTTP/1.1 204 X\r\nContent-Length: 5",
            Ok(BodyLength::None),
        ),
        (
            "9112 6.3: 1",
            "HTTP/1.1 204 X\r\nTransfer-Encoding: chunked",
            Ok(BodyLength::None),
        ),
        (
            "9112 6.3: 1",
            "HTTP/1.1 304 X\r\nContent-Length: 5",
            Ok(BodyLength::None),
        ),
        (
            "9112 6.3: 3",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            Err(TwoLengths),
        ),
        (
            "9112 6.3: 3",
            "HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
            Err(TwoLengths),
        ),
        (
            "9112 6.3: 5",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5",
            Err(ContentLength),
        ),
        (
            "9112 6.3: 5",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5",
            Err(ContentLength),
        ),
        (
            "9110 8.6",
            "HTTP/1.1 200 OK\r\nContent-Length: +5",
            Err(ContentLength),
        ),
        (
            "9112 6.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
            Err(TransferEncoding),
        ),
        (
            "9112 6.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            Err(TransferEncoding),
        ),
        (
            "9112 6.1: not in 1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
            Err(TransferEncoding),
        ),
        (
            "9112 5.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked",
            Err(FieldName),
        ),
        (
            "9112 5.2",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked",
            Err(Folded),
        ),
    ];
    for (section, text, wanted) in rows {
        let found = read(format!("{text}\r\n\r\n").as_bytes());
        let found = found.map(|head| head.unwrap().body);
        assert_eq!(&found, wanted, "{section}: {text}");
    }
}

#[test]
fn what_an_answer_says_of_its_connection() {
    for (version, connection, keeps, names) in [
        ("1.1", "x-hop", true, true),
        ("1.1", "close", false, false),
        ("1.1", "Close, x", false, true),
        ("1.0", "keep-alive", true, false),
        ("1.0", "upgrade", false, false),
    ] {
        let found = head(&format!(
            "HTTP/{version} 200 OK\r\nConnection: {connection}\r\n\r\n"
        ));
        assert_eq!(
            (found.keep_alive, found.names_connection_headers),
            (keeps, names)
        );
        assert!(found.has_hop_by_hop);
    }
    let found = head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(!found.has_hop_by_hop && found.keep_alive);
    let text = "HTTP/1.0 404 Not Found\r\n\r\nrest";
    let found = head(text);
    assert_eq!(found.status_span.of(text.as_bytes()), b" 404 Not Found");
    assert_eq!(
        (found.status, found.is_1_1, found.length),
        (404, false, text.len() - 4)
    );
}

#[test]
fn a_prefix_of_an_answer_is_never_refused() {
    for answer in ANSWERS {
        let length = read(answer).unwrap().unwrap().length;
        for end in 0..length {
            assert_eq!(
                read(&answer[..end]),
                Ok(None),
                "{}",
                answer[..end].escape_ascii()
            );
        }
    }
    let endless = [b"HTTP/1.1 200 ".to_vec(), vec![b'a'; MAX_HEAD_BYTES]].concat();
    assert_eq!(read(&endless), Err(Refusal::HeadTooLarge));
    assert_eq!(read(&endless[..MAX_HEAD_BYTES]), Err(Refusal::HeadTooLarge));
    assert_eq!(read(&endless[..MAX_HEAD_BYTES - 1]), Ok(None));
}
