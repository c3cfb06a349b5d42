//! A replica that answers wrongly harms the request that it answers, and no other: no client ever gets a byte of what was
//! not its answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use crate::support::client::{Answer, Client};
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::{PATIENCE, eventually};

const STRAY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nSTRAY";

/// Answers `/evil` with these bytes, and all else with its target.
fn replica(evil: String, then: Then) -> Replica {
    Replica::start(move |exchange| {
        exchange.body();
        let target = exchange.target().to_owned();
        if target != "/evil" {
            return exchange.answer(&target);
        }
        exchange.send(&evil);
        then
    })
}

/// Whether a client that asks for something gets just that, on a connection of its own.
fn others_are_served(endpoint: SocketAddr, context: &str) {
    for turn in 0..4 {
        let target = format!("/good/{turn}");
        let answer = Client::connect(endpoint).get(&target);
        assert_eq!((answer.status, answer.text()), (200, target), "{context}");
    }
}

/// Sends a request for `/evil`, and one right behind it whose answer must be its own if there is one.
fn ask(endpoint: SocketAddr, method: &str, context: &str) -> Option<Answer> {
    let mut client = Client::connect(endpoint);
    client.send(&format!(
        "{method} /evil HTTP/1.1\r\nHost: a\r\n\r\nGET /behind HTTP/1.1\r\nHost: a\r\n\r\n"
    ));
    let answer = client.answer_to(method).ok();
    if answer.as_ref().is_some_and(|answer| answer.body.complete)
        && let Ok(behind) = client.try_answer()
        && behind.body.complete
    {
        assert_eq!(
            (behind.status, behind.text().as_str()),
            (200, "/behind"),
            "{context}"
        );
    }
    answer
}

#[test]
fn what_is_no_answer_is_a_502() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    for evil in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nSTRAY",
        "HTTP/1.1 099 X\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "STRAY",
        &long,
    ] {
        let context = evil.get(..90).unwrap_or(evil);
        let replica = replica(evil.to_owned() + STRAY, Then::Keep);
        let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
        let answer = ask(endpoint, "POST", context).unwrap();
        assert_eq!(answer.status, 502, "{context}");
        assert!(!answer.text().contains("STRAY"), "{context}");
        others_are_served(endpoint, context);
    }
}

#[test]
fn what_comes_behind_an_answer_reaches_nobody() {
    for (method, evil, status) in [
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            200,
        ),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
            200,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
            200,
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nContent-Length: 49\r\n\r\n",
            204,
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            204,
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 49\r\n\r\n",
            304,
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 49\r\n\r\n", 200),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            200,
        ),
    ] {
        for stray in [STRAY, &STRAY.repeat(3000)] {
            let context = format!("{method} {evil}");
            let replica = replica(format!("{evil}{stray}"), Then::Keep);
            let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
            let answer = ask(endpoint, method, &context).unwrap();
            assert_eq!(answer.status, status, "{context}");
            assert!(
                answer.body.complete && !answer.text().contains("STRAY"),
                "{context}"
            );
            others_are_served(endpoint, &context);
        }
    }
}

#[test]
fn what_comes_late_behind_an_answer_reaches_nobody() {
    for then in [Then::Keep, Then::Close] {
        let (go, wait) = mpsc::channel::<()>();
        let (sent, late) = mpsc::channel::<()>();
        let (wait, sent) = (Mutex::new(wait), Mutex::new(sent));
        let replica = Replica::start(move |exchange| {
            let target = exchange.target().to_owned();
            exchange.answer(&target);
            if target != "/evil" {
                return Then::Keep;
            }
            let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
            exchange.send(STRAY);
            let _ = sent.lock().unwrap().send(());
            then
        });
        let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
        let mut client = Client::connect(endpoint);
        assert_eq!(client.get("/evil").text(), "/evil");
        go.send(()).unwrap();
        late.recv_timeout(PATIENCE).unwrap();
        assert_eq!(client.get("/mine").text(), "/mine");
        others_are_served(endpoint, "late");
        assert!(replica.connections() > 1, "the connection was used again");
    }
}

