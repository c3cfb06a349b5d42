//! Odd, but of one meaning only.

use super::{Case, SMUGGLED, run};

fn case(name: &str, text: String, requests: &[(&str, &str)]) -> Case {
    Case {
        name: name.to_owned(),
        bytes: text.into_bytes(),
        requests: requests
            .iter()
            .map(|(line, body)| (format!("{line} HTTP/1.1"), (*body).to_owned()))
            .collect(),
        statuses: vec![200; requests.len()],
        closed: false,
        may_break: false,
    }
}

/// A request with these headers and this body.
fn post(name: &str, headers: &str, body: &str, data: &str) -> Case {
    let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n{body}");
    case(name, text, &[("POST /", data)])
}

#[test]
fn a_request_in_a_body_stays_in_the_body() {
    let length = SMUGGLED.len();
    let chunk = format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
    let chunked = "Transfer-Encoding: chunked";
    run(&[
        post(
            "length",
            &format!("Content-Length: {length}"),
            SMUGGLED,
            SMUGGLED,
        ),
        post(
            "leading zeros",
            &format!("Content-Length: 000{length}"),
            SMUGGLED,
            SMUGGLED,
        ),
        post("chunk", chunked, &chunk, SMUGGLED),
        post("upper case", "TRANSFER-ENCODING:CHUNKED", &chunk, SMUGGLED),
        post(
            "spaces around",
            "Transfer-Encoding: \t chunked \t",
            &chunk,
            SMUGGLED,
        ),
        post(
            "extension",
            chunked,
            &chunk.replacen("\r\n", ";a=\"b\"\r\n", 1),
            SMUGGLED,
        ),
        post(
            "leading zeros of a chunk",
            chunked,
            &format!("000{chunk}"),
            SMUGGLED,
        ),
        post(
            "last chunk in the data",
            chunked,
            "5\r\n0\r\n\r\n\r\n0\r\n\r\n",
            "0\r\n\r\n",
        ),
        post(
            "trailers",
            chunked,
            &chunk.replace("0\r\n\r\n", "0\r\nX: y\r\n\r\n"),
            SMUGGLED,
        ),
        post(
            "expectation",
            &format!("Expect: 100-continue\r\nContent-Length: {length}"),
            SMUGGLED,
            SMUGGLED,
        ),
        case(
            "GET with a body",
            format!("GET /g HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"),
            &[("GET /g", SMUGGLED)],
        ),
    ]);
}

#[test]
fn headers_that_look_like_framing_are_not() {
    let length = SMUGGLED.len();
    let given = format!("Content-Length: {length}");
    run(&[
        post(
            "underscore",
            &format!("Content_Length: 5\r\nTransfer_Encoding: chunked\r\n{given}"),
            SMUGGLED,
            SMUGGLED,
        ),
        post(
            "in a value",
            &format!("X: Transfer-Encoding: chunked\r\n{given}"),
            SMUGGLED,
            SMUGGLED,
        ),
        post(
            "above 127",
            &format!("X: \u{e9}\r\n{given}"),
            SMUGGLED,
            SMUGGLED,
        ),
        post(
            "named by Connection",
            &format!("Connection: content-length\r\n{given}"),
            SMUGGLED,
            SMUGGLED,
        ),
        post(
            "all named by Connection",
            &format!("Connection: host, content-length, x\r\nX: y\r\n{given}"),
            SMUGGLED,
            SMUGGLED,
        ),
        post(
            "coding named by Connection",
            "Connection: transfer-encoding\r\nTransfer-Encoding: chunked",
            "2\r\nhi\r\n0\r\n\r\n",
            "hi",
        ),
        post(
            "not in one name",
            &format!("Transfer: x\r\nEncoding: chunked\r\n{given}"),
            SMUGGLED,
            SMUGGLED,
        ),
        post(
            "TE",
            &format!("TE: chunked, trailers\r\n{given}"),
            SMUGGLED,
            SMUGGLED,
        ),
        post(
            "Trailer",
            &format!("Trailer: Content-Length\r\n{given}"),
            SMUGGLED,
            SMUGGLED,
        ),
    ]);
}

#[test]
fn requests_in_a_row_are_as_many_at_the_replica() {
    let next = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let post = "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    let none = "POST /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let chunks =
        "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let upgrade = "GET /u HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let many: String = (0..5).map(|_| format!("{post}{chunks}{none}")).collect();
    let in_order = [("POST /p", "hi"), ("POST /c", "hi"), ("POST /0", "")].repeat(5);
    run(&[
        case(
            "two",
            next("/1") + &next("/2"),
            &[("GET /1", ""), ("GET /2", "")],
        ),
        case("fifteen", many, &in_order),
        case(
            "an empty line between",
            format!("{post}\r\n{}", next("/n")),
            &[("POST /p", "hi"), ("GET /n", "")],
        ),
        case(
            "a refused upgrade",
            upgrade.to_owned() + &next("/n"),
            &[("GET /u", ""), ("GET /n", "")],
        ),
        case(
            "no body where none is announced",
            post.replace("hi", "").replace(": 2", ": 0") + &next("/n"),
            &[("POST /p", ""), ("GET /n", "")],
        ),
    ]);
}

#[test]
fn nothing_follows_the_last_request() {
    let closed = |name: &str, text: &str, line: &str| Case {
        closed: true,
        ..case(name, format!("{text}{SMUGGLED}"), &[(line, "")])
    };
    let mut cases = vec![
        closed(
            "Connection: close",
            "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET /1",
        ),
        closed(
            "among others",
            "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x, CLOSE\r\n\r\n",
            "GET /1",
        ),
        closed("HTTP/1.0", "GET /1 HTTP/1.0\r\n\r\n", "GET /1"),
    ];
    cases.push(case(
        "HTTP/1.0 that keeps its connection",
        format!("GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{SMUGGLED}"),
        &[("GET /1", ""), ("GET /smuggled", "")],
    ));
    run(&cases);
}

#[test]
fn targets_reach_the_replica_in_one_form() {
    run(&[
        case(
            "absolute",
            "GET http://b/p?q HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            &[("GET /p?q", "")],
        ),
        case(
            "absolute without a path",
            "GET http://b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            &[("GET /", "")],
        ),
        case(
            "absolute without a path, of OPTIONS",
            "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            &[("OPTIONS *", "")],
        ),
        case(
            "asterisk",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            &[("OPTIONS *", "")],
        ),
        case(
            "as it is",
            "GET //a/../%2e/;x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            &[("GET //a/../%2e/;x", "")],
        ),
    ]);
}
