//! Where metrics are asked for: `GET /metrics` on a socket in the home directory, and on a TCP address if one is set.
//!
//! The tasks here know nothing of services: for each scrape they ask the control plane ([`MetricsServer::next`]) and write
//! what it gives on a thread of its own, so that neither requests nor the controller wait for it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::page::MEDIA_TYPE;
use super::{ServiceSnapshot, render};
use crate::log::{Event, LogSender};

/// Pause before an address that could not be bound is tried again.
const BIND_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A connection is for one request, which takes no longer than this.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// Connections served at once at each place; more wait.
const MAX_CONNECTIONS: usize = 16;
/// Mode of the socket: its owner's.
const SOCKET_MODE: u32 = 0o600;

/// Somebody wants all metrics.
pub(crate) type Scrape = oneshot::Sender<Vec<ServiceSnapshot>>;

/// Serves metrics until it is dropped.
#[derive(Debug)]
pub(crate) struct MetricsServer {
    scrapes: mpsc::Receiver<Scrape>,
    tasks: Vec<JoinHandle<()>>,
    socket: PathBuf,
}

impl MetricsServer {
    /// Serves on `socket`, and on `address` (`host:port`). What cannot be bound is an event and is tried again.
    pub(crate) fn start(socket: PathBuf, address: Option<String>, logs: &LogSender) -> Self {
        let (sender, scrapes) = mpsc::channel(MAX_CONNECTIONS);
        let places = [
            Some(Place::Socket(socket.clone())),
            address.map(Place::Address),
        ];
        let serve = |place| tokio::spawn(serve(place, sender.clone(), logs.clone()));
        Self {
            tasks: places.into_iter().flatten().map(serve).collect(),
            scrapes,
            socket,
        }
    }

    /// The next one who wants metrics. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Option<Scrape> {
        self.scrapes.recv().await
    }

    /// Serves no more; when this completes another process can.
    pub(crate) async fn close(mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        // The next worker makes its own; nobody shall wait at this one.
        let _ = fs::remove_file(&self.socket);
    }
}

/// Where to listen.
#[derive(Debug)]
enum Place {
    Socket(PathBuf),
    Address(String),
}

enum Listener {
    Socket(UnixListener),
    Address(TcpListener),
}

impl Place {
    async fn bind(&self) -> io::Result<Listener> {
        match self {
            Self::Socket(path) => bind_socket(path).map(Listener::Socket),
            Self::Address(address) => TcpListener::bind(address).await.map(Listener::Address),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Socket(path) => path.display().to_string(),
            Self::Address(address) => format!("{address} (SKYSERVE_METRICS_ADDRESS)"),
        }
    }
}

/// What is there already was left by a worker that was killed: only one serves at a time.
fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

async fn serve(place: Place, scrapes: mpsc::Sender<Scrape>, logs: LogSender) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut complaint = String::new();
    let listener = loop {
        match place.bind().await {
            Ok(listener) => break listener,
            Err(error) => {
                let detail = format!("{}: {error}; trying on", place.describe());
                if detail != complaint {
                    logs.event(Event::new("metrics_not_bound", detail.clone()));
                    complaint = detail;
                }
                sleep(BIND_PAUSE).await;
            }
        }
    };
    logs.event(Event::new("metrics_bound", place.describe()));
    loop {
        // Closed never.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let scrapes = scrapes.clone();
        let accepted = match &listener {
            Listener::Socket(listener) => listener.accept().await.map(|(stream, _)| {
                tokio::spawn(async move {
                    serve_connection(stream, scrapes).await;
                    drop(permit);
                });
            }),
            Listener::Address(listener) => listener.accept().await.map(|(stream, _)| {
                tokio::spawn(async move {
                    serve_connection(stream, scrapes).await;
                    drop(permit);
                });
            }),
        };
        if accepted.is_err() {
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    scrapes: mpsc::Sender<Scrape>,
) {
    let service = service_fn(|request| {
        let scrapes = scrapes.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&request, &scrapes).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let _ = timeout(CONNECTION_TIME, connection).await;
}

async fn answer(request: &Request<Incoming>, scrapes: &mpsc::Sender<Scrape>) -> Response<Whole> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    let (sender, services) = oneshot::channel();
    let page = match scrapes.send(sender).await {
        Ok(()) => match services.await {
            Ok(services) => tokio::task::spawn_blocking(move || render(&services))
                .await
                .ok(),
            Err(_) => None,
        },
        Err(_) => None,
    };
    match page {
        Some(page) => whole(StatusCode::OK, MEDIA_TYPE, page.into()),
        None => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "another worker takes over\n",
        ),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Whole> {
    let text = Bytes::from_static(text.as_bytes());
    whole(status, "text/plain; charset=utf-8", text)
}

fn whole(status: StatusCode, media_type: &'static str, text: Bytes) -> Response<Whole> {
    let mut response = Response::new(Whole(Some(text)));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// A body that is there already.
struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
