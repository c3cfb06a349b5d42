//! A replica's own network: a namespace, a veth pair to the machine, and outbound NAT.
//!
//! The machine's end of the pair is named `sky` and eleven hex digits drawn from the replica's key,
//! the NAT table `skyserve-` and the same digits, so that whatever a crash leaves behind is found
//! by the key alone ([`remove`]). The namespace has no name: it lives as long as the replica's
//! processes, and its end of the pair with it.
//!
//! From then on the replica's address would be the default gateway's business: whoever still speaks
//! to it (the proxy, until it has a table without the replica; a probe, with its headers) would
//! reach a stranger. So the range is also made unreachable, by a route whose metric is drawn from
//! the key too and which counts only once the pair is gone; only [`remove`] takes it away.

mod link;
mod nat;
mod netlink;
mod subnet;

use std::fs::{File, OpenOptions};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::world::unshare;
use link::Links;
use nat::Nat;
use netlink::NetlinkError;
use subnet::Subnet;

/// Name of the replica's end of the pair, inside its namespace.
const INNER_LINK: &str = "eth0";

/// First byte of the metrics of guarding routes: worse than any route that leads somewhere.
const GUARD_METRIC: u8 = 0x5b;

/// Folders for the lock that keeps two agents from choosing the same addresses; the first that can
/// be used is.
const LOCK_FOLDERS: [&str; 2] = ["/run/skyserve", "/tmp/skyserve-0"];

/// The switch that makes the machine forward packets at all.
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Where name servers are looked for, best first. systemd-resolved keeps the true ones in the
/// second.
const RESOLV_CONFS: [&str; 3] = [
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
];

/// Why there is no network of its own for a replica.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused.
    #[error("the kernel refused to {what}: {source}")]
    Refused {
        /// What was being done, as a verb phrase.
        what: &'static str,
        /// The cause.
        source: NetlinkError,
    },
    /// A file could not be read or written.
    #[error("could not {what}: {source}")]
    File {
        /// What was being done, as a verb phrase.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Every address that could be used is in use.
    #[error("all private addresses that could be used are routed elsewhere")]
    NoAddress,
    /// The firewall would swallow all outbound traffic.
    #[error("the firewall drops forwarded traffic ({0}), so it could reach nothing outside")]
    Firewall(String),
}

/// For `map_err`: the kernel refused to do `what`.
fn refused<E: Into<NetlinkError>>(what: &'static str) -> impl FnOnce(E) -> NetworkError {
    move |source| NetworkError::Refused {
        what,
        source: source.into(),
    }
}

/// For `map_err`: a file error while doing `what`.
fn file(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> NetworkError {
    let what = what.into();
    move |source| NetworkError::File { what, source }
}

/// The network of one replica; dropping it removes the pair and the NAT.
#[derive(Debug)]
pub(crate) struct Network {
    names: Names,
    namespace: File,
    host: File,
    subnet: Subnet,
    notes: Vec<String>,
    /// Held open: the kernel removes the table when this socket closes, however the agent dies.
    _nat: Nat,
}

/// The names that belong to a replica's key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    link: String,
    table: String,
    /// Metric of the route that guards the range.
    metric: u32,
}

impl Names {
    fn of(key: &str) -> Self {
        let hash = blake3::hash(key.as_bytes());
        let [a, b, c, ..] = *hash.as_bytes();
        let digits: String = hash.to_hex().chars().take(11).collect();
        Self {
            link: format!("sky{digits}"),
            table: format!("skyserve-{digits}"),
            metric: u32::from_be_bytes([GUARD_METRIC, a, b, c]),
        }
    }
}

impl Network {
    /// Makes the network of the replica `key`. Writes `resolv_conf` where the machine's name
    /// servers cannot be reached from inside. Leaves nothing behind when it fails.
    pub(crate) fn make(key: &str, resolv_conf: &Path) -> Result<Self, NetworkError> {
        let names = Names::of(key);
        let host = own_namespace()?;
        let links = Links::open().map_err(refused("open a route socket"))?;
        remove_link(&links, &names.link)?;
        links
            .remove_guards(names.metric)
            .map_err(refused("remove an old route"))?;
        let dropped = nat::forwarding_dropped().map_err(refused("list the firewall"))?;
        if let Some(chain) = dropped.or_else(old_firewall_drops) {
            return Err(NetworkError::Firewall(chain));
        }
        let mut notes = Vec::new();
        enable_forwarding(&mut notes)?;
        let namespace = new_namespace(&host)?;
        let lock = lock()?;
        let subnet = Subnet::choose(
            key,
            &links.occupied().map_err(refused("list the addresses"))?,
        )
        .ok_or(NetworkError::NoAddress)?;
        let made = Self::connect(&links, &names, key, subnet, &namespace, &host);
        drop(lock);
        let nat = made.and_then(|()| {
            Nat::make(&names.table, subnet.replica()).map_err(refused("make the NAT"))
        });
        let nat = nat.inspect_err(|_| {
            let _ = links.delete(&names.link);
            let _ = links.remove_guards(names.metric);
        })?;
        name_servers(resolv_conf, &mut notes)?;
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        for name in unreachable_proxies(variables) {
            notes.push(format!(
                "network: {name} names a proxy at a loopback address: it cannot be reached"
            ));
        }
        Ok(Self {
            names,
            namespace,
            host,
            subnet,
            notes,
            _nat: nat,
        })
    }

