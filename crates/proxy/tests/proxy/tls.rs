//! Encrypted endpoints.

use std::fs;
use std::io::{BufRead, Read};
use std::net::SocketAddr;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use hyper_util::rt::{TokioExecutor, TokioIo};
use plan::routing::RoutingTable;
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, ProtocolVersion};

use crate::support::client::{Client, get};
use crate::support::controller::Controller;
use crate::support::message::{Body, Head, read_chunk};
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::settings::{newer, with};
use crate::support::tls::{Certificates, TlsClient, config};
use crate::support::{PATIENCE, eventually, free_address, table};

fn encrypted(replica: &Replica, certificates: &Certificates) -> RoutingTable {
    RoutingTable {
        tls: Some(certificates.files()),
        ..table(free_address(), 1, [replica.address])
    }
}

fn serving(
    replica: &Replica,
    certificates: &Certificates,
) -> (Proxy, Controller, SocketAddr, RoutingTable) {
    let table = encrypted(replica, certificates);
    let (proxy, controller, endpoint) = Proxy::serving_table(table.clone());
    (proxy, controller, endpoint, table)
}

#[test]
fn http_1_1_is_served_over_tls_1_2_and_1_3() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint, _) = serving(&replica, &certificates);
    let trusted = certificates.current();
    for (version, name) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let config = config(&trusted, &[version], &["http/1.1"]);
        let mut client = TlsClient::try_connect(endpoint, config).unwrap();
        assert_eq!(client.version(), name);
        assert_eq!(client.protocol(), Some("http/1.1"));
        for _ in 0..3 {
            assert_eq!(client.get("/").text(), "r");
        }
    }
    // Neither a client without ALPN nor one that would rather have something else is turned away for it.
    assert_eq!(TlsClient::connect(endpoint, &trusted).get("/").text(), "r");
    for head in replica.heads() {
        assert_eq!(head.get("x-forwarded-proto"), Some("https"));
    }
}

#[test]
fn a_client_that_offers_both_gets_http_2() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let replica = Replica::named("over h2");
    let (_proxy, _controller, endpoint, _) = serving(&replica, &certificates);
    let config = config(&certificates.current(), ALL_VERSIONS, &["http/1.1", "h2"]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(endpoint).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let connector = tokio_rustls::TlsConnector::from(config);
        let stream = connector.connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        for _ in 0..3 {
            let request = http::Request::get(format!("https://localhost:{}/", endpoint.port()));
            let request = request.body(String::new()).unwrap();
            let mut response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(body(response.body_mut()).await, b"over h2");
        }
    });
    assert_eq!(replica.heads()[0].get("x-forwarded-proto"), Some("https"));
}

async fn body(mut body: impl hyper::body::Body<Data = hyper::body::Bytes> + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let frame =
            std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context));
        match frame.await {
            Some(Ok(frame)) => bytes.extend(frame.into_data().unwrap_or_default()),
            Some(Err(_)) => panic!("the body broke off"),
            None => return bytes,
        }
    }
}

/// The hello of a client that knows this version (2: TLS 1.1, 3: TLS 1.2) and none later, in one record.
fn hello(minor: u8) -> Vec<u8> {
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    // No session, two cipher suites (one of each version), no compression.
    hello.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x09, 1, 0]);
    // Groups, point formats and signature algorithms: as few as make sense.
    hello.extend([0, 22]);
    hello.extend([0, 10, 0, 4, 0, 2, 0, 23]);
    hello.extend([0, 11, 0, 2, 1, 0]);
    hello.extend([0, 13, 0, 4, 0, 2, 4, 3]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

#[test]
fn older_versions_and_plain_http_are_not_served() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint, _) = serving(&replica, &certificates);
    let sent = |bytes: &[u8]| {
        let mut client = Client::connect(endpoint);
        std::io::Write::write_all(client.reader.get_mut(), bytes).unwrap();
        client.end_sending();
        let mut received = Vec::new();
        let _ = client.reader.read_to_end(&mut received);
        received
    };
    assert_eq!(sent(&hello(3)).first(), Some(&22), "a hello in return");
    let alert = sent(&hello(2));
    // An alert that is fatal and says protocol_version (RFC 8446 section 6).
    assert_eq!(
        (alert.first(), alert.get(5..)),
        (Some(&21), Some(&[2, 70][..])),
        "{alert:?}"
    );
    let plain = sent(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!plain.starts_with(b"HTTP"), "{plain:?}");
    assert_eq!(replica.connections(), 0);
    assert_eq!(
        TlsClient::connect(endpoint, &certificates.current())
            .get("/")
            .text(),
        "r"
    );
}

