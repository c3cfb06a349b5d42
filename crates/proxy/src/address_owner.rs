//! Who listens on an address, so that "the port is taken" can say by whom. Best effort, from
//! `/proc`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// `0A` in the column of states is "listening".
const LISTENING: &str = "0A";

/// A description of the process that listens on `address`, such as `process 812 (python3)`.
pub(crate) fn describe_owner(address: SocketAddr) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, address))?;
    let process = process_with_socket(&inode)?;
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    Some(format!("process {process} ({})", name.trim()))
}

/// The inode of the socket that listens on `address`, or on all addresses with the same port.
fn listening_inode(table: &str, address: SocketAddr) -> Option<String> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
        let (ip, port) = local.split_once(':')?;
        let ip = parse_ip(ip)?;
        let same = u16::from_str_radix(port, 16).ok()? == address.port()
            && (ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified());
        (*state == LISTENING && same).then(|| (*inode).to_owned())
    })
}

/// Groups of eight hexadecimal digits, each a 32-bit word in the byte order of the machine.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for group in text.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(group).ok()?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

fn process_with_socket(inode: &str) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        holds_socket(&entry.path().join("fd"), &wanted).then_some(process)
    })
}

fn holds_socket(descriptors: &Path, wanted: &str) -> bool {
    fs::read_dir(descriptors).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == wanted))
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn this_process_is_found_by_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = describe_owner(listener.local_addr().unwrap()).unwrap();
        assert!(
            owner.starts_with(&format!("process {} (", std::process::id())),
            "{owner}"
        );
    }

    #[test]
    fn nobody_is_found_where_nobody_listens() {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert_eq!(describe_owner(address), None);
    }

    #[test]
    fn nonsense_in_the_table_is_passed_over() {
        let address = "127.0.0.1:80".parse().unwrap();
        for table in [
            "",
            "head",
            "head\n0: x",
            "head\n0: ZZ:0050 a 0A b c d e f 7",
        ] {
            assert_eq!(listening_inode(table, address), None);
        }
    }
}
