//! One connection of a client, from accept to close.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::client_stream::{ClientStream, HalfClose};
use crate::forward::{ClientConnection, Endpoint, forward};

/// A client has this long for the head of a request, and so to leave a connection idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// Most bytes buffered per direction, and so the largest head of a request.
const MAX_BUFFER_BYTES: usize = 128 * 1024;
/// When the endpoint closes, a connection that has not sent anything yet may still do so for this
/// long: its request is probably on the way.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// Serves the requests of one connection, one after the other, until either side closes it.
pub(super) async fn serve_connection(stream: TcpStream, peer: SocketAddr, endpoint: Arc<Endpoint>) {
    let closing = endpoint.service.closing().clone();
    let half_close = Arc::new(HalfClose::default());
    let io = TokioIo::new(ClientStream::new(stream, Arc::clone(&half_close)));
    let used = AtomicBool::new(false);
    let client = Arc::new(ClientConnection {
        endpoint,
        peer: peer.ip(),
        half_close,
        used,
    });
    let service = {
        let client = Arc::clone(&client);
        service_fn(move |request| forward(Arc::clone(&client), request))
    };
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_BUFFER_BYTES)
            .serve_connection(io, service)
            .with_upgrades()
    );
    // Errors are the client's going away or its bad request; the record of the request says which.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = closing.cancelled() => {}
    }
    if !client.used.load(Ordering::Relaxed) {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = sleep(FIRST_REQUEST_GRACE) => {}
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
