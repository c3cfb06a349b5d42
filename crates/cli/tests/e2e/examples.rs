//! The examples are accepted, and those that can run here do.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::Installation;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// Every `task.yaml` below `folder`.
fn tasks(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tasks(&path));
        } else if path.file_name().is_some_and(|name| name == "task.yaml") {
            found.push(path);
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

/// An installation whose work folder is a project with the examples in it, and the tasks as a user would name them.
fn project() -> (Installation, Vec<String>) {
    let sky = Installation::new(env!("CARGO_BIN_EXE_sky"), &[]);
    copy(&examples(), &sky.work().join("examples"));
    let names = tasks(&sky.work().join("examples"));
    let relative = |path: &PathBuf| {
        path.strip_prefix(sky.work())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let mut names: Vec<String> = names.iter().map(relative).collect();
    names.sort();
    (sky, names)
}

#[test]
fn every_example_is_accepted() {
    let (sky, names) = project();
    assert!(names.len() >= 4, "{names:?}");
    let mut arguments = vec!["serve", "validate"];
    arguments.extend(names.iter().map(String::as_str));
    let told = sky.ok(&arguments);
    for name in &names {
        assert!(
            told.out.contains(&format!("{name}: accepted\n")),
            "{}",
            told.out
        );
    }
    assert_eq!(told.err, "", "a finding in an example");
}

/// One request on a connection of its own; the whole answer as text.
fn request(endpoint: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(endpoint).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let length = body.len();
    write!(
        stream,
        "{head} HTTP/1.1\r\nhost: example\r\nconnection: close\r\ncontent-length: {length}\r\n\
         authorization: Bearer change-me\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn up(sky: &Installation, example: &str) -> String {
    let yaml = format!("examples/serve/{example}/task.yaml");
    sky.ok(&["serve", "up", &yaml, "-n", "example", "-y", "--wait=60"]);
    let endpoint = sky.ok(&["serve", "status", "example", "--endpoint"]).out;
    endpoint.trim().to_owned()
}

#[test]
fn the_streaming_example_streams() {
    let (sky, _) = project();
    let endpoint = up(&sky, "sse_server");
    let mut stream = TcpStream::connect(&endpoint).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
        .write_all(b"GET /stream HTTP/1.1\r\nhost: example\r\n\r\n")
        .unwrap();
    let mut seen = String::new();
    while !seen.contains("data: token 3\n") {
        let mut buffer = [0; 512];
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "cut after {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(seen.contains("text/event-stream"), "{seen}");
}

/// Ready means that the POST of the probe, with its header, was answered with 200.
#[test]
fn the_post_probe_example_becomes_ready() {
    let (sky, _) = project();
    let endpoint = up(&sky, "fastapi_probe");
    let body = r#"{"prompt": "olleh", "max_tokens": 5}"#;
    let answer = request(&endpoint, "POST /v1/completions", body);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("hello"), "{answer}");
    let log = fs::read_to_string(sky.home().join("logs/server.log")).unwrap();
    assert!(
        !log.contains("change-me"),
        "the probe's secret is in the log"
    );
}
