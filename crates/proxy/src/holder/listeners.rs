//! The listening sockets: bound here, held here, copied to the worker.
//!
//! Each endpoint has several sockets with `SO_REUSEPORT`, one per thread of the worker. Two dangers
//! come with that option. A socket without an accepting thread would strand the connections that
//! the system gives it, so sockets that a new worker did not ask for are closed. And another
//! program of the same user that sets the option would silently share the port, so the address is
//! first bound *without* the option, which fails if anybody else has it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, ipproto, sockopt};

use crate::address_owner::describe_owner;
use crate::handover::ListenerName;

/// Connections that may wait to be accepted per socket; the system may allow fewer
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;
/// Sockets per endpoint at most.
const MAX_PER_ENDPOINT: usize = 1024;
/// A client that has vanished without a word is noticed after this and a few intervals.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Longest path of a Unix socket in bytes.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Why something cannot be bound, for a person.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{address} is already in use by {owner}: stop it or choose another port")]
    InUse { address: SocketAddr, owner: String },
    #[error("{0} is not an address of this machine")]
    NotHere(SocketAddr),
    #[error("this user may not bind {0}: choose a port above 1023")]
    NotAllowed(SocketAddr),
    #[error("cannot bind {address}: {source}")]
    Other {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("the path of a socket has {length} bytes but the system allows {limit}")]
    SocketPath { length: usize, limit: usize },
    #[error("cannot bind a socket in the home directory: {0}")]
    Private(io::Error),
}

#[derive(Debug)]
pub(super) struct Listeners {
    control_path: PathBuf,
    relay_path: PathBuf,
    held: BTreeMap<ListenerName, Vec<OwnedFd>>,
    /// What the present worker asked for.
    asked: BTreeSet<ListenerName>,
}

impl Listeners {
    pub(super) fn new(control_path: PathBuf, relay_path: PathBuf) -> Self {
        Self {
            control_path,
            relay_path,
            held: BTreeMap::new(),
            asked: BTreeSet::new(),
        }
    }

    /// The listeners of `name`, `count` at least: those held, and new ones as far as needed.
    pub(super) fn bind(&mut self, name: ListenerName, count: usize) -> Result<&[OwnedFd], Refusal> {
        let count = count.clamp(1, MAX_PER_ENDPOINT);
        let mut listeners = self.held.remove(&name).unwrap_or_default();
        let result = match name {
            ListenerName::Endpoint(address) => bind_endpoint(address, count, &mut listeners),
            _ if !listeners.is_empty() => Ok(()),
            ListenerName::Control => {
                bind_private(&self.control_path).map(|listener| listeners.push(listener))
            }
            ListenerName::Relay => {
                bind_private(&self.relay_path).map(|listener| listeners.push(listener))
            }
        };
        // A failure to add more sockets must not lose those held.
        if !listeners.is_empty() {
            self.held.insert(name, listeners);
        }
        result?;
        self.asked.insert(name);
        Ok(self.held.get(&name).map_or(&[], Vec::as_slice))
    }

    pub(super) fn release(&mut self, address: SocketAddr) {
        self.held.remove(&ListenerName::Endpoint(address));
    }

    pub(super) fn adopt(&mut self, name: ListenerName, listeners: Vec<OwnedFd>) {
        self.held.entry(name).or_default().extend(listeners);
        self.asked.insert(name);
    }

    /// All that are held.
    pub(super) fn held(&self) -> impl Iterator<Item = (ListenerName, &[OwnedFd])> {
        self.held
            .iter()
            .map(|(name, listeners)| (*name, listeners.as_slice()))
    }

    /// A new worker has asked for nothing yet.
    pub(super) fn forget_asked(&mut self) {
        self.asked.clear();
    }

    /// Closes what the present worker has not asked for: nobody would accept there.
    pub(super) fn close_unasked(&mut self) {
        let asked = &self.asked;
        self.held
            .retain(|name, _| !matches!(name, ListenerName::Endpoint(_)) || asked.contains(name));
    }

    pub(super) fn close_all(&mut self) {
        self.held.clear();
    }
}

fn bind_endpoint(
    address: SocketAddr,
    count: usize,
    listeners: &mut Vec<OwnedFd>,
) -> Result<(), Refusal> {
    let refuse = |error| explain(address, error);
    if listeners.is_empty() {
        // Fails if anybody listens there, also somebody who would share the port. It does not
        // listen itself: who connected just now would be reset when it closes.
        drop(bind(address, false).map_err(refuse)?);
    }
    while listeners.len() < count {
        listeners.push(listen(address).map_err(refuse)?);
    }
    Ok(())
}