#[test]
fn a_body_that_breaks_its_framing_is_cut() {
    for evil in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevilX\r\nSTRAY",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0x5\r\nSTRAY",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\n5\r\nSTRAY",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\nContent-Length: 5\r\n\r\nSTRAY",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\nSTRAY",
    ] {
        let replica = replica(evil.to_owned(), Then::Keep);
        let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
        // Whether the head is passed on before the rest is found wrong depends on how the bytes come.
        if let Some(answer) = ask(endpoint, "POST", evil) {
            assert!(!answer.body.complete || answer.status == 502, "{evil}");
            assert!(!answer.text().contains("STRAY"), "{evil}");
        }
        others_are_served(endpoint, evil);
    }
}

#[test]
fn an_answer_that_is_shorter_than_announced_is_cut() {
    for evil in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nevil",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n",
    ] {
        let replica = replica(evil.to_owned(), Then::Close);
        let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
        let answer = ask(endpoint, "GET", evil).unwrap();
        assert_eq!(
            (answer.text().as_str(), answer.body.complete),
            ("evil", false),
            "{evil}"
        );
        others_are_served(endpoint, evil);
    }
}

#[test]
fn a_flood_of_interim_answers_ends_with_the_answer() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n";
    let evil = format!(
        "{}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        hint.repeat(2000)
    );
    let replica = replica(evil, Then::Keep);
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    client.send("GET /evil HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..2000 {
        let head = client.head();
        assert_eq!(
            (head.first_line.as_str(), head.length()),
            ("HTTP/1.1 103 Early Hints", None)
        );
    }
    assert_eq!(client.answer().text(), "evil");
    assert_eq!(client.get("/next").text(), "/next");
    // HTTP/1.0 knows none of them.
    client = Client::connect(endpoint);
    client.send("GET /evil HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().text(), "evil");
    others_are_served(endpoint, "flood");
}

#[test]
fn interim_answers_without_an_answer_are_a_502() {
    let replica = replica("HTTP/1.1 103 Early Hints\r\n\r\n".to_owned(), Then::Close);
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    client.send("POST /evil HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.head().first_line, "HTTP/1.1 103 Early Hints");
    assert_eq!(client.answer().status, 502);
    assert_eq!(client.get("/next").text(), "/next");
}

/// A replica that answers each connection before it is asked anything, and then once more.
#[test]
fn an_answer_before_the_request_reaches_at_most_whoever_is_first() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (done, ended) = mpsc::channel::<()>();
    let replica = std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            if ended.try_recv().is_ok() {
                return;
            }
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nEARLY");
            // The request, and an answer to it that nobody waits for any more.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(STRAY.as_bytes());
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[address]);
    for _ in 0..20 {
        let answer = Client::connect(endpoint).get("/");
        assert!(!answer.text().contains("STRAY"), "{}", answer.text());
        // Lets the second answer arrive; nothing tells when it has.
        std::thread::sleep(Duration::from_millis(25));
    }
    done.send(()).unwrap();
    drop(std::net::TcpStream::connect(address));
    eventually("the replica to end", || replica.is_finished());
}

/// Answers as soon as the first byte of a request has come, and reads no further. Small segments make the proxy's socket
/// take a request only in part, as one on a real network would.
const HASTY: &str = "
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
listener.bind(('127.0.0.1', 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
kept = []
while True:
    connection, _ = listener.accept()
    kept.append(connection)
    connection.recv(1)
    connection.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhasty')
";

#[test]
fn a_connection_that_holds_half_a_request_is_not_used_for_another() {
    let python = Command::new("python3")
        .args(["-c", HASTY])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut python) = python else {
        eprintln!("skipped: no python3");
        return;
    };
    let mut port = String::new();
    let mut output = BufReader::new(python.stdout.take().unwrap());
    let read = output.read_line(&mut port);
    let outcome = read.map(|_| {
        std::panic::catch_unwind(|| {
            let address = SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap()));
            let (_proxy, _controller, endpoint) = Proxy::serving(&[address]);
            let mut client = Client::connect(endpoint);
            client.send(&format!(
                "PUT / HTTP/1.1\r\nHost: a\r\nX: {}\r\nContent-Length: 16000\r\n\r\n{}",
                "x".repeat(40_000),
                "y".repeat(16_000)
            ));
            assert_eq!(client.answer().text(), "hasty");
            // On the same connection this would become the rest of the body.
            assert_eq!(client.get("/secret").text(), "hasty");
        })
    });
    let _ = python.kill();
    let _ = python.wait();
    outcome.unwrap().unwrap();
}
