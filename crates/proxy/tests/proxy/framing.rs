//! Bodies of every kind end where they end, on both sides.

mod uploads;

use std::io::{Read, Write};

use crate::support::client::{Client, request};
use crate::support::process::Proxy;
use crate::support::replica::{Exchange, Replica, Then};

/// Answers with the bytes that the target, a number, stands for.
fn answering(answers: &'static [&'static str], then: Then) -> Replica {
    Replica::start(move |exchange| {
        exchange.body();
        let index: usize = exchange.target().trim_start_matches('/').parse().unwrap();
        match answers.get(index) {
            Some(answer) => exchange.send(answer),
            None => return exchange.answer("plain"),
        };
        then
    })
}

#[test]
fn head_has_no_body_whatever_the_answer_announces() {
    let replica = answering(
        &[
            "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nETag: x\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n",
        ],
        Then::Keep,
    );
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    for index in 0..5 {
        client.send(&format!("HEAD /{index} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.answer_to("HEAD").unwrap();
        let wanted = [Some(1234), None, None, Some(9), Some(5)][index];
        assert_eq!(answer.head.length(), wanted, "{index}");
        assert_eq!(client.get("/99").text(), "plain", "{index}");
    }
    assert_eq!((replica.requests(), replica.connections()), (10, 1));
    for index in 0..5 {
        let mut client = Client::connect(endpoint);
        client.send(&format!("HEAD /{index} HTTP/1.0\r\n\r\n"));
        client.answer_to("HEAD").unwrap();
        assert!(client.is_ended(), "{index}");
    }
}

#[test]
fn an_own_answer_to_head_has_no_body_either() {
    let (_proxy, _controller, endpoint) = Proxy::serving(&[]);
    let mut client = Client::connect(endpoint);
    for _ in 0..3 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer_to("HEAD").unwrap().status, 503);
    }
}

#[test]
fn statuses_without_a_body_have_none_and_say_so() {
    let replica = answering(
        &[
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: x\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
        ],
        Then::Keep,
    );
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    for (index, length) in [None, Some(77), None, Some(0)].into_iter().enumerate() {
        let answer = client.get(&format!("/{index}"));
        assert_eq!(answer.head.length(), length, "{index}");
        assert_eq!(answer.head.get("transfer-encoding"), None, "{index}");
        assert_eq!(client.get("/99").text(), "plain", "{index}");
    }
    assert_eq!(replica.connections(), 1);
}

#[test]
fn interim_answers_come_before_the_answer() {
    let replica = answering(
        &[
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
           HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ],
        Then::Keep,
    );
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    for _ in 0..3 {
        client.send("GET /0 HTTP/1.1\r\nHost: a\r\n\r\n");
        let hints = client.head();
        assert_eq!(hints.first_line, "HTTP/1.1 103 Early Hints");
        assert_eq!(
            (hints.get("link"), hints.get("connection")),
            (Some("</a>"), None)
        );
        assert_eq!(client.head().first_line, "HTTP/1.1 102 Processing");
        assert_eq!(client.answer().text(), "ok");
    }
    let mut old = Client::connect(endpoint);
    old.send("GET /0 HTTP/1.0\r\n\r\n");
    assert_eq!(
        old.answer().text(),
        "ok",
        "HTTP/1.0 knows no interim answers"
    );
}

#[test]
fn an_answer_that_ends_with_its_connection_becomes_chunks_or_ends_ours() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    ] {
        let replica = Replica::start(move |exchange| {
            exchange.send(head);
            for _ in 0..20 {
                exchange.send(&"piece".repeat(1000));
            }
            Then::Close
        });
        let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
        let mut client = Client::connect(endpoint);
        for _ in 0..2 {
            let answer = client.get("/");
            assert!(answer.head.is_chunked() && answer.body.complete, "{head}");
            assert_eq!(answer.text(), "piece".repeat(20_000), "{head}");
        }
        let mut old = Client::connect(endpoint);
        old.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = old.answer();
        assert_eq!(answer.head.get("connection"), Some("close"), "{head}");
        assert!(!answer.head.is_chunked() && answer.text() == "piece".repeat(20_000));
    }
}

