//! Continuous mixed load on an endpoint: short requests, 64 KiB answers, POST bodies, and event streams. Every answer
//! is counted and checked.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// No answer may take longer than this, streams apart.
const PATIENCE: Duration = Duration::from_secs(20);
const BIG_BYTES: usize = 65_536;
/// Between two requests of one client: the machine is small.
const PAUSE: Duration = Duration::from_millis(12);

/// Ids of POSTs are never used twice within a test process.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Load that runs until it is stopped.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    endpoint: SocketAddr,
    stream_seconds: u32,
    stop: AtomicBool,
    answers: Mutex<Vec<Answer>>,
}

/// One request and what came of it.
#[derive(Clone, Debug)]
struct Answer {
    kind: &'static str,
    sent: Instant,
    done: Instant,
    /// The version that answered, or what went wrong.
    outcome: Result<String, String>,
    truncated: bool,
}

/// What became of all requests.
pub struct Report {
    begun: Instant,
    answers: Vec<Answer>,
}

impl Load {
    /// Starts: four clients of short requests (two with a new connection each), two of 64 KiB, two that POST, and three
    /// of streams that last `stream_seconds`.
    #[must_use]
    pub fn start(endpoint: &str, stream_seconds: u32) -> Self {
        let shared = Arc::new(Shared {
            endpoint: endpoint.parse().expect("an endpoint is an address"),
            stream_seconds,
            stop: AtomicBool::new(false),
            answers: Mutex::default(),
        });
        let kinds = [
            "short", "short", "fresh", "fresh", "big", "big", "post", "post",
        ];
        let streams = if stream_seconds > 0 { 3 } else { 0 };
        let kinds = kinds
            .into_iter()
            .chain(std::iter::repeat_n("stream", streams));
        let clients = kinds
            .map(|kind| tokio::spawn(client(Arc::clone(&shared), kind)))
            .collect();
        Self { shared, clients }
    }

    /// Requests answered so far.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.shared
            .answers
            .lock()
            .expect("no panic while counting")
            .len()
    }

    /// Sends no more, waits for what is in flight, streams included, and reports.
    pub async fn stop(self) -> Report {
        self.shared.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.expect("a client does not panic");
        }
        let mut answers = self
            .shared
            .answers
            .lock()
            .expect("no panic while counting")
            .clone();
        answers.sort_by_key(|answer| answer.sent);
        let begun = answers
            .first()
            .map_or_else(Instant::now, |first| first.sent);
        Report { begun, answers }
    }
}

async fn client(shared: Arc<Shared>, kind: &'static str) {
    let mut connection: Option<SendRequest<Full<Bytes>>> = None;
    while !shared.stop.load(Ordering::SeqCst) {
        let sent = Instant::now();
        let limit = PATIENCE + Duration::from_secs(u64::from(shared.stream_seconds));
        let exchange =
            tokio::time::timeout(limit, exchange(&shared, kind, connection.take())).await;
        let (outcome, truncated) = match exchange {
            Ok(Ok((version, kept))) => {
                connection = kept.filter(|_| kind != "fresh");
                (Ok(version), false)
            }
            Ok(Err(Broken { what, truncated })) => (Err(what), truncated),
            Err(_) => (Err("no answer in time".to_owned()), false),
        };
        let failed = outcome.is_err();
        let answer = Answer {
            kind,
            sent,
            done: Instant::now(),
            outcome,
            truncated,
        };
        shared
            .answers
            .lock()
            .expect("no panic while counting")
            .push(answer);
        tokio::time::sleep(if failed { PAUSE * 5 } else { PAUSE }).await;
    }
}

struct Broken {
    what: String,
    truncated: bool,
}

fn broken(what: impl fmt::Display) -> Broken {
    Broken {
        what: what.to_string(),
        truncated: false,
    }
}

/// A connection that can be used again.
type Kept = Option<SendRequest<Full<Bytes>>>;

async fn exchange(
    shared: &Shared,
    kind: &'static str,
    kept: Option<SendRequest<Full<Bytes>>>,
) -> Result<(String, Kept), Broken> {
    let mut sender = match kept.filter(|sender| !sender.is_closed()) {
        Some(sender) => sender,
        None => connect(shared.endpoint).await?,
    };
    sender
        .ready()
        .await
        .map_err(|error| broken(format!("connection: {error:?}")))?;
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let (method, path, body) = match kind {
        "big" => (Method::GET, format!("/bytes?n={BIG_BYTES}"), String::new()),
        "post" => (
            Method::POST,
            "/echo".to_owned(),
            format!("id={id};{}", "y".repeat(2000)),
        ),
        "stream" => {
            let seconds = shared.stream_seconds;
            (
                Method::GET,
                format!("/stream?seconds={seconds}&interval_ms=200"),
                String::new(),
            )
        }
        _ => (Method::GET, "/".to_owned(), String::new()),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", shared.endpoint.to_string())
        .body(Full::new(Bytes::from(body.clone())))
        .map_err(broken)?;
    if kind == "fresh" {
        request
            .headers_mut()
            .insert("connection", http::HeaderValue::from_static("close"));
    }
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| broken(format!("no answer: {error:?}")))?;
    let (head, rest) = answer.into_parts();
    if head.status != 200 {
        let text = rest
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        return Err(broken(format!("status {}: {text}", head.status.as_u16())));
    }
    let got = rest.collect().await.map_err(|error| Broken {
        what: format!("truncated: {error:?}"),
        truncated: true,
    })?;
    check(shared, kind, &body, &got.to_bytes())?;
    let version = head
        .headers
        .get("x-version")
        .and_then(|v| v.to_str().ok())
        .unwrap_or("?");
    Ok((version.to_owned(), Some(sender)))
}

