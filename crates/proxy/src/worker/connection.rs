//! One connection of a client: whether it is served, which protocol it speaks, and who serves that.

use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::buffer::Input;
use crate::connections::{Connections, Crowded};
use crate::endpoint::Endpoint;
use crate::h1;
use crate::h2;
use crate::metrics::Reason;
use crate::peer::Peer;
use crate::plain::Plain;

/// How long it may take to tell a client that there are too many.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// Serves one connection until either side closes it.
pub(super) fn serve_connection(
    socket: OwnedFd,
    address: SocketAddr,
    endpoint: Rc<Endpoint>,
) -> impl Future<Output = ()> {
    let view = endpoint.view();
    let settings = &view.published.settings;
    let counted = Connections::enter(&endpoint.service, settings, address.ip());
    let is_tls = view.published.table.tls.is_some();
    let handshake_timeout = settings.head_timeout;
    let peer = Peer::new(address, is_tls);
    if let Err(crowded) = &counted {
        endpoint.metrics.refused(match crowded {
            Crowded::Endpoint(_) => Reason::Connections,
            Crowded::Client(_) => Reason::ConnectionsPerClient,
        });
    }
    drop(view);
    // Only the plain path is not in a box: it is what a task of a connection is meant to be as large as.
    async move {
        match (counted, is_tls) {
            (Err(crowded), _) => Box::pin(turn_away(socket, crowded)).await,
            (Ok(_counted), false) => {
                let Ok(stream) = Plain::new(socket) else {
                    return;
                };
                if let Some((stream, input)) = h1::serve(stream, peer, &endpoint).await {
                    Box::pin(h2::serve(stream, input, peer, endpoint)).await;
                }
            }
            (Ok(_counted), true) => {
                // Without a certificate there is no serving in clear instead.
                if let (Some(config), Ok(stream)) = (endpoint.service.tls(), on_tokio(socket)) {
                    let tls = serve_tls(stream, peer, endpoint, config, handshake_timeout);
                    Box::pin(tls).await;
                }
            }
        }
    }
}

async fn serve_tls(
    stream: TcpStream,
    peer: Peer,
    endpoint: Rc<Endpoint>,
    config: Arc<ServerConfig>,
    handshake_timeout: Duration,
) {
    let handshake = TlsAcceptor::from(config).accept(stream);
    let Ok(Ok(stream)) = timeout(handshake_timeout, handshake).await else {
        return;
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return h2::serve(stream, Input::default(), peer, endpoint).await;
    }
    if let Some((stream, input)) = h1::serve(stream, peer, &endpoint).await {
        h2::serve(stream, input, peer, endpoint).await;
    }
}

fn on_tokio(socket: OwnedFd) -> io::Result<TcpStream> {
    TcpStream::from_std(StdTcpStream::from(socket))
}

/// Tells a client why its connection is not served. It may not hear it: it is not waited for.
async fn turn_away(socket: OwnedFd, crowded: Crowded) {
    let Ok(mut stream) = on_tokio(socket) else {
        return;
    };
    let detail = match crowded {
        Crowded::Endpoint(limit) => format!(
            "The endpoint has {limit} connections, as many as it may (load_balancer.max_connections)."
        ),
        Crowded::Client(limit) => format!(
            "This client has {limit} connections, as many as it may (load_balancer.max_connections_per_client)."
        ),
    };
    let body = serde_json::json!({ "detail": detail }).to_string();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Retry-After: 5\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = timeout(FAREWELL_TIME, async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What the client has sent is read, or closing would take the answer from it.
        let mut sink = [0; 1024];
        while tokio::io::AsyncReadExt::read(&mut stream, &mut sink).await? > 0 {}
        std::io::Result::Ok(())
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// What a connection costs while it waits is, beside the sockets' own, the size of its task.
    #[test]
    fn the_task_of_a_connection_is_small() {
        let size = size_of_future(serve_connection);
        assert!(size <= 800, "{size}");
    }
}
