//! The replicas of a run: processes of this program in the role `backend`.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;

use crate::process::Process;

/// Two processes, as the peers see them.
pub(crate) struct Backends {
    processes: Vec<Process>,
    /// Where they answer.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Backends {
    /// Two processes of one address each.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Self::with_addresses(2)
    }

    /// Two processes that share `count` addresses, each of which is a replica to a proxy.
    pub(crate) fn with_addresses(count: u16) -> anyhow::Result<Self> {
        let (mut processes, mut addresses) = (Vec::new(), Vec::new());
        for parity in 0..2 {
            let mine: Vec<Ipv4Addr> = (0..count)
                .filter(|number| number % 2 == parity)
                .map(address)
                .collect();
            let mut words: Vec<OsString> = vec![std::env::current_exe()?.into(), "backend".into()];
            words.extend(mine.iter().map(|address| address.to_string().into()));
            let (process, line) = Process::start_and_read(&words)?;
            let port: u16 = line.parse().context("a backend did not tell its port")?;
            processes.push(process);
            addresses.extend(
                mine.iter()
                    .map(|address| SocketAddr::from((*address, port))),
            );
        }
        Ok(Self {
            processes,
            addresses,
        })
    }

    pub(crate) fn processes(&self) -> Vec<u32> {
        self.processes.iter().flat_map(Process::tree).collect()
    }
}

/// Every address that begins with 127 is this machine (RFC 1122 section 3.2.1.3). The first two are the usual one:
/// they are told apart by their ports.
fn address(number: u16) -> Ipv4Addr {
    if number < 2 {
        return Ipv4Addr::LOCALHOST;
    }
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}