#[test]
fn a_large_answer_reaches_a_slow_reader_whole() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let large = "0123456789abcdef".repeat(512 * 1024);
    let length = large.len();
    let replica = Replica::start(move |exchange| exchange.answer(&large));
    let (_proxy, _controller, endpoint, _) = serving(&replica, &certificates);
    let mut client = TlsClient::connect(endpoint, &certificates.current());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().length(), Some(length));
    let mut read = 0;
    let mut buffer = vec![0; 256 * 1024];
    while read < length {
        // So slowly that everything between is full.
        if read < length / 2 {
            thread::sleep(Duration::from_millis(1));
        }
        let more = client.reader.read(&mut buffer).unwrap();
        assert!(more > 0, "{read} of {length}");
        for (place, byte) in buffer[..more].iter().enumerate() {
            assert_eq!(*byte, b"0123456789abcdef"[(read + place) % 16]);
        }
        read += more;
    }
    assert!(client.get("/").body.complete, "the connection goes on");
}

#[test]
fn an_upload_arrives_whole_and_each_event_when_it_is_sent() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let (seen, may_go_on) = mpsc::channel();
    let may_go_on = Mutex::new(may_go_on);
    let replica = Replica::start(move |exchange| {
        let body = exchange.body();
        exchange.begin_chunks();
        for number in 0..20 {
            exchange.send_chunk(&format!("{number}: {}", body.bytes.len()));
            // Only when the client has this event is there another.
            may_go_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        exchange.send("0\r\n\r\n");
        Then::Keep
    });
    let (_proxy, _controller, endpoint, _) = serving(&replica, &certificates);
    let mut client = TlsClient::connect(endpoint, &certificates.current());
    let upload = "u".repeat(3_000_000);
    client.send(&format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{upload}",
        upload.len()
    ));
    assert!(client.head().is_chunked());
    for number in 0..20 {
        let mut event = Vec::new();
        read_chunk(&mut client.reader, &mut event).unwrap();
        assert_eq!(event, format!("{number}: 3000000").into_bytes());
        seen.send(()).unwrap();
    }
    assert_eq!(read_chunk(&mut client.reader, &mut Vec::new()).unwrap(), 0);
}

#[test]
fn an_answer_that_ends_with_the_connection_ends_with_a_word() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let replica = Replica::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
        Then::Close
    });
    let (_proxy, _controller, endpoint, _) = serving(&replica, &certificates);
    let trusted = certificates.current();
    let mut client = TlsClient::connect(endpoint, &trusted);
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let answer = client.answer();
    assert!(
        answer.body.complete,
        "not to be taken for one that was cut off"
    );
    assert_eq!(answer.text(), "until the end");
    let mut client = TlsClient::connect(endpoint, &trusted);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().text(), "until the end");
    assert!(client.is_told_of_the_end());
    // What is refused ends the connection as well.
    let mut client = TlsClient::connect(endpoint, &trusted);
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    assert!(client.is_told_of_the_end());
}

#[test]
fn an_answer_that_breaks_off_does_not_look_complete() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let replica = Replica::start(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n");
        Then::Close
    });
    let (_proxy, _controller, endpoint, _) = serving(&replica, &certificates);
    for version in ["1.0", "1.1"] {
        let mut client = TlsClient::connect(endpoint, &certificates.current());
        client.send(&format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
        if let Ok(Some(head)) = Head::read(&mut client.reader) {
            let body = Body::read(&mut client.reader, &head, true);
            assert!(!body.complete, "{version}");
        }
    }
}

#[test]
fn renewed_files_serve_the_next_connection_while_an_open_stream_goes_on() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let replica = Replica::start(|exchange| {
        if exchange.target() == "/" {
            return exchange.answer("r");
        }
        exchange.begin_chunks();
        while exchange.send_chunk("x") {
            thread::sleep(Duration::from_millis(20));
        }
        Then::Close
    });
    let (proxy, mut controller, endpoint, first) = serving(&replica, &certificates);
    let old = certificates.current();
    let mut stream = TlsClient::connect(endpoint, &old);
    stream.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(stream.head().is_chunked());

    let new = certificates.renew().unwrap();
    let second = newer(&first, |_| {});
    controller.acknowledged(second.clone());
    assert_eq!(TlsClient::connect(endpoint, &new).get("/").text(), "r");
    let knows_old = config(&old, ALL_VERSIONS, &[]);
    assert!(TlsClient::try_connect(endpoint, knows_old).is_err());
    let mut chunk = [0; 6 * 20];
    stream.reader.read_exact(&mut chunk).unwrap();

    // Files that are broken change nothing, and whoever looks is told.
    fs::write(certificates.chain(), "no certificate").unwrap();
    let third = newer(&second, |_| {});
    controller.acknowledged(third);
    assert_eq!(TlsClient::connect(endpoint, &new).get("/").text(), "r");
    eventually("the event", || proxy.has_event("certificate_not_renewed"));

    // Without a new table as well, a little later.
    let newest = certificates.renew().unwrap();
    eventually("the new certificate", || {
        let config = config(&newest, ALL_VERSIONS, &[]);
        TlsClient::try_connect(endpoint, config).is_ok()
    });
    stream.reader.read_exact(&mut chunk).unwrap();
}

