//! Clients that speak HTTP/2 without TLS (RFC 9113 section 3.3), in front of replicas that speak HTTP/1.1.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use http::Request;
use plan::routing::ProxyCommand;
use rustix::process::Signal;

use crate::support::http2::{
    Http2Client, Sent, data, next_text, read, runtime, soon, trailers, was_left_in_peace,
};
use crate::support::process::{Proxy, is_alive, signal};
use crate::support::replica::{Replica, Then};
use crate::support::{eventually, free_address, table};

#[test]
fn a_request_and_its_answer_pass_with_their_bodies() {
    let replica = Replica::start(|exchange| {
        let body = exchange.body();
        let text = String::from_utf8(body.bytes).unwrap();
        exchange.answer(&format!("got {text}"))
    });
    let (proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    runtime().block_on(async {
        let client = Http2Client::connect(endpoint).await;
        let request = client.request("POST", "/a%20b?c").body(Sent::text("hello"));
        let answer = client.send(request.unwrap()).await.unwrap();
        assert_eq!(
            (answer.status(), answer.version()),
            (http::StatusCode::OK, http::Version::HTTP_2)
        );
        assert_eq!(answer.headers()["content-length"], "9");
        assert_eq!(read(answer.into_body()).await.unwrap().text, "got hello");
    });
    let head = replica.heads().pop().unwrap();
    assert_eq!(head.first_line, "POST /a%20b?c HTTP/1.1");
    assert_eq!(head.get("host"), Some(endpoint.to_string().as_str()));
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.get("x-forwarded-proto"), Some("http"));
    controller.until_arrived(1);
    let line = proxy.accesses(1).pop().unwrap();
    for (key, value) in [
        ("method", "POST".into()),
        ("path", "/a%20b".into()),
        ("status", 200.into()),
        ("bytes_in", 5.into()),
        ("bytes_out", serde_json::Value::from(9)),
        ("outcome", "completed".into()),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
}

#[test]
fn many_streams_of_one_connection_are_served_at_once() {
    const STREAMS: usize = 40;
    let together = Arc::new(Barrier::new(STREAMS));
    let replica = Replica::start(move |exchange| {
        together.wait();
        let target = exchange.target().to_owned();
        exchange.answer(&target)
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    runtime().block_on(async {
        let client = Http2Client::connect(endpoint).await;
        let mut answers = tokio::task::JoinSet::new();
        for number in 0..STREAMS {
            let target = format!("/{number}");
            let request = client.request("GET", &target).body(Sent::empty()).unwrap();
            let answer = client.send(request);
            answers.spawn(async move {
                let text = read(answer.await.unwrap().into_body()).await.unwrap().text;
                assert_eq!(text, target);
            });
        }
        while let Some(answered) = answers.join_next().await {
            answered.unwrap();
        }
    });
}

#[test]
fn answers_without_a_body_have_none() {
    let replica = Replica::start(|exchange| {
        let head = match exchange.target() {
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
        };
        exchange.send(head);
        Then::Keep
    });
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    runtime().block_on(async {
        let client = Http2Client::connect(endpoint).await;
        for (method, target, status) in [
            ("GET", "/204", 204),
            ("GET", "/304", 304),
            ("HEAD", "/", 200),
        ] {
            let answer = client.ask(method, target).await;
            assert_eq!(answer.status(), status, "{target}");
            let length = answer.headers().get("content-length").cloned();
            assert_eq!(
                length.is_some_and(|length| length == "1234"),
                method == "HEAD"
            );
            assert_eq!(read(answer.into_body()).await.unwrap().text, "");
        }
        controller.acknowledged(table(endpoint, 2, []));
        let refused = client.ask("HEAD", "/").await;
        assert_eq!(refused.status(), 503);
        assert_eq!(read(refused.into_body()).await.unwrap().text, "");
    });
    assert_eq!(replica.connections(), 1);
}

#[test]
fn an_answer_comes_piece_by_piece_and_so_does_a_request() {
    let replica = Replica::start(|exchange| {
        exchange.begin_chunks();
        let mut piece = Vec::new();
        while crate::support::message::read_chunk(&mut exchange.reader, &mut piece).unwrap() > 0 {
            let text = String::from_utf8(std::mem::take(&mut piece)).unwrap();
            exchange.send_chunk(&format!("<{text}>"));
        }
        exchange.send("0\r\n\r\n");
        Then::Close
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    runtime().block_on(async {
        let client = Http2Client::connect(endpoint).await;
        let (sink, body) = Sent::channel();
        let answer = client.send(client.request("POST", "/").body(body).unwrap());
        let mut body = answer.await.unwrap().into_body();
        for piece in ["one", "two", "three"] {
            sink.send(Ok(data(piece))).await.unwrap();
            assert_eq!(next_text(&mut body).await, Some(format!("<{piece}>")));
        }
        drop(sink);
        assert_eq!(next_text(&mut body).await, None);
    });
}

#[test]
fn trailers_pass_both_ways() {
    let replica = Replica::start(|exchange| {
        let body = exchange.body();
        let checksum = body.trailers.iter().find(|(name, _)| name == "x-checksum");
        let value = checksum.map_or("none", |(_, value)| value).to_owned();
        exchange.begin_chunks();
        exchange.send_chunk("body");
        exchange.send(&format!("0\r\nX-Got: {value}\r\n\r\n"));
        Then::Keep
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    runtime().block_on(async {
        let client = Http2Client::connect(endpoint).await;
        for announced in [true, false] {
            let mut request = client.request("PUT", "/").header("te", "trailers");
            if announced {
                request = request.header("trailer", "x-checksum");
            }
            let body = Sent::of([data("abc"), trailers("x-checksum", "7")]);
            let answer = client.send(request.body(body).unwrap()).await.unwrap();
            let whole = read(answer.into_body()).await.unwrap();
            assert_eq!(whole.text, "body");
            assert_eq!(whole.trailers["x-got"], "7", "announced: {announced}");
        }
    });
}

#[test]
fn a_stream_that_the_client_resets_frees_its_replica_and_harms_no_other() {
    let replica = Replica::start(|exchange| {
        exchange.begin_chunks();
        exchange.send_chunk("begun");
        if exchange.target() == "/left" {
            exchange.wait_for_end();
            return Then::Close;
        }
        crate::support::message::read_chunk(&mut exchange.reader, &mut Vec::new()).unwrap();
        exchange.send_chunk("ended");
        exchange.send("0\r\n\r\n");
        Then::Close
    });
    let (proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    runtime().block_on(async {
        let client = Http2Client::connect(endpoint).await;
        let (sink, body) = Sent::channel();
        let kept = client.send(client.request("POST", "/kept").body(body).unwrap());
        let mut kept = kept.await.unwrap().into_body();
        assert_eq!(next_text(&mut kept).await.as_deref(), Some("begun"));
        let mut left = client.ask("GET", "/left").await.into_body();
        assert_eq!(next_text(&mut left).await.as_deref(), Some("begun"));
        controller.until_in_flight(1, 2);
        drop(left);
        controller.until_in_flight(1, 1);
        sink.send(Ok(data("go on"))).await.unwrap();
        assert_eq!(next_text(&mut kept).await.as_deref(), Some("ended"));
        drop(sink);
        assert_eq!(next_text(&mut kept).await, None);
    });
    let mut outcomes: Vec<_> = proxy.accesses(2);
    outcomes.sort_by_key(|line| line["path"].to_string());
    assert_eq!(outcomes[0]["outcome"], "completed");
    assert_eq!(outcomes[1]["outcome"], "client_gone");
}

#[test]
fn an_endpoint_that_closes_lets_streams_finish() {
    let go_on = Arc::new(AtomicBool::new(false));
    let replica = {
        let go_on = Arc::clone(&go_on);
        Replica::start(move |exchange| {
            exchange.begin_chunks();
            exchange.send_chunk("begun");
            while !go_on.load(Ordering::SeqCst) {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            exchange.send_chunk("ended");
            exchange.send("0\r\n\r\n");
            Then::Keep
        })
    };
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    runtime().block_on(async {
        let client = Http2Client::connect(endpoint).await;
        let mut body = client.ask("GET", "/").await.into_body();
        assert_eq!(next_text(&mut body).await.as_deref(), Some("begun"));
        controller.send(&ProxyCommand::Withdraw {
            service: "svc".to_owned(),
        });
        // Until the GOAWAY of the proxy has come, new streams are served: at last by the news that there is no replica.
        let refused = soon("the end of new streams", async {
            loop {
                let request = client.request("GET", "/").body(Sent::empty()).unwrap();
                match client.send(request).await {
                    Ok(answer) => assert!(matches!(answer.status().as_u16(), 200 | 503)),
                    Err(error) => break error,
                }
            }
        });
        let refused = refused.await;
        assert!(was_left_in_peace(&refused), "{refused:?}");
        go_on.store(true, Ordering::SeqCst);
        assert_eq!(next_text(&mut body).await.as_deref(), Some("ended"));
        assert_eq!(next_text(&mut body).await, None);
        soon("the end of the connection", client.connection)
            .await
            .unwrap()
            .unwrap();
    });
}

/// Asks without a pause until told to stop; a connection that ends in peace is replaced.
async fn load(endpoint: std::net::SocketAddr, stop: Arc<AtomicBool>, answers: Arc<AtomicUsize>) {
    let mut client = Http2Client::connect(endpoint).await;
    while !stop.load(Ordering::SeqCst) {
        let request = client.request("POST", "/").body(Sent::text("x")).unwrap();
        match client.send(request).await {
            Ok(answer) => {
                let text = read(answer.into_body()).await.unwrap().text;
                assert_eq!(text, "served");
                answers.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => {
                assert!(was_left_in_peace(&error), "{error:?}");
                client = Http2Client::connect(endpoint).await;
            }
        }
    }
}

#[test]
fn a_worker_that_hands_over_loses_no_stream() {
    let stop = Arc::new(AtomicBool::new(false));
    let replica = {
        let stop = Arc::clone(&stop);
        Replica::start(move |exchange| {
            exchange.body();
            if exchange.target() != "/stream" {
                return exchange.answer("served");
            }
            exchange.begin_chunks();
            while !stop.load(Ordering::SeqCst) {
                exchange.send_chunk("tick");
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            exchange.send_chunk("end");
            exchange.send("0\r\n\r\n");
            Then::Close
        })
    };
    let (proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    runtime().block_on(async {
        let client = Http2Client::connect(endpoint).await;
        let mut stream = client.ask("GET", "/stream").await.into_body();
        let answers = Arc::new(AtomicUsize::new(0));
        let loads: Vec<_> = (0..4)
            .map(|_| tokio::spawn(load(endpoint, Arc::clone(&stop), Arc::clone(&answers))))
            .collect();
        let more = || {
            let before = answers.load(Ordering::SeqCst);
            eventually("answers", || answers.load(Ordering::SeqCst) > before + 50);
        };
        more();
        let (_, worker) = proxy.processes();
        signal(worker, Signal::TERM);
        eventually("another worker", || proxy.processes().1 != worker);
        more();
        assert!(is_alive(worker), "it still has a stream");
        stop.store(true, Ordering::SeqCst);
        for load in loads {
            load.await.unwrap();
        }
        let mut last = String::new();
        while let Some(text) = next_text(&mut stream).await {
            last = text;
        }
        assert_eq!(last, "end");
        eventually("the old worker to end", || !is_alive(worker));
    });
}

#[test]
fn headers_of_a_connection_are_refused_and_cookies_are_joined() {
    let replica = Replica::named("fine");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[free_address(), replica.address]);
    runtime().block_on(async {
        let client = Http2Client::connect(endpoint).await;
        let request = client
            .request("GET", "/")
            .header("cookie", "a=1")
            .header("cookie", "b=2");
        let answer = client.send(request.body(Sent::empty()).unwrap()).await;
        assert_eq!(
            read(answer.unwrap().into_body()).await.unwrap().text,
            "fine"
        );
        let other_host: Request<Sent> = client
            .request("GET", "/")
            .header("host", "other.example")
            .body(Sent::empty())
            .unwrap();
        assert_eq!(client.send(other_host).await.unwrap().status(), 400);
    });
    let heads = replica.heads();
    assert_eq!(heads.len(), 1);
    let cookies: Vec<_> = heads[0]
        .headers
        .iter()
        .filter(|(name, _)| name == "cookie")
        .collect();
    assert_eq!(cookies.len(), 1, "RFC 9113 section 8.2.3");
    assert_eq!(cookies[0].1, "a=1; b=2");
}
