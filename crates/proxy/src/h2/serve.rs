//! One connection of a client that speaks HTTP/2.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::sleep;

use super::client_stream::{ClientStreams, MAX_UNSEEN_RESETS};
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
/// Most bytes of an answer that wait for a client per stream.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Most bytes of the headers of a request. h2 takes from it how many CONTINUATION frames it reads (CVE-2024-27316).
const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;
/// Streams of one connection that may be found to break the protocol.
const MAX_STREAM_ERRORS: usize = 256;
/// A connection that does not answer a ping for this long is dead.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is looked whether clients take their answers.
const STALL_CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// How long after the GOAWAY of an idle connection its client may take to leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the tasks of a connection on its own thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThisThread;

impl<F: Future<Output = ()> + 'static> Executor<F> for ThisThread {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Why a connection ends before its client ends it.
enum End {
    /// The endpoint closes.
    Closing,
    /// It had no stream for the idle timeout.
    Idle,
    /// The client abuses it.
    Abused,
}

/// Serves a connection; `input` was read from it already.
pub(crate) async fn serve<S: Stream + 'static>(
    stream: S,
    input: Input,
    peer: Peer,
    endpoint: Rc<Endpoint>,
) {
    let streams = ClientStreams::new();
    let service = service_fn(|request| forward(&endpoint, peer, request, streams.begin()));
    let io = TokioIo::new(Replayed::new(stream, input));
    let mut connection = pin!(
        http2::Builder::new(ThisThread)
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
            .max_local_error_reset_streams(MAX_STREAM_ERRORS)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(io, service)
    );
    let end = tokio::select! {
        _ = connection.as_mut() => return,
        () = endpoint.service.closing().cancelled() => End::Closing,
        () = idle(&endpoint, &streams) => End::Idle,
        () = streams.abused() => End::Abused,
        () = give_up_stalled(&endpoint, &streams) => return,
    };
    if matches!(end, End::Abused) {
        // Dropped, with all of its streams.
        return;
    }
    // Streams in flight finish, and so do those that the client opened before it heard of the end.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection.as_mut() => {}
        () = streams.abused() => {}
        () = left(&streams) => {}
        () = give_up_stalled(&endpoint, &streams) => {}
    }
}

/// Gives up answers of which the client takes nothing for the idle timeout; does not end.
async fn give_up_stalled(endpoint: &Endpoint, streams: &ClientStreams) {
    loop {
        let limit = endpoint.view().published.settings.idle_timeout;
        sleep(limit.min(STALL_CHECK_INTERVAL)).await;
        streams.give_up_stalled(limit);
    }
}

/// Waits until there has been no stream for the idle timeout.
async fn idle(endpoint: &Endpoint, streams: &ClientStreams) {
    loop {
        let limit = endpoint.view().published.settings.idle_timeout;
        match streams.idle_time() {
            Some(idle) if idle >= limit => return,
            Some(idle) => sleep(limit - idle).await,
            None => sleep(limit).await,
        }
    }
}

/// Waits until the client has had enough time to leave, from the end of the last stream.
async fn left(streams: &ClientStreams) {
    loop {
        sleep(LEAVE_TIMEOUT).await;
        if streams
            .idle_time()
            .is_some_and(|idle| idle >= LEAVE_TIMEOUT)
        {
            return;
        }
    }
}