fn listen(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let socket = bind(address, true)?;
    // Accepted connections inherit these, which saves a system call each.
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn bind(address: SocketAddr, share_port: bool) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // Connections of an earlier listener that still linger do not count as somebody else.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, share_port)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn explain(address: SocketAddr, error: Errno) -> Refusal {
    match error {
        Errno::ADDRINUSE => {
            let owner = describe_owner(address).unwrap_or_else(|| "another process".to_owned());
            Refusal::InUse { address, owner }
        }
        Errno::ADDRNOTAVAIL => Refusal::NotHere(address),
        Errno::ACCESS | Errno::PERM => Refusal::NotAllowed(address),
        other => Refusal::Other {
            address,
            source: other.into(),
        },
    }
}

/// A leftover of an earlier holder is removed: the lock of the home directory says that there is no
/// other.
fn bind_private(path: &Path) -> Result<OwnedFd, Refusal> {
    let length = path.as_os_str().as_bytes().len();
    if length > MAX_SOCKET_PATH_BYTES {
        return Err(Refusal::SocketPath {
            length,
            limit: MAX_SOCKET_PATH_BYTES,
        });
    }
    let bind = || -> rustix::io::Result<OwnedFd> {
        match rustix::fs::unlink(path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let address = SocketAddrUnix::new(path)?;
        // The mask, not a later change of mode, so that there is no moment in which others may
        // connect.
        let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = rustix::net::bind(&socket, &address);
        rustix::process::umask(mask);
        bound?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    bind().map_err(|error| Refusal::Private(error.into()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn free_address() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
    }

    #[test]
    fn a_port_of_somebody_else_is_refused_by_name_even_if_shareable() {
        let other = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = TcpListener::from(other.try_clone().unwrap())
            .local_addr()
            .unwrap();
        let mut listeners = Listeners::new(PathBuf::new(), PathBuf::new());
        let refused = listeners
            .bind(ListenerName::Endpoint(address), 2)
            .unwrap_err()
            .to_string();
        let owner = format!("process {}", std::process::id());
        assert!(
            refused.contains(&owner) && refused.contains("choose another port"),
            "{refused}"
        );
        assert!(listeners.held.is_empty());
    }

    #[test]
    fn held_listeners_are_found_again_and_completed() {
        let address = free_address();
        let mut listeners = Listeners::new(PathBuf::new(), PathBuf::new());
        assert_eq!(
            listeners
                .bind(ListenerName::Endpoint(address), 1)
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            listeners
                .bind(ListenerName::Endpoint(address), 3)
                .unwrap()
                .len(),
            3
        );
        assert_eq!(
            listeners
                .bind(ListenerName::Endpoint(address), 2)
                .unwrap()
                .len(),
            3,
            "none is given up"
        );
    }

    #[test]
    fn what_a_new_worker_does_not_ask_for_is_closed() {
        let (kept, closed) = (free_address(), free_address());
        let mut listeners = Listeners::new(PathBuf::new(), PathBuf::new());
        for address in [kept, closed] {
            listeners.bind(ListenerName::Endpoint(address), 1).unwrap();
        }
        listeners.forget_asked();
        listeners.bind(ListenerName::Endpoint(kept), 1).unwrap();
        listeners.close_unasked();
        assert!(TcpListener::bind(closed).is_ok());
        assert!(TcpListener::bind(kept).is_err());
    }

    #[test]
    fn the_control_socket_is_private_and_replaces_a_leftover() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("proxy.sock");
        for _ in 0..2 {
            let mut listeners = Listeners::new(path.clone(), PathBuf::new());
            listeners.bind(ListenerName::Control, 1).unwrap();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_path_that_is_too_long_is_explained() {
        let path = PathBuf::from(format!("/{}", "x".repeat(120)));
        let mut listeners = Listeners::new(path, PathBuf::new());
        let refused = listeners
            .bind(ListenerName::Control, 1)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("121 bytes") && refused.contains("107"),
            "{refused}"
        );
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let mut listeners = Listeners::new(PathBuf::new(), PathBuf::new());
        let refused = listeners
            .bind(
                ListenerName::Endpoint("192.0.2.1:30001".parse().unwrap()),
                1,
            )
            .unwrap_err();
        assert!(matches!(refused, Refusal::NotHere(_)), "{refused}");
    }
}
