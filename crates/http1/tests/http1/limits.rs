//! How much a head may have.

use http1::{
    Fields, MAX_FIELDS, MAX_HEAD_BYTES, MAX_METHOD_BYTES, MAX_TARGET_BYTES, Refusal, read_request,
};

use crate::requests::read;

fn with_fields(count: usize) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(count - 1)
    )
}

fn of_length(length: usize) -> String {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n";
    head.replace("X: ", &format!("X: {}", "y".repeat(length - head.len())))
}

#[test]
fn limits_are_the_same_however_the_bytes_come() {
    let target = |length: usize| {
        format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "t".repeat(length - 1)
        )
    };
    let method = |length: usize| format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(length));
    for (largest, larger, refusal, status) in [
        (
            with_fields(MAX_FIELDS),
            with_fields(MAX_FIELDS + 1),
            Refusal::TooManyFields,
            431,
        ),
        (
            of_length(MAX_HEAD_BYTES),
            of_length(MAX_HEAD_BYTES + 1),
            Refusal::HeadTooLarge,
            431,
        ),
        (
            target(MAX_TARGET_BYTES),
            target(MAX_TARGET_BYTES + 1),
            Refusal::TargetTooLong,
            414,
        ),
        (
            method(MAX_METHOD_BYTES),
            method(MAX_METHOD_BYTES + 1),
            Refusal::Method,
            400,
        ),
    ] {
        assert!(read(largest.as_bytes()).unwrap().is_some(), "{refusal:?}");
        assert_eq!(read(larger.as_bytes()), Err(refusal));
        assert_eq!(refusal.status(), status);
        let mut fields = Fields::new();
        // Every length would take long: the last bytes and a few between.
        let ends = (0..largest.len())
            .filter(|end| end % 997 == 0 || largest.len() - end < 64 || *end < 200);
        for end in ends.chain([MAX_TARGET_BYTES, MAX_TARGET_BYTES + 4, MAX_TARGET_BYTES + 5]) {
            let Some(prefix) = largest.as_bytes().get(..end) else {
                continue;
            };
            if end < largest.len() {
                assert_eq!(
                    read_request(prefix, &mut fields),
                    Ok(None),
                    "{refusal:?} at {end}"
                );
            }
        }
        let early = (0..larger.len()).find_map(|end| {
            (end % 997 == 0)
                .then(|| read(&larger.as_bytes()[..end]).err())
                .flatten()
        });
        assert!(early.is_none_or(|early| early == refusal), "{early:?}");
    }
    let endless = vec![b'a'; MAX_HEAD_BYTES];
    assert_eq!(read(&endless), Err(Refusal::Method));
    let endless = [b"GET /".to_vec(), vec![b'a'; MAX_HEAD_BYTES]].concat();
    assert_eq!(read(&endless), Err(Refusal::TargetTooLong));
    let endless = [
        b"GET / HTTP/1.1\r\nX: ".to_vec(),
        vec![b'a'; MAX_HEAD_BYTES],
    ]
    .concat();
    assert_eq!(read(&endless), Err(Refusal::HeadTooLarge));
    assert_eq!(
        read(b"\x16\x03\x01"),
        Err(Refusal::Method),
        "TLS is refused at its first byte"
    );
    // A reader's buffer may have just this length, and then has no place for more.
    let full = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(MAX_HEAD_BYTES - 19));
    assert_eq!(read(full.as_bytes()), Err(Refusal::HeadTooLarge));
    assert_eq!(read(&full.as_bytes()[1..]), Ok(None));
}
