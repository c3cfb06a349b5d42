//! The port of a replica in the machine's own network.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::ops::Range;
use std::path::Path;

/// Ports for replicas: below those the kernel hands out to clients (from 32768), and away from the
/// endpoints of services (from 30001) and SkyServe's controllers (from 20001).
const PORTS: Range<u16> = 22_000..29_000;

/// A port nobody listens on and no other replica has: the declared one if possible, so that one
/// replica of a program that knows no other still works. 0 if there is none.
///
/// `seed` spreads the replicas of several homes over the range.
pub(crate) fn choose(declared: u16, seed: &Path, taken: &[u16]) -> u16 {
    let usable = |port: &u16| !taken.contains(port) && is_free(*port);
    if declared != 0 && usable(&declared) {
        return declared;
    }
    let count = PORTS.end - PORTS.start;
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    let start = u16::try_from(hasher.finish() % u64::from(count)).unwrap_or(0);
    (0..count)
        .map(|step| PORTS.start + (start + step) % count)
        .find(usable)
        .unwrap_or(0)
}

/// Whether a program could listen on the port now, at any address.
fn is_free(port: u16) -> bool {
    if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_err() {
        return false;
    }
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Ok(_) => true,
        // A machine without IPv6 has no say.
        Err(error) => error.kind() != std::io::ErrorKind::AddrInUse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let declared = listener.local_addr().unwrap().port();
        let first = choose(declared, Path::new("a"), &[]);
        assert!(PORTS.contains(&first));
        let second = choose(declared, Path::new("a"), &[first]);
        assert!(PORTS.contains(&second) && first != second);
    }
}
