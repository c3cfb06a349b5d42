//! A request through a real endpoint, as metrics and as a line of the log.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use testkit::Installation;

use crate::app::{App, Network};

const DEADLINE: Duration = Duration::from_secs(30);

/// What a command prints, once it contains `text`.
fn until(sky: &Installation, arguments: &[&str], text: &str) -> String {
    let begun = Instant::now();
    loop {
        // Until there is a first line there is no log.
        let output = sky.run(arguments);
        if output.code == 0 && output.out.contains(text) {
            return output.out;
        }
        assert!(begun.elapsed() < DEADLINE, "no {text} in {output:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_request_is_seen_and_its_secrets_are_not() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(1);
    let mut stream = TcpStream::connect(endpoint).expect("a connection");
    stream
        .write_all(
            b"GET /seen?token=s3cret HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cret\r\n\
              Cookie: s3cret\r\nConnection: close\r\n\r\n",
        )
        .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    // The server need not run for it: the proxy answers itself.
    app.sky.ok(&["api", "stop"]);
    let requests =
        "\nskyserve_requests_total{service=\"web\",version=\"1\",replica=\"1\",status_class=\"";
    let page = until(&app.sky, &["api", "metrics"], requests);
    assert!(
        page.contains("\nskyserve_replicas{service=\"web\",version=\"1\"} 1\n"),
        "{page}"
    );
    let logs = ["serve", "logs", "web", "--load-balancer", "--no-follow"];
    let json = until(&app.sky, &logs, "\"path\":\"/seen\"");
    let common = app
        .sky
        .ok(&[&logs[..], &["--format", "common"]].concat())
        .out;
    assert!(common.contains("\"GET /seen HTTP/1.1\" "), "{common}");
    for text in [page, json, common] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    app.sky.ok(&["serve", "down", "web", "-y"]);
}
