//! Clients and replicas that speak HTTP/2 without TLS, by hyper.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::PATIENCE;

/// What clients and replicas of a test run on. The test itself may block.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// The output of something that does not take long unless it is broken.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// A body that a test sends: frames known beforehand, then those that come through a channel.
pub(crate) struct Sent {
    frames: VecDeque<Frame<Bytes>>,
    more: Option<mpsc::Receiver<Result<Frame<Bytes>, io::Error>>>,
}

/// The end of a channel into a body; the body ends when it is dropped.
pub(crate) type Sink = mpsc::Sender<Result<Frame<Bytes>, io::Error>>;

impl Sent {
    pub(crate) fn empty() -> Self {
        Self::of([])
    }

    pub(crate) fn of(frames: impl IntoIterator<Item = Frame<Bytes>>) -> Self {
        Self {
            frames: frames.into_iter().collect(),
            more: None,
        }
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::of([data(text)])
    }

    /// A body whose frames come later.
    pub(crate) fn channel() -> (Sink, Self) {
        let (sink, more) = mpsc::channel(1);
        let body = Self {
            frames: VecDeque::new(),
            more: Some(more),
        };
        (sink, body)
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.more {
            Some(more) => more.poll_recv(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.more.is_none()
    }
}

pub(crate) fn data(text: &str) -> Frame<Bytes> {
    Frame::data(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) fn trailers(name: &'static str, value: &'static str) -> Frame<Bytes> {
    let mut fields = HeaderMap::new();
    fields.insert(name, value.parse().unwrap());
    Frame::trailers(fields)
}

/// A whole message.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) text: String,
    pub(crate) trailers: HeaderMap,
}

/// Reads a body to its end.
pub(crate) async fn read(body: Incoming) -> hyper::Result<Whole> {
    let collected = soon("the end of a body", body.collect()).await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let text = String::from_utf8_lossy(&collected.to_bytes()).into_owned();
    Ok(Whole { text, trailers })
}

/// The text of the next frame that has some; `None` at the end.
pub(crate) async fn next_text(body: &mut Incoming) -> Option<String> {
    loop {
        let frame = soon("a frame", body.frame()).await?.unwrap();
        let bytes = frame.into_data().unwrap_or_default();
        if !bytes.is_empty() {
            return Some(String::from_utf8(bytes.to_vec()).unwrap());
        }
    }
}

/// One connection of a client.
pub(crate) struct Http2Client {
    address: SocketAddr,
    pub(crate) sender: SendRequest<Sent>,
    /// Ends with the connection.
    pub(crate) connection: JoinHandle<hyper::Result<()>>,
}

impl Http2Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        Self {
            address,
            sender,
            connection: tokio::spawn(connection),
        }
    }

    /// The head of a request to the endpoint.
    pub(crate) fn request(&self, method: &str, target: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("http://{}{target}", self.address))
    }

    pub(crate) fn send(
        &self,
        request: Request<Sent>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + Send + use<> {
        let answer = self.sender.clone().send_request(request);
        async move { soon("an answer", answer).await }
    }

    /// A request without a body.
    pub(crate) async fn ask(&self, method: &str, target: &str) -> Response<Incoming> {
        let request = self.request(method, target).body(Sent::empty()).unwrap();
        self.send(request).await.unwrap()
    }

    pub(crate) async fn get_text(&self, target: &str) -> String {
        let answer = self.ask("GET", target).await;
        read(answer.into_body()).await.unwrap().text
    }
}

/// Whether a request was not sent, or not looked at, because the connection ends in peace: it may be sent anew.
pub(crate) fn was_left_in_peace(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    error.is_canceled()
        || cause.is_some_and(|error: &h2::Error| {
            error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)
        })
}

/// Heads of requests that a replica got.
type Heads = Arc<Mutex<Vec<http::request::Parts>>>;

/// A replica that speaks HTTP/2 only; ends when dropped.
pub(crate) struct Http2Replica {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heads: Heads,
    accepting: JoinHandle<()>,
}

impl Http2Replica {
    /// Runs `handler` for each request. To be called within a runtime.
    pub(crate) async fn start<F, B>(
        handler: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self::start_with(Builder::new(TokioExecutor::new()), handler).await
    }

    pub(crate) async fn start_with<F, B>(
        builder: Builder<TokioExecutor>,
        handler: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, heads) = (Arc::new(AtomicUsize::new(0)), Heads::default());
        let (count, seen) = (Arc::clone(&connections), Arc::clone(&heads));
        let accepting = tokio::spawn(async move {
            // The connections end with the set, and so with this task.
            let mut served = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let (handler, seen) = (handler.clone(), Arc::clone(&seen));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (parts, body) = request.into_parts();
                    seen.lock().unwrap().push(parts.clone());
                    let answer = handler(Request::from_parts(parts, body));
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                served.spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            address,
            connections,
            heads,
            accepting,
        }
    }

    /// Answers every request with `name`.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::start(move |request| async move {
            let _ = request.into_body().collect().await;
            Response::new(Sent::text(name))
        })
        .await
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<http::request::Parts> {
        self.heads.lock().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

impl Drop for Http2Replica {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
