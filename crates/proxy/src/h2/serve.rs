//! One connection of a client that speaks HTTP/2.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::forward;
use crate::buffer::Input;
use crate::endpoint::Endpoint;
use crate::peer::Peer;
use crate::stream::{Replayed, Stream};

/// Streams of one connection at once: more wait at the client (RFC 9113 section 5.1.2).
const MAX_CONCURRENT_STREAMS: u32 = 1024;
/// Bytes that a client may send ahead on one stream, and on all of a connection.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Most bytes of the headers of a request.
const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;
/// A connection that does not answer a ping for this long is dead.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs the tasks of a connection on its own thread.
#[derive(Clone, Copy, Debug)]
struct ThisThread;

impl<F: Future<Output = ()> + 'static> Executor<F> for ThisThread {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Serves a connection; `input` was read from it already.
pub(crate) async fn serve<S: Stream + 'static>(
    stream: S,
    input: Input,
    peer: Peer,
    endpoint: Rc<Endpoint>,
) {
    let closing = endpoint.service.closing().clone();
    let service = service_fn(move |request| forward(&endpoint, peer, request));
    let io = TokioIo::new(Replayed::new(stream, input));
    let mut connection = pin!(
        http2::Builder::new(ThisThread)
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(io, service)
    );
    tokio::select! {
        _ = connection.as_mut() => return,
        () = closing.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