    /// Makes the pair and gives both ends their addresses.
    fn connect(
        links: &Links,
        names: &Names,
        key: &str,
        subnet: Subnet,
        namespace: &File,
        host: &File,
    ) -> Result<(), NetworkError> {
        links
            .add_guard(subnet.base(), Subnet::PREFIX_BITS, names.metric)
            .map_err(refused("guard the addresses"))?;
        let mtu = links.default_mtu();
        links
            .make_pair(&names.link, INNER_LINK, namespace.as_fd(), mtu)
            .map_err(refused("make a veth pair"))?;
        links
            .bring_up(&names.link, Some(&format!("skyserve {key}")))
            .and_then(|()| links.add_address(&names.link, subnet.host(), Subnet::PREFIX_BITS))
            .map_err(refused("set up the machine's end of the pair"))?;
        within(namespace, host, || {
            let inner = Links::open()?;
            inner.bring_up("lo", None)?;
            inner.bring_up(INNER_LINK, None)?;
            inner.add_address(INNER_LINK, subnet.replica(), Subnet::PREFIX_BITS)?;
            inner.add_default_route(INNER_LINK, subnet.host())
        })
        .map_err(refused("enter the new network"))?
        .map_err(refused("set up the replica's end of the pair"))
    }

    /// The replica's address.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.subnet.replica()
    }

    /// What a person who reads the replica's log should know of it.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Does something inside the network; processes started meanwhile stay in it.
    pub(crate) fn within<T>(&self, action: impl FnOnce() -> T) -> rustix::io::Result<T> {
        within(&self.namespace, &self.host, action)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Ok(links) = Links::open() {
            let _ = links.delete(&self.names.link);
        }
    }
}

/// Removes what is left of the network of the replica `key`; no error where nothing is.
///
/// # Errors
/// Something is left and could not be removed.
pub fn remove(key: &str) -> Result<(), NetworkError> {
    let names = Names::of(key);
    let links = Links::open().map_err(refused("open a route socket"))?;
    remove_link(&links, &names.link)?;
    if !rustix::process::geteuid().is_root() {
        // Who may not change routes and tables has none in them, and would wait in vain for the kernel's answer.
        return Ok(());
    }
    links
        .remove_guards(names.metric)
        .map_err(refused("remove a route"))?;
    nat::remove(&names.table).map_err(refused("remove the NAT"))
}

/// Removes a link if it is there. Without the right to, even asking for an absent one is refused.
fn remove_link(links: &Links, name: &str) -> Result<(), NetworkError> {
    if !Path::new("/sys/class/net").join(name).exists() {
        return Ok(());
    }
    links
        .delete(name)
        .map_err(refused("remove an old network interface"))
}

/// Name of the machine's end of the veth pair of the replica `key`.
#[must_use]
pub fn link_name(key: &str) -> String {
    Names::of(key).link
}

/// Does something in `namespace`, then returns to `host`.
fn within<T>(namespace: &File, host: &File, action: impl FnOnce() -> T) -> rustix::io::Result<T> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let result = action();
    move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(result)
}

/// The network namespace of the calling thread.
fn own_namespace() -> Result<File, NetworkError> {
    File::open("/proc/thread-self/ns/net").map_err(file("open the network namespace"))
}

/// A new network namespace; the calling thread is back in `host` afterwards.
fn new_namespace(host: &File) -> Result<File, NetworkError> {
    unshare(UnshareFlags::NEWNET).map_err(refused("make a network namespace"))?;
    let namespace = own_namespace();
    move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(refused("return to the machine's network"))?;
    namespace
}

/// Waits for the lock on the choice of addresses. It is let go when the file is dropped.
fn lock() -> Result<File, NetworkError> {
    let mut last = None;
    for folder in LOCK_FOLDERS {
        // Only that it is there afterwards matters.
        let _ = std::fs::DirBuilder::new().mode(0o700).create(folder);
        let path = PathBuf::from(folder).join("network.lock");
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        match OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(&path)
        {
            Ok(lock) => {
                flock(&lock, FlockOperation::LockExclusive).map_err(refused("lock a file"))?;
                return Ok(lock);
            }
            Err(error) => last = Some((path, error)),
        }
    }
    let (path, source) =
        last.unwrap_or_else(|| (PathBuf::new(), std::io::ErrorKind::NotFound.into()));
    Err(NetworkError::File {
        what: format!("open {}", path.display()),
        source,
    })
}

