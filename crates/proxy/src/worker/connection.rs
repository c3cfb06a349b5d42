//! One connection of a client: which protocol it speaks, and who serves that.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;

use crate::endpoint::Endpoint;
use crate::h1;
use crate::h2;
use crate::peer::Peer;

/// Serves one connection until either side closes it.
pub(super) async fn serve_connection(
    stream: TcpStream,
    address: SocketAddr,
    endpoint: Rc<Endpoint>,
) {
    let peer = Peer::new(address, false);
    if let Some((stream, input)) = h1::serve(stream, peer, &endpoint).await {
        // In a box: it is large, and most connections never come here.
        Box::pin(h2::serve(stream, input, peer, endpoint)).await;
    }
}
