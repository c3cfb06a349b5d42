//! An address that answers to nothing: what is sent to it is dropped.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A listener whose queue is full, so that the system drops what asks for another connection.
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    pub(crate) fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // The shortest queue that there is.
        rustix::net::listen(&listener, 0).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let queue: Vec<_> = std::iter::from_fn(connect).take(64).collect();
        assert!(queue.len() < 64, "its queue has no end");
        Self {
            address,
            _listener: listener,
            _queue: queue,
        }
    }
}