#[test]
fn trailers_do_not_reach_who_knows_no_chunks() {
    let replica = answering(
        &[
            "HTTP/1.1 200 OK\r\nTrailer: x\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nX: y\r\n\r\n",
        ],
        Then::Keep,
    );
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut old = Client::connect(endpoint);
    old.send("GET /0 HTTP/1.0\r\n\r\n");
    let answer = old.answer();
    assert_eq!(
        (answer.text().as_str(), answer.head.get("trailer")),
        ("ok", None)
    );
    let mut new = Client::connect(endpoint);
    new.send("GET /0 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(new.head().is_chunked());
    let mut rest = [0; 22];
    new.reader.read_exact(&mut rest).unwrap();
    assert_eq!(
        &rest, b"2;a=b\r\nok\r\n0\r\nX: y\r\n\r\n",
        "chunks as they came"
    );
}

#[test]
fn fifty_requests_in_one_write_are_answered_in_order() {
    let replica = Replica::start(|exchange: &mut Exchange| {
        let body = exchange.body();
        let text = format!("{}|{}", exchange.target(), body.bytes.len());
        if exchange.method() == "HEAD" {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n");
            return Then::Keep;
        }
        exchange.answer(&text)
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let text = |index: usize| match index % 4 {
        0 => format!("GET /{index} HTTP/1.1\r\nHost: a\r\n\r\n"),
        1 => format!(
            "POST /{index} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{}",
            index * 100,
            "x".repeat(index * 100)
        ),
        2 => format!("HEAD /{index} HTTP/1.1\r\nHost: a\r\n\r\n"),
        _ => format!(
            "PUT /{index} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ),
    };
    let mut client = Client::connect(endpoint);
    client.send(&(0..50).map(text).collect::<String>());
    for index in 0..50 {
        let (method, length) =
            [("GET", 0), ("POST", index * 100), ("HEAD", 0), ("PUT", 3)][index % 4];
        let answer = client.answer_to(method).unwrap();
        if method != "HEAD" {
            assert_eq!(answer.text(), format!("/{index}|{length}"));
        }
    }
    assert_eq!(replica.requests(), 50);
}

#[test]
fn a_last_request_with_more_behind_it_gets_its_whole_answer() {
    let text = "x".repeat(6_000_000);
    let replica = Replica::start(move |exchange| exchange.answer(&text));
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    // Some clients send an empty line behind a request; closing over it would throw the answer away.
    client.send(&"\r\n".repeat(200_000));
    controller.until_in_flight(1, 1);
    let answer = client.answer();
    assert!(answer.body.complete && answer.body.bytes.len() == 6_000_000);
}

#[test]
fn what_connection_names_is_set_anew() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let extra = "Connection: x-forwarded-for, x-forwarded-proto, x-forwarded-host, x-request-id, host\r\n\
                 X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n\
                 X-Request-Id: mine\r\n";
    assert_eq!(request(endpoint, "GET", "/", extra).text(), "r");
    let head = replica.heads().pop().unwrap();
    assert_eq!(head.all("host"), ["example.org"]);
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-forwarded-host"), ["example.org"]);
    assert_eq!(head.all("x-request-id").len(), 1);
    assert_ne!(head.get("x-request-id"), Some("mine"));
}

#[test]
fn a_download_waits_for_a_slow_reader_and_holds_little_memory() {
    const BYTES: usize = 50_000_000;
    let replica = Replica::start(|exchange| {
        exchange.send(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"
        ));
        let piece = vec![b'x'; 100_000];
        for _ in 0..BYTES / piece.len() {
            if exchange.reader.get_mut().write_all(&piece).is_err() {
                return Then::Close;
            }
        }
        Then::Keep
    });
    let (proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    let before = uploads::resident_bytes(&proxy);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().length(), Some(BYTES));
    let (mut read, mut piece) = (0, vec![0; 1_000_000]);
    while read < BYTES {
        let some = client.reader.read(&mut piece).unwrap();
        assert!(some > 0, "after {read} bytes");
        read += some;
        if read % 7 == 0 {
            std::thread::yield_now();
        }
        assert!(uploads::resident_bytes(&proxy) < before + uploads::ALLOWED_BYTES);
    }
    assert_eq!(read, BYTES);
    drop(client);
}