/// Makes the machine forward packets, for NAT needs it. It is left on: other networks may rely on
/// it by then.
fn enable_forwarding(notes: &mut Vec<String>) -> Result<(), NetworkError> {
    let now = std::fs::read_to_string(IP_FORWARD).map_err(file(format!("read {IP_FORWARD}")))?;
    if now.trim() == "0" {
        std::fs::write(IP_FORWARD, "1").map_err(file(format!("switch on {IP_FORWARD}")))?;
        notes.push(format!(
            "network: switched on {IP_FORWARD}, which outbound NAT needs"
        ));
    }
    Ok(())
}

/// The same question as [`nat::forwarding_dropped`] for the firewall before nf_tables, which only
/// its own tool can list.
fn old_firewall_drops() -> Option<String> {
    let tables = std::fs::read_to_string("/proc/net/ip_tables_names").ok()?;
    if !tables.lines().any(|table| table == "filter") {
        return None;
    }
    let answer = ["iptables-legacy", "iptables"]
        .into_iter()
        .find_map(|tool| {
            let answer = Command::new(tool)
                .args(["-S", "FORWARD"])
                .stdin(Stdio::null())
                .output();
            answer.ok().filter(|answer| answer.status.success())
        })?;
    let rules = String::from_utf8_lossy(&answer.stdout);
    let drops = rules.lines().any(|rule| rule.trim() == "-P FORWARD DROP");
    drops.then(|| "chain FORWARD of iptables".to_owned())
}

/// Names the variables that send a program to a proxy on this machine's loopback, which a replica
/// in a network of its own cannot reach.
fn unreachable_proxies(variables: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let is_proxy = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.ends_with("_proxy") && name != "no_proxy"
    };
    let is_loopback = |value: &str| {
        let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        ["127.", "localhost", "[::1]"]
            .iter()
            .any(|prefix| host.starts_with(prefix))
    };
    variables
        .filter(|(name, value)| is_proxy(name) && is_loopback(value))
        .map(|(name, _)| name)
        .collect()
}

/// Finds name servers that answer from inside. A server at a loopback address does not: the replica
/// has a loopback of its own.
fn name_servers(resolv_conf: &Path, notes: &mut Vec<String>) -> Result<(), NetworkError> {
    for (index, candidate) in RESOLV_CONFS.into_iter().enumerate() {
        let Ok(text) = std::fs::read_to_string(candidate) else {
            continue;
        };
        let Some(usable) = without_loopback(&text) else {
            continue;
        };
        if index == 0 && usable == text {
            return Ok(());
        }
        return std::fs::write(resolv_conf, usable).map_err(file("write the name servers"));
    }
    notes.push(
        "network: names may not resolve: all name servers of this machine are at loopback"
            .to_owned(),
    );
    Ok(())
}

/// The text of a resolv.conf without its loopback servers; `None` if no server is left.
fn without_loopback(text: &str) -> Option<String> {
    let mut servers = 0;
    let mut kept = String::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() == Some("nameserver") {
            let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
            if address.is_some_and(|address| address.is_loopback()) {
                continue;
            }
            servers += 1;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    (servers > 0).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_differ() {
        let names = Names::of("web-0123456789abcdef-1");
        assert_eq!(
            names.link.len(),
            14,
            "an interface name has at most 15 bytes"
        );
        assert_ne!(names, Names::of("web-0123456789abcdef-2"));
        assert_eq!(names, Names::of("web-0123456789abcdef-1"));
    }

    #[test]
    fn loopback_name_servers_are_left_out() {
        assert_eq!(
            without_loopback("nameserver 127.0.0.53\noptions edns0\n"),
            None
        );
        assert_eq!(without_loopback("nameserver ::1\n"), None);
        assert_eq!(without_loopback(""), None);
        let mixed = "search lan\nnameserver 127.0.0.1\nnameserver 192.0.2.7\n";
        assert_eq!(
            without_loopback(mixed).unwrap(),
            "search lan\nnameserver 192.0.2.7\n"
        );
        let plain = "nameserver 192.0.2.7\n";
        assert_eq!(without_loopback(plain).unwrap(), plain);
    }

    #[test]
    fn proxies_at_loopback_addresses_are_told() {
        let variables = [
            ("HTTP_PROXY", "http://127.0.0.1:3128"),
            ("https_proxy", "http://user:secret@localhost:3128/"),
            ("all_proxy", "socks5://proxy.lan:1080"),
            ("NO_PROXY", "localhost"),
            ("PROXY", "127.0.0.1"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            unreachable_proxies(variables.into_iter()),
            ["HTTP_PROXY", "https_proxy"]
        );
    }
}
