//! The client against servers that answer well, badly, late or not at all.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use api::client::SOCKET_NAME;
use api::{
    Client, ClientError, CreateKeyRequest, DownRequest, ErrorCode, LogTarget, LogsQuery,
    RollbackRequest,
};

/// A server for one connection: reads one request, then does as it is told.
struct Server {
    folder: tempfile::TempDir,
    thread: Option<JoinHandle<String>>,
}

impl Server {
    fn new(act: impl FnOnce(&mut UnixStream) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join(SOCKET_NAME)).expect("a socket");
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let request = read_request(&mut stream);
            act(&mut stream);
            request
        });
        Self {
            folder,
            thread: Some(thread),
        }
    }

    fn answering(status: &str, body: &str) -> Self {
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Self::new(move |stream| stream.write_all(answer.as_bytes()).expect("an answer"))
    }

    fn client(&self) -> Client {
        Client::new(self.folder.path())
    }

    /// What was asked.
    fn request(mut self) -> String {
        let thread = self.thread.take().expect("asked for once");
        thread.join().expect("the server lives")
    }
}

fn read_request(stream: &mut UnixStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0; 1];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("a request") == 1 {
        request.push(byte[0]);
    }
    let head = String::from_utf8(request).expect("text");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    head + &String::from_utf8(body).expect("text")
}

