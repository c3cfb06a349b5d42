//! `sky api metrics`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;

use crate::fake_server::Sandbox;

/// A proxy that gives `answer` to one who asks, and the first line of what it was asked.
fn with_proxy(sandbox: &Sandbox, answer: &'static str) -> std::thread::JoinHandle<String> {
    let path = sandbox.path().join("home").join("proxy-metrics.sock");
    let listener = UnixListener::bind(path).expect("a socket");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let reader = BufReader::new(stream.try_clone().expect("a copy"));
        let head: Vec<String> = reader
            .lines()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .collect();
        stream.write_all(answer.as_bytes()).expect("an answer");
        head.join("\n")
    })
}

#[test]
fn what_the_proxy_gives_is_printed_as_it_is() {
    let sandbox = Sandbox::new();
    let proxy = with_proxy(
        &sandbox,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n# HELP a b\na{c=\"\u{e9}\"} 1\n",
    );
    let output = sandbox.run(&["api", "metrics"]);
    assert_eq!(proxy.join().expect("a request"), "GET /metrics HTTP/1.0");
    assert_eq!(
        (output.code, output.out.as_str()),
        (0, "# HELP a b\na{c=\"\u{e9}\"} 1\n")
    );
}

#[test]
fn a_proxy_that_is_away_or_on_its_way_out_is_said_to_be() {
    let sandbox = Sandbox::new();
    let output = sandbox.run(&["api", "metrics"]);
    assert_eq!((output.code, output.out.as_str()), (1, ""));
    assert!(output.err.contains("sky api start"), "{}", output.err);
    let proxy = with_proxy(&sandbox, "HTTP/1.1 503 Service Unavailable\r\n\r\nlater\n");
    let output = sandbox.run(&["api", "metrics"]);
    proxy.join().expect("a request");
    assert_eq!((output.code, output.out.as_str()), (1, ""));
    assert!(
        output.err.contains("503 Service Unavailable"),
        "{}",
        output.err
    );
}