#[test]
fn encryption_is_switched_on_and_off_by_tables() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let replica = Replica::named("r");
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let plain = table(endpoint, 1, [replica.address]);
    let mut open = Client::connect(endpoint);
    assert_eq!(open.get("/").text(), "r");
    let on = newer(&plain, |table| table.tls = Some(certificates.files()));
    controller.acknowledged(on.clone());
    assert_eq!(
        TlsClient::connect(endpoint, &certificates.current())
            .get("/")
            .text(),
        "r"
    );
    assert_eq!(open.get("/").text(), "r", "what is open goes on as it is");
    let unreadable = newer(&on, |table| {
        let tls = table.tls.as_mut().unwrap();
        tls.certfile.push_str(".missing");
    });
    let reason = controller.refused(unreadable.clone());
    assert!(reason.contains("service.tls.certfile"), "{reason}");
    let off = newer(&unreadable, |table| table.tls = None);
    controller.acknowledged(off);
    assert_eq!(get(endpoint).text(), "r");
}

#[test]
fn a_handshake_that_never_ends_is_cut_off() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let replica = Replica::named("r");
    let table = with(encrypted(&replica, &certificates), |settings| {
        settings.head_timeout_seconds = 0.4;
    });
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    let begun = Instant::now();
    let mut silent = Client::connect(endpoint);
    let mut slow = Client::connect(endpoint);
    let hello = hello(3);
    for byte in &hello[..hello.len() - 1] {
        if slow.hears_within(Duration::from_millis(20)) {
            break;
        }
        let _ = std::io::Write::write_all(slow.reader.get_mut(), &[*byte]);
    }
    for client in [&mut silent, &mut slow] {
        let _ = client.reader.read_to_end(&mut Vec::new());
    }
    assert!(begun.elapsed() >= Duration::from_millis(300));
    // It is the handshake alone that is so hurried.
    let mut client = TlsClient::connect(endpoint, &certificates.current());
    thread::sleep(Duration::from_millis(600));
    assert_eq!(client.get("/").text(), "r");
}

#[test]
fn a_connection_that_was_idle_for_too_long_ends_with_a_word() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let replica = Replica::named("r");
    let table = with(encrypted(&replica, &certificates), |settings| {
        settings.idle_timeout_seconds = 0.3;
    });
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    let mut client = TlsClient::connect(endpoint, &certificates.current());
    assert_eq!(client.get("/").text(), "r");
    assert!(client.is_told_of_the_end());
}

#[test]
fn a_switch_of_protocols_passes_bytes_both_ways_until_both_have_ended() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let replica = Replica::start(|exchange| {
        exchange.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello\n",
        );
        let mut line = String::new();
        while exchange.reader.read_line(&mut line).unwrap_or(0) > 0 {
            exchange.send(&std::mem::take(&mut line));
        }
        exchange.send("bye\n");
        Then::Close
    });
    let (_proxy, mut controller, endpoint, _) = serving(&replica, &certificates);
    let mut client = TlsClient::connect(endpoint, &certificates.current());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert!(client.head().first_line.contains(" 101 "));
    let mut line = String::new();
    client.reader.read_line(&mut line).unwrap();
    assert_eq!(line, "hello\n");
    for length in [1, 1_000, 100_000] {
        let sent = "e".repeat(length) + "\n";
        client.send(&sent);
        line.clear();
        client.reader.read_line(&mut line).unwrap();
        assert_eq!(line.len(), sent.len());
    }
    client.end_sending();
    let mut rest = String::new();
    client.reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "bye\n", "and the end is told");
    drop(client);
    controller.until_in_flight(1, 0);
}

#[test]
fn a_certificate_that_ends_soon_is_told_of_once() {
    let Some(certificates) = Certificates::make() else {
        return;
    };
    let replica = Replica::named("r");
    let (proxy, mut controller, _, first) = serving(&replica, &certificates);
    // Those of the tests are good for two days.
    let events = || {
        let is_it = |event: &serde_json::Value| event["event"] == "certificate_expires";
        proxy.events().into_iter().filter(is_it).collect::<Vec<_>>()
    };
    eventually("the event", || !events().is_empty());
    let detail = events()[0]["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("chain.pem' expires in 1 days, at "),
        "{detail}"
    );
    assert_eq!(events()[0]["service"], "svc");
    let mut page = String::new();
    let mut stream =
        std::os::unix::net::UnixStream::connect(proxy.paths().metrics_socket()).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    stream.read_to_string(&mut page).unwrap();
    let name = "skyserve_certificate_expiry_seconds{service=\"svc\"} ";
    let seconds = page.lines().find_map(|line| line.strip_prefix(name));
    let seconds: i64 = seconds.unwrap().parse().unwrap();
    let day = 24 * 3600;
    assert!((day..=2 * day).contains(&seconds), "{seconds}");
    // Neither a new table nor the time says it again; a new certificate does.
    controller.acknowledged(newer(&first, |_| {}));
    certificates.renew().unwrap();
    eventually("the second event", || events().len() == 2);
    let names = proxy.events();
    let renewed = names
        .iter()
        .position(|event| event["event"] == "certificate_renewed");
    let last = names
        .iter()
        .rposition(|event| event["event"] == "certificate_expires");
    assert!(renewed.unwrap() < last.unwrap());
}
