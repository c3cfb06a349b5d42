//! A request reaches a replica, and its answer the client, as both sent them.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use crate::support::PATIENCE;
use crate::support::client::{Client, get, request};
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};

/// Answers with the request line, the body's length and the body.
fn mirror() -> Replica {
    Replica::start(|exchange| {
        let body = exchange.body();
        let text = String::from_utf8(body.bytes).unwrap();
        let line = exchange.head.first_line.clone();
        if exchange.method() == "HEAD" {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n");
            return Then::Keep;
        }
        exchange.answer(&format!("{line}|{}|{text}", text.len()))
    })
}

#[test]
fn every_method_is_passed_on() {
    let replica = mirror();
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    for method in ["GET", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "X-OWN"] {
        let answer = request(endpoint, method, "/m", "");
        assert_eq!(
            (answer.status, answer.text()),
            (200, format!("{method} /m HTTP/1.1|0|"))
        );
    }
    for method in ["POST", "PUT", "PATCH", "GET"] {
        let answer = request(endpoint, method, "/m", "Content-Length: 3\r\n\r\nabc");
        assert_eq!(answer.text(), format!("{method} /m HTTP/1.1|3|abc"));
    }
    let answer = request(endpoint, "HEAD", "/m", "");
    assert_eq!(answer.head.get("content-length"), Some("1234"));
    assert_eq!(answer.head.get("etag"), Some("\"x\""));
    assert_eq!(
        request(endpoint, "OPTIONS", "*", "").text(),
        "OPTIONS * HTTP/1.1|0|"
    );
    let connect = request(endpoint, "CONNECT", "example.org:443", "");
    assert_eq!(connect.status, 501);
}

#[test]
fn paths_and_queries_are_passed_byte_for_byte() {
    let replica = mirror();
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    for target in [
        "/a%2Fb",
        "/?",
        "/a?b=%20+&&c",
        "//a//../b/.",
        "/docs",
        "/é{}|",
        "/a;x=1?y=/?z",
    ] {
        assert_eq!(
            client.get(target).text(),
            format!("GET {target} HTTP/1.1|0|")
        );
    }
    let absolute = client.get("http://other.example/p?q");
    assert_eq!(absolute.text(), "GET /p?q HTTP/1.1|0|");
    assert_eq!(
        replica.heads().last().unwrap().get("host"),
        Some("other.example")
    );
}