async fn connect(endpoint: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Broken> {
    let stream = TcpStream::connect(endpoint).await;
    let stream = stream.map_err(|error| broken(format!("connect: {error}")))?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    Ok(sender)
}

fn check(shared: &Shared, kind: &str, sent: &str, got: &[u8]) -> Result<(), Broken> {
    let wrong = |what: String| {
        Err(Broken {
            what,
            truncated: true,
        })
    };
    match kind {
        "big" if got.len() != BIG_BYTES => wrong(format!("{} bytes of {BIG_BYTES}", got.len())),
        "post" if got != sent.as_bytes() => wrong("not what was sent".to_owned()),
        "stream" => {
            let text = String::from_utf8_lossy(got);
            let numbers = text.lines().filter_map(|line| line.strip_prefix("data: "));
            let events = u64::from(shared.stream_seconds) * 5;
            let expected = (0..events)
                .map(|n| n.to_string())
                .chain(["[DONE]".to_owned()]);
            if numbers.eq(expected) {
                Ok(())
            } else {
                wrong("events are missing".to_owned())
            }
        }
        _ => Ok(()),
    }
}

impl Report {
    /// Requests sent.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.answers.len()
    }

    /// Requests that were not answered rightly.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.answers
            .iter()
            .filter(|answer| answer.outcome.is_err())
            .count()
    }

    /// Failed requests of a kind: `short`, `fresh`, `big`, `post` or `stream`.
    #[must_use]
    pub fn failed_of(&self, kind: &str) -> usize {
        self.answers
            .iter()
            .filter(|answer| answer.kind == kind && answer.outcome.is_err())
            .count()
    }

    /// Answers whose body was cut or wrong.
    #[must_use]
    pub fn truncated(&self) -> usize {
        self.answers
            .iter()
            .filter(|answer| answer.truncated)
            .count()
    }

    /// Whether some answer came from this version.
    #[must_use]
    pub fn saw(&self, version: &str) -> bool {
        self.answers
            .iter()
            .any(|answer| answer.outcome.as_deref() == Ok(version))
    }

    /// When the last request was sent that this version answered.
    #[must_use]
    pub fn last_sent_to(&self, version: &str) -> Option<Instant> {
        self.answers
            .iter()
            .filter(|answer| answer.outcome.as_deref() == Ok(version))
            .map(|answer| answer.sent)
            .max()
    }

    /// When the first good answer was there.
    #[must_use]
    pub fn first_answer(&self) -> Option<Instant> {
        self.answers
            .iter()
            .filter(|answer| answer.outcome.is_ok())
            .map(|answer| answer.done)
            .min()
    }

    /// Requests that could not even connect.
    #[must_use]
    pub fn refused(&self) -> usize {
        let errors = self
            .answers
            .iter()
            .filter_map(|answer| answer.outcome.as_ref().err());
        errors.filter(|error| error.starts_with("connect")).count()
    }

    /// Failed requests that were sent after `instant`.
    #[must_use]
    pub fn failed_after(&self, instant: Instant) -> usize {
        let late = self.answers.iter().filter(|answer| answer.sent > instant);
        late.filter(|answer| answer.outcome.is_err()).count()
    }

    /// Everything was answered, wholly and rightly.
    ///
    /// # Panics
    /// When it was not.
    pub fn assert_clean(&self) {
        assert_eq!(self.failed(), 0, "{self}");
        assert!(self.sent() > 20, "too little load to mean anything: {self}");
    }

    /// Blue-green: no request sent after the first answer of `new` was answered by `old`.
    ///
    /// # Panics
    /// When one was, or `new` never answered.
    pub fn assert_clean_cut(&self, old: &str, new: &str) {
        let first_new = self
            .answers
            .iter()
            .filter(|answer| answer.outcome.as_deref() == Ok(new))
            .map(|answer| answer.done)
            .min()
            .unwrap_or_else(|| panic!("version {new} never answered: {self}"));
        let late: Vec<&Answer> = self
            .answers
            .iter()
            .filter(|answer| answer.sent > first_new && answer.outcome.as_deref() == Ok(old))
            .collect();
        assert!(
            late.is_empty(),
            "{} late answers of version {old}: {self}",
            late.len()
        );
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams = self
            .answers
            .iter()
            .filter(|answer| answer.kind == "stream")
            .count();
        write!(
            formatter,
            "requests={} failed={} truncated={} streams={streams}",
            self.sent(),
            self.failed(),
            self.truncated()
        )?;
        let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
        for answer in &self.answers {
            if let Ok(version) = &answer.outcome {
                *versions.entry(version).or_default() += 1;
            }
        }
        for (version, count) in versions {
            write!(formatter, " v{version}={count}")?;
        }
        for answer in self
            .answers
            .iter()
            .filter(|answer| answer.outcome.is_err())
            .take(10)
        {
            let at = answer.sent.duration_since(self.begun).as_secs_f64();
            let lasted = answer.done.duration_since(answer.sent).as_secs_f64();
            let what = answer
                .outcome
                .as_ref()
                .err()
                .map(String::as_str)
                .unwrap_or_default();
            write!(
                formatter,
                "\n  {} sent at {at:.3}s, {lasted:.3}s: {what}",
                answer.kind
            )?;
        }
        Ok(())
    }
}
