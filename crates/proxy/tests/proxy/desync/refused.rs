//! Of more than one meaning, or none.

use super::{Case, SMUGGLED, run};

fn refused(name: &str, status: u16, bytes: &[u8]) -> Case {
    Case {
        name: format!("{name}: {}", bytes.escape_ascii()),
        bytes: bytes.to_vec(),
        requests: Vec::new(),
        statuses: vec![status],
        closed: true,
        may_break: false,
    }
}

/// A request with this header, and a smuggled one behind it.
fn header(status: u16, header: &[u8]) -> Case {
    let before = b"POST / HTTP/1.1\r\nHost: a\r\n";
    let body = format!("\r\n\r\n0\r\n\r\n{SMUGGLED}");
    refused(
        "header",
        status,
        &[before, header, body.as_bytes()].concat(),
    )
}

#[test]
fn two_lengths() {
    run(&[
        header(400, b"Content-Length: 6\r\nTransfer-Encoding: chunked"),
        header(400, b"Transfer-Encoding: chunked\r\nContent-Length: 6"),
        header(400, b"Transfer-Encoding: chunked\r\nContent-Length: 0"),
        header(400, b"Content-Length: 0\r\nContent-Length: 39"),
        header(400, b"Content-Length: 5\r\nContent-Length: 5"),
        header(400, b"Content-Length: 5\r\ncontent-length: 6"),
        header(400, b"Content-Length: 5,5"),
        header(400, b"Content-Length: 5, 6"),
    ]);
}

#[test]
fn lengths_that_are_no_numbers() {
    for_each_header(
        400,
        &[
            b"Content-Length:",
            b"Content-Length: +5",
            b"Content-Length: -5",
            b"Content-Length: 0x5",
            b"Content-Length: 5 5",
            b"Content-Length: 5.",
            b"Content-Length: 18446744073709551616",
            b"Content-Length: \xd9\xa5",
            b"Content-Length : 5",
            b"Content-Length\t: 5",
            b"Content-Length\x00: 5",
            b"Content-Length\xa0: 5",
            b"Content-Length: 5\x00",
            b"Content-Length: \x0b5",
            b" Content-Length: 5",
            b"Content-Length:\r\n 5",
        ],
    );
}

fn for_each_header(status: u16, headers: &[&[u8]]) {
    let cases: Vec<Case> = headers.iter().map(|line| header(status, line)).collect();
    run(&cases);
}

#[test]
fn codings_that_are_not_just_chunked() {
    for_each_header(
        501,
        &[
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: chunkedx",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding: identity, chunked",
            b"Transfer-Encoding: identity",
            b"Transfer-Encoding: chunked;q=1",
            b"Transfer-Encoding: chunked, chunked",
            b"Transfer-Encoding: chunked,",
            b"Transfer-Encoding: \"chunked\"",
            b"Transfer-Encoding:",
            b"Transfer-Encoding: \xa0chunked",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        ],
    );
}

#[test]
fn codings_whose_headers_are_malformed() {
    for_each_header(
        400,
        &[
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding\t: chunked",
            b"Transfer-Encoding\x0b: chunked",
            b"Transfer-Encoding: \x0bchunked",
            b"Transfer-Encoding: chunked\x00",
            b"Transfer-Encoding: \x7fchunked",
            b" Transfer-Encoding: chunked",
            b"Transfer-Encoding:\r\n chunked",
            b"Transfer-Encoding\r\n: chunked",
            b"X: y\rTransfer-Encoding: chunked",
            b"X: y\nTransfer-Encoding: chunked",
            b"X: y\r\n\tTransfer-Encoding: chunked",
            b"Transfer\x00-Encoding: chunked",
            b"Transfer-Encoding chunked",
            b": chunked",
        ],
    );
}

#[test]
fn requests_that_are_malformed() {
    let line = |status: u16, line: &[u8]| {
        let rest = format!("\r\nHost: a\r\n\r\n{SMUGGLED}");
        refused("line", status, &[line, rest.as_bytes()].concat())
    };
    run(&[
        line(400, b"GET  / HTTP/1.1"),
        line(400, b"GET\t/ HTTP/1.1"),
        line(400, b"GET /a b HTTP/1.1"),
        line(400, b"GET / HTTP/1.1 "),
        line(400, b"GET /\r HTTP/1.1"),
        line(400, b"GET /#a HTTP/1.1"),
        line(400, b"GET /\x00 HTTP/1.1"),
        line(400, b"GET a HTTP/1.1"),
        line(400, b"GET * HTTP/1.1"),
        line(400, b"GET http://u@b/ HTTP/1.1"),
        line(400, b"GET a:80 HTTP/1.1"),
        line(400, b"GET /"),
        line(505, b"GET / HTTP/2.0"),
        line(505, b"GET / HTTP/1.2"),
        line(501, b"CONNECT a:80 HTTP/1.1"),
        line(400, b"(GET) / HTTP/1.1"),
        line(400, b"\n GET / HTTP/1.1"),
        refused("LF alone", 400, b"GET / HTTP/1.1\nHost: a\n\n"),
        refused("TLS", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        refused("no host", 400, b"GET / HTTP/1.1\r\n\r\n"),
        refused(
            "two hosts",
            400,
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        ),
        refused(
            "a list of hosts",
            400,
            b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
        ),
        refused("no host", 400, b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
        refused(
            "chunks in HTTP/1.0",
            501,
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        refused(
            "expectation",
            417,
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: x\r\n\r\nx",
        ),
    ]);
}

#[test]
fn chunks_that_are_malformed() {
    let bodies: &[&[u8]] = &[
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"\r\n5\r\nhello\r\n0\r\n\r\n",
        b"g\r\n",
        b";\r\n",
        b"ffffffffffffffff\r\nhello",
        b"10000000000000000\r\nhello",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5;\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5;\x00\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n\r\n0\r\n\r\n",
        b"0\r\n\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        b"0\r\nHost: b\r\n\r\n",
        b"0\r\nX: y\nY: z\r\n\r\n",
        b"0\r\nX: y\r\n z\r\n\r\n",
    ];
    let cases: Vec<Case> = bodies
        .iter()
        .map(|body| {
            let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            let bytes = [&head[..], body, SMUGGLED.as_bytes()].concat();
            Case {
                may_break: true,
                ..refused("chunks", 400, &bytes)
            }
        })
        .collect();
    run(&cases);
}

#[test]
fn requests_that_are_too_large() {
    let long = |text: &str, count: usize| text.repeat(count);
    run(&[
        refused(
            "target",
            414,
            format!("GET /{}", long("a", 33_000)).as_bytes(),
        ),
        refused(
            "fields",
            431,
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", long("X: y\r\n", 200)).as_bytes(),
        ),
        refused("method", 400, long("A", 100).as_bytes()),
    ]);
    let recorder = super::Recorder::start();
    let (_proxy, _controller, endpoint) = super::Proxy::serving(&[recorder.address]);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", long("y", 70_000));
    super::play(
        &refused("head", 431, head.as_bytes()),
        super::Pace::Whole,
        endpoint,
        &recorder,
    );
}