#[test]
fn headers_arrive_rewritten_as_a_proxy_must() {
    let replica = Replica::start(|exchange| {
        exchange.send(
            "HTTP/1.1 201 Made Up\r\nServer: replica\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
             Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
             Keep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n",
        );
        Then::Keep
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let extra = "Connection: x-own\r\nX-Own: 1\r\nX-Forwarded-For: 10.0.0.1\r\nCookie: c\r\n\
                 Authorization: Bearer t\r\n";
    let answer = request(endpoint, "GET", "/", extra);
    assert_eq!(answer.head.first_line, "HTTP/1.1 201 Made Up");
    assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.head.all("server"), ["replica"]);
    assert_eq!(answer.head.all("date"), ["Thu, 01 Jan 1970 00:00:00 GMT"]);
    for gone in ["x-hop", "connection", "keep-alive"] {
        assert_eq!(answer.head.get(gone), None, "{gone}");
    }
    let head = replica.heads().pop().unwrap();
    assert_eq!(head.get("host"), Some("example.org"));
    assert_eq!(head.get("x-forwarded-for"), Some("10.0.0.1, 127.0.0.1"));
    assert_eq!(head.get("x-forwarded-proto"), Some("http"));
    assert_eq!(head.get("x-forwarded-host"), Some("example.org"));
    assert_eq!(head.get("authorization"), Some("Bearer t"));
    assert_eq!((head.get("x-own"), head.get("connection")), (None, None));
}

#[test]
fn answers_without_a_body_leave_the_connection_in_use() {
    let replica = Replica::start(|exchange| {
        let status = exchange.target().trim_start_matches('/').to_owned();
        exchange.send(&format!(
            "HTTP/1.1 {status} X\r\nX-Status: {status}\r\n\r\n"
        ));
        Then::Keep
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    for status in ["204", "304", "204"] {
        let answer = client.get(&format!("/{status}"));
        assert_eq!(answer.head.get("x-status"), Some(status));
    }
}

#[test]
fn an_answer_is_passed_on_piece_by_piece() {
    let (next, pieces) = mpsc::channel::<&str>();
    let pieces = Mutex::new(pieces);
    let replica = Replica::start(move |exchange| {
        exchange.begin_chunks();
        while let Ok(piece) = pieces.lock().unwrap().recv_timeout(PATIENCE) {
            exchange.send_chunk(piece);
        }
        exchange.send("0\r\n\r\n");
        Then::Keep
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    for piece in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        next.send(piece).unwrap();
        assert_eq!(
            client.chunk().unwrap(),
            piece,
            "before the next piece exists"
        );
    }
    drop(next);
    assert_eq!(client.chunk().unwrap(), "");
}

#[test]
fn a_body_is_passed_on_piece_by_piece_and_the_answer_may_begin_before_its_end() {
    let replica = Replica::start(|exchange| {
        exchange.begin_chunks();
        let mut piece = Vec::new();
        while crate::support::message::read_chunk(&mut exchange.reader, &mut piece).unwrap() > 0 {
            exchange.send_chunk(&format!("got {}", String::from_utf8_lossy(&piece)));
            piece.clear();
        }
        exchange.send("0\r\n\r\n");
        Then::Close
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.head();
    for piece in ["one", "two", "three"] {
        client.send(&format!("{:x}\r\n{piece}\r\n", piece.len()));
        assert_eq!(client.chunk().unwrap(), format!("got {piece}"));
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.chunk().unwrap(), "");
}

#[test]
fn a_get_with_a_chunked_body_keeps_it() {
    let replica = mirror();
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let body = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n";
    assert_eq!(
        request(endpoint, "GET", "/", body).text(),
        "GET / HTTP/1.1|3|abc"
    );
}

#[test]
fn large_bodies_pass_whole_in_both_directions() {
    let replica = Replica::start(|exchange| {
        let body = exchange.body();
        let text = String::from_utf8(body.bytes).unwrap();
        exchange.answer(&text)
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let sent: String = (0..1_000_000)
        .map(|n: u32| char::from(b'a' + (n % 26) as u8))
        .collect();
    let answer = request(
        endpoint,
        "POST",
        "/",
        &format!("Content-Length: {}\r\n\r\n{sent}", sent.len()),
    );
    assert!(answer.body.complete && answer.text() == sent);
}

#[test]
fn trailers_are_passed_both_ways() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let replica = {
        let seen = Arc::clone(&seen);
        Replica::start(move |exchange| {
            *seen.lock().unwrap() = exchange.body().trailers;
            exchange.send(
                "HTTP/1.1 200 OK\r\nTrailer: x-end\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nok\r\n0\r\nX-End: 7\r\n\r\n",
            );
            Then::Keep
        })
    };
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let extra = "TE: trailers\r\nConnection: te\r\nTrailer: x-sum\r\n\
                 Transfer-Encoding: chunked\r\n\r\n\
                 2\r\nhi\r\n0\r\nX-Sum: 9\r\n";
    let answer = request(endpoint, "POST", "/", extra);
    assert_eq!(answer.body.trailers, [("x-end".to_owned(), "7".to_owned())]);
    assert_eq!(
        *seen.lock().unwrap(),
        [("x-sum".to_owned(), "9".to_owned())]
    );
    assert_eq!(replica.heads()[0].get("te"), Some("trailers"));
}

#[test]
fn a_client_that_waits_for_100_continue_gets_the_replicas() {
    let replica = Replica::start(|exchange| {
        exchange.send("HTTP/1.1 100 Continue\r\n\r\n");
        let body = exchange.body();
        exchange.answer(&String::from_utf8(body.bytes).unwrap())
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().first_line, "HTTP/1.1 100 Continue");
    client.send("ok");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let replica = Replica::start(|exchange| {
        exchange.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
        exchange.body();
        Then::Close
    });
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
    drop(client);
    controller.until_in_flight(1, 0);
}

#[test]
fn nonsense_is_refused_and_harms_nobody() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    for (status, nonsense) in [
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, "GET noslash HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n"),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        ),
        (
            501,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        ),
    ] {
        let mut client = Client::connect(endpoint);
        client.send(nonsense);
        assert_eq!(client.answer().status, status, "{nonsense}");
    }
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(300_000)
    );
    let mut client = Client::connect(endpoint);
    let _ = client.try_send(&long);
    assert!(client.try_answer().is_ok_and(|answer| answer.status == 431) || client.is_ended());
    assert_eq!(replica.requests(), 0);
    assert_eq!(get(endpoint).text(), "r");
}
