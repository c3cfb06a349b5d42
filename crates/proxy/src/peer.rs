//! The client at the other end of a connection.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// Longest address in text: an IPv6 one that ends in an IPv4 one.
const MAX_TEXT_BYTES: usize = 45;

/// Address of a client, also as text, since every request of it carries that, and what it came by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    text: [u8; MAX_TEXT_BYTES],
    length: u8,
    /// Whether the connection is encrypted.
    pub(crate) is_tls: bool,
    /// Whether it is a worker that has left ([`crate::relay`]): it has checked the client's key and said who the client is.
    pub(crate) is_relay: bool,
}

impl Peer {
    /// A client at `address`.
    pub(crate) fn new(address: SocketAddr, is_tls: bool) -> Self {
        let mut peer = Self {
            text: [0; MAX_TEXT_BYTES],
            length: 0,
            is_tls,
            is_relay: false,
        };
        let ip: IpAddr = address.ip().to_canonical();
        let mut rest = &mut peer.text[..];
        // It fits: that is what the size is.
        let _ = write!(rest, "{ip}");
        let left = rest.len();
        peer.length = u8::try_from(MAX_TEXT_BYTES - left).unwrap_or(0);
        peer
    }

    /// A worker that has left.
    pub(crate) fn relay() -> Self {
        Self {
            text: [0; MAX_TEXT_BYTES],
            length: 0,
            is_tls: false,
            is_relay: true,
        }
    }

    /// The address; empty for a worker.
    pub(crate) fn text(&self) -> &[u8] {
        self.text
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    /// The scheme of its URLs.
    pub(crate) fn scheme(&self) -> &'static [u8] {
        if self.is_tls { b"https" } else { b"http" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_people_write_them() {
        for (address, text) in [
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::ffff:10.1.2.3]:80", "10.1.2.3"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            (
                "[1111:2222:3333:4444:5555:6666:7777:8888]:1",
                "1111:2222:3333:4444:5555:6666:7777:8888",
            ),
        ] {
            let peer = Peer::new(address.parse().unwrap(), false);
            assert_eq!(peer.text(), text.as_bytes());
        }
    }
}
