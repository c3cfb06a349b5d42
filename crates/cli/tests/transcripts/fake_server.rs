//! A home with a server in it that answers by a script and remembers what it was asked.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

/// A task that is accepted; it needs no files.
pub(crate) const TASK: &str = "\
service:
  readiness_probe: /health
  replicas: 2
resources:
  ports: 8081
  cpus: 2+
run: python3 server.py
";

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `POST /v1/services`, with the query.
    pub(crate) line: String,
    pub(crate) body: Value,
}

/// What a command printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Answers for one method and path; the last one is given again and again.
struct Route {
    line: &'static str,
    answers: VecDeque<(u16, String)>,
}

/// The home, its server, and a folder to stand in.
pub(crate) struct Sandbox {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
    routes: Arc<Mutex<Vec<Route>>>,
}

impl Sandbox {
    /// A server that knows its health only.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().join("home");
        fs::create_dir(&home).expect("a home");
        fs::write(home.join("state.db"), "").expect("a sign of use");
        fs::write(folder.path().join("task.yaml"), TASK).expect("a task");
        let listener = UnixListener::bind(home.join("api.sock")).expect("a socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let routes = Arc::new(Mutex::new(Vec::new()));
        let (log, script) = (Arc::clone(&asked), Arc::clone(&routes));
        // Ends with the test's process: nothing else would wake it.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(stream, &log, &script);
            }
        });
        let sandbox = Self {
            folder,
            asked,
            routes,
        };
        sandbox.health(env!("CARGO_PKG_VERSION"));
        sandbox
    }

    /// The health of a server of this version.
    pub(crate) fn health(&self, version: &str) {
        let health = json!({
            "version": version, "pid": 4711, "started_at": 0.0, "home": "/home", "proxy_pid": 4712,
            "services": 1,
        });
        self.on("GET /v1/health", &[(200, health)]);
    }

    /// Answers to a method and path (a query is not part of it), in turn.
    pub(crate) fn on(&self, line: &'static str, answers: &[(u16, Value)]) {
        let answers = answers
            .iter()
            .map(|(status, body)| match body {
                Value::String(text) => (*status, text.clone()),
                json => (*status, json.to_string()),
            })
            .collect();
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|route| route.line != line);
        routes.push(Route { line, answers });
    }

    /// What was asked, but for health.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = asked.iter().filter(|one| !one.line.contains("/v1/health"));
        wanted.cloned().collect()
    }

    /// Where commands run.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// `sky` with these arguments, not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sky"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("SKYSERVE_HOME", self.folder.path().join("home"))
            .env("HOME", self.folder.path())
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `sky` with nothing on standard input.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, "")
    }

    /// Runs `sky` with `input` on standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.command(arguments).spawn().expect("sky runs");
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input may be gone already.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().expect("sky ends");
        Output {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// An error as the server answers it.
pub(crate) fn api_error(code: &str, message: &str) -> Value {
    json!({"code": code, "message": message})
}

/// A READY service with two replicas, changed by `changes`.
pub(crate) fn service(changes: &Value) -> Value {
    let mut record = json!({
        "name": "web", "revision": 5, "version": 1, "desired_version": 1, "active_versions": [1],
        "status": "READY", "message": null, "uptime_since": null, "created_at": 0.0,
        "endpoint": "127.0.0.1:30001", "endpoint_ready": true, "target_replicas": 2,
        "ready_replicas": 2, "total_replicas": 2, "policy": "Fixed 2 replicas",
        "load_balancing_policy": "least_load", "requested_resources": "1x[CPU:2+]",
        "tls_encrypted": false, "rollout": null, "replicas": [replica(1), replica(2)],
    });
    let fields = record.as_object_mut().expect("an object");
    fields.extend(changes.as_object().expect("an object").clone());
    record
}

/// A READY replica.
pub(crate) fn replica(id: u32) -> Value {
    json!({
        "replica_id": id, "version": 1, "status": "READY",
        "endpoint": format!("http://10.0.0.{id}:8081"),
        "launched_at": null, "infra": "Local", "resources": "1x(cpus=2, ...)", "is_spot": false,
    })
}

fn answer(stream: UnixStream, asked: &Mutex<Vec<Asked>>, routes: &Mutex<Vec<Route>>) {
    let Some(request) = read_request(&stream) else {
        return;
    };
    let path = request
        .line
        .split('?')
        .next()
        .unwrap_or_default()
        .to_owned();
    asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(request);
    let mut routes = routes.lock().unwrap_or_else(PoisonError::into_inner);
    let found = routes.iter_mut().find(|route| route.line == path);
    let (status, body) = match found {
        Some(route) if route.answers.len() > 1 => route.answers.pop_front().unwrap_or_default(),
        Some(route) => route.answers.front().cloned().unwrap_or_default(),
        None => (
            404,
            api_error("not_found", &format!("no answer to {path}")).to_string(),
        ),
    };
    drop(routes);
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    // The client may have gone.
    let _ = write!(&stream, "{head}connection: close\r\n\r\n{body}");
}

fn read_request(stream: &UnixStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let line = first.strip_suffix(" HTTP/1.1\r\n")?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some(Asked { line, body })
}