#[tokio::test]
async fn a_call_is_a_request_and_its_answer() {
    let server = Server::answering("202 Accepted", r#"{"message": "it goes"}"#);
    let request = DownRequest {
        purge: true,
        now: false,
    };
    let accepted = server.client().down("a b", &request).await.expect("done");
    assert_eq!(accepted.message, "it goes");
    let asked = server.request();
    assert!(
        asked.starts_with("POST /v1/services/a%20b/down HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(asked.ends_with(r#"{"purge":true,"now":false}"#), "{asked}");
}

#[tokio::test]
async fn a_long_poll_says_what_it_has_seen() {
    let server = Server::answering("200 OK", "{}");
    let outcome = server
        .client()
        .service_after("web", 7, Duration::from_millis(1500))
        .await;
    assert!(matches!(outcome, Err(ClientError::UnexpectedAnswer { .. })));
    let asked = server.request();
    let line = "GET /v1/services/web?after=7&timeout_seconds=1.500 HTTP/1.1\r\n";
    assert!(asked.starts_with(line), "{asked}");
}

#[tokio::test]
async fn following_events_may_take_longer_than_an_ordinary_call() {
    let (go, wait) = mpsc::channel::<()>();
    let server = Server::new(move |stream| {
        wait.recv().expect("leave to answer");
        let body = r#"{"events": [], "gone": true}"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = stream.write_all((head + body).as_bytes());
    });
    let client = server.client().with_timeout(Duration::from_millis(20));
    let call = tokio::spawn(async move { client.events("a b", 7, true).await });
    // Past the ordinary limit: a call that kept to it would have failed by now.
    tokio::time::sleep(Duration::from_millis(60)).await;
    go.send(()).expect("the server waits");
    let list = call.await.expect("no panic").expect("an answer");
    assert!(list.gone && list.events.is_empty());
    let line = "GET /v1/services/a%20b/events?after=7&follow=true HTTP/1.1\r\n";
    assert!(server.request().starts_with(line));
}

#[tokio::test]
async fn an_answer_to_steering_says_whether_anything_changed() {
    let body = r#"{"name": "web", "changed": false, "message": "so it is", "desired_version": 3}"#;
    let server = Server::answering("200 OK", body);
    let request = RollbackRequest {
        to: Some(3),
        requested_by: Some("ann".to_owned()),
    };
    let answer = server
        .client()
        .rollback("web", &request)
        .await
        .expect("done");
    assert_eq!((answer.changed, answer.desired_version), (false, 3));
    let asked = server.request();
    assert!(
        asked.starts_with("POST /v1/services/web/rollback HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(
        asked.ends_with(r#"{"to":3,"requested_by":"ann"}"#),
        "{asked}"
    );
}

#[tokio::test]
async fn a_key_is_told_and_printed_nowhere_else() {
    let body = r#"{"id": "k-1", "key": "sky-SECRET", "first": true, "in_force": true}"#;
    let server = Server::answering("200 OK", body);
    let name = "ci".to_owned();
    let created = server
        .client()
        .create_key("web", &CreateKeyRequest { name })
        .await
        .expect("a key");
    assert_eq!(created.key.reveal(), "sky-SECRET");
    assert!(!format!("{created:?}").contains("SECRET"));
    let asked = server.request();
    assert!(
        asked.starts_with("POST /v1/services/web/keys HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(asked.ends_with(r#"{"name":"ci"}"#), "{asked}");
}

#[tokio::test]
async fn keys_are_taken_away_one_by_one_or_all_at_once() {
    let body = r#"{"message": "done", "in_force": false}"#;
    let server = Server::answering("200 OK", body);
    let changed = server
        .client()
        .revoke_key("web", "k/1")
        .await
        .expect("done");
    assert_eq!(
        (changed.message.as_str(), changed.in_force),
        ("done", false)
    );
    let asked = server.request();
    let line = "DELETE /v1/services/web/keys/k%2F1 HTTP/1.1\r\n";
    assert!(asked.starts_with(line), "{asked}");
    let server = Server::answering("200 OK", body);
    server.client().disable_keys("web").await.expect("done");
    let asked = server.request();
    let line = "DELETE /v1/services/web/keys HTTP/1.1\r\n";
    assert!(asked.starts_with(line), "{asked}");
}

#[tokio::test]
async fn errors_of_the_server_keep_their_code_and_sentence() {
    let body = r#"{"code": "conflict", "message": "the name is taken"}"#;
    let server = Server::answering("409 Conflict", body);
    let error = server.client().health().await.expect_err("a conflict");
    assert_eq!(error.to_string(), "the name is taken");
    assert!(matches!(error, ClientError::Api(error) if error.code == ErrorCode::Conflict));
}

#[tokio::test]
async fn an_answer_of_another_version_is_called_so() {
    for (status, body) in [("404 Not Found", "no such page"), ("200 OK", "[1, 2]")] {
        let server = Server::answering(status, body);
        let error = server.client().health().await.expect_err("no health");
        assert!(
            matches!(error, ClientError::UnexpectedAnswer { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("sky api stop"), "{error}");
    }
}

#[tokio::test]
async fn no_server_is_not_a_puzzle() {
    let folder = tempfile::tempdir().expect("a folder");
    // Neither a socket that is missing nor one that nobody listens on.
    for left_over in [false, true] {
        if left_over {
            drop(UnixListener::bind(folder.path().join(SOCKET_NAME)).expect("a socket"));
        }
        let error = Client::new(folder.path()).health().await.expect_err("none");
        assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");
        assert!(error.is_server_away());
        assert!(error.to_string().contains("sky api start"), "{error}");
    }
    let long: PathBuf = folder.path().join("x".repeat(120));
    let error = Client::new(long).health().await.expect_err("too long");
    assert!(error.to_string().contains("SKYSERVE_HOME"), "{error}");
}

#[tokio::test]
async fn a_server_that_dies_while_it_answers_is_away() {
    let server = Server::new(|stream| {
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"version\":";
        stream.write_all(half).expect("half an answer");
    });
    let error = server.client().health().await.expect_err("half an answer");
    assert!(matches!(error, ClientError::Disconnected { .. }), "{error}");
    assert!(error.is_server_away());
}

#[tokio::test]
async fn a_server_that_hangs_does_not_hang_the_client() {
    let (release, hold) = mpsc::channel::<()>();
    let server = Server::new(move |_| {
        let _ = hold.recv();
    });
    let client = server.client().with_timeout(Duration::from_millis(50));
    let error = client.health().await.expect_err("no answer");
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    drop(release);
    server.request();
}

#[tokio::test]
async fn a_log_arrives_while_it_is_written() {
    let (release, hold) = mpsc::channel::<()>();
    let server = Server::new(move |stream| {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst\n\r\n";
        stream.write_all(head).expect("a first line");
        hold.recv().expect("the reader has the first line");
        stream
            .write_all(b"7\r\nsecond\n\r\n0\r\n\r\n")
            .expect("the rest");
    });
    let query = LogsQuery {
        target: LogTarget::Replica(2),
        follow: true,
        tail: Some(5),
    };
    let mut log = server.client().logs("web", &query).await.expect("a log");
    let first = log.next_chunk().await.expect("no error").expect("a line");
    assert_eq!(&first[..], b"first\n");
    release.send(()).expect("the server lives");
    let second = log.next_chunk().await.expect("no error").expect("a line");
    assert_eq!(&second[..], b"second\n");
    assert!(log.next_chunk().await.expect("no error").is_none());
    let asked = server.request();
    let path = "GET /v1/services/web/logs?target=replica&replica_id=2&follow=true&tail=5 ";
    assert!(asked.starts_with(path), "{asked}");
}

#[tokio::test]
async fn a_log_that_is_cut_off_is_not_taken_for_its_end() {
    let server = Server::new(|stream| {
        let cut = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n20\r\nhalf";
        stream.write_all(cut).expect("half a chunk");
    });
    let query = LogsQuery {
        target: LogTarget::Controller,
        follow: false,
        tail: None,
    };
    let mut log = server.client().logs("web", &query).await.expect("a log");
    let error = loop {
        match log.next_chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the end was cut off"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ClientError::Disconnected { .. }), "{error}");
}
