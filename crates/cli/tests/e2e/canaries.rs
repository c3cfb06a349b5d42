//! Canaries: a share of the users tries the new version; what is good takes over, what is bad is undone by what the proxy
//! sees of it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use testkit::Load;

use crate::app::{App, Network};

/// The server of the example, but three in ten requests fail, probes excepted.
const FAILING: &str = "
import random, server
class Handler(server.Handler):
    def do_GET(self):
        if self.path == '/health' or random.random() >= 0.3:
            super().do_GET()
        else:
            self.answer(b'out of order', status=500)
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        if random.random() >= 0.3:
            self.answer(body)
        else:
            self.answer(b'out of order', status=500)
server.Handler = Handler
server.main()
";

/// What reaches the new version always.
const WISH: &str = "X-Canary: please\r\n";

/// A YAML of version 2 with the settings of a canary.
fn canary(app: &App, run: &str, steps: &str) -> String {
    let yaml = app.yaml_with("2", 2, run, "");
    let path = app.sky.work().join(&yaml);
    let text = fs::read_to_string(&path).unwrap();
    let update = format!(
        "service:\n  update:\n    mode: canary\n    min_healthy_seconds: 1\n    canary:\n      steps: {steps}\n      \
         header: {{name: x-canary, value: please}}\n      analysis: {{min_requests: 50}}\n"
    );
    fs::write(path, text.replacen("service:\n", &update, 1)).unwrap();
    yaml
}

/// Status and version of the answer to a request on a connection of its own.
fn ask(endpoint: &str, header: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(endpoint).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let version = answer
        .lines()
        .find_map(|line| line.strip_prefix("X-Version: "));
    (status, version.unwrap_or("none").to_owned())
}

/// How many of `count` requests version 2 answers.
fn answered_by_new(endpoint: &str, count: usize, header: &str) -> usize {
    let answers = (0..count).map(|_| ask(endpoint, header));
    answers.filter(|(_, version)| version == "2").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_canary_takes_over_step_by_step() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, 3);
    let steps = "[{weight: 20, pause_seconds: 12}, {weight: 50, pause_seconds: 3}]";
    let yaml = canary(&app, "python3 app.py", steps);
    app.sky.ok(&["serve", "update", "web", &yaml, "-y"]);
    app.sky
        .until("web", "a share for version 2", |web| {
            web.active_versions.contains(&2)
        })
        .await;
    // The service knows of it before the proxy does.
    let deadline = Instant::now() + Duration::from_secs(5);
    while answered_by_new(&endpoint, 1, WISH) == 0 {
        assert!(Instant::now() < deadline, "in vain");
    }
    let wished = answered_by_new(&endpoint, 40, WISH);
    let drawn = answered_by_new(&endpoint, 400, "");
    println!("e2e canary: {drawn} of 400 at 20 %, {wished} of 40 that asked for it");
    assert_eq!(wished, 40);
    // Others draw in between, so it is exact for all of them together only.
    assert!((40..=125).contains(&drawn), "{drawn}");
    app.sky
        .until("web", "only new replicas", |web| {
            web.active_versions == [2] && web.ready_replicas == 2 && web.replicas.len() == 2
        })
        .await;
    let report = load.stop().await;
    println!("e2e canary: {report}");
    report.assert_clean();
    assert!(report.saw("1") && report.saw("2"), "{report}");
    app.assert_no_post_twice();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_fails_its_users_is_undone() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    fs::write(app.sky.work().join("app/failing.py"), FAILING).unwrap();
    let load = Load::start(&endpoint, 3);
    let yaml = canary(
        &app,
        "python3 failing.py",
        "[{weight: 10, until: promoted}]",
    );
    let told = app
        .sky
        .run(&["serve", "update", "web", &yaml, "-y", "--wait=100"]);
    let undone = Instant::now();
    assert_eq!(told.code, 1, "{}\n{}", told.out, told.err);
    let words = [
        "the new version fails",
        "in the same time",
        "1.0 % more is allowed",
    ];
    for word in words {
        assert!(told.err.contains(word), "{}", told.err);
    }
    println!("e2e canary: {}", told.err.trim());
    let web = app
        .sky
        .until("web", "version 1 alone", |web| {
            web.active_versions == [1] && web.ready_replicas == 2
        })
        .await;
    assert_eq!(web.desired_version, 1);
    let after = (0..200).map(|_| ask(&endpoint, ""));
    assert!(
        after
            .into_iter()
            .all(|answer| answer == (200, "1".to_owned()))
    );
    let report = load.stop().await;
    println!("e2e canary that fails: {report}");
    assert!(report.saw("2"), "{report}");
    let failed = report.failed();
    assert!(
        failed > 2 && failed < 120,
        "{failed} of its own errors: {report}"
    );
    // What it had in flight may still fail; nothing new may.
    let late = report.failed_after(undone + Duration::from_secs(2));
    assert_eq!(late, 0, "{report}");
}
