//! HAProxy as a proxy that is meant to be fast, and a second front for event streams, which it would gather without
//! `option http-no-delay`.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::{Addresses, OUTPUT, PeerKind, Setup, Started, free_address, workers};
use crate::process::Process;

/// From this version on listeners can be divided among threads (`shards`).
const SHARDS_SINCE: (u32, u32) = (2, 5);

pub(super) fn start(directory: &Path, setup: &Setup<'_>) -> anyhow::Result<Started> {
    let tls = match setup.certificate {
        Some(_) => Ok(free_address()?),
        None => Err("there is no certificate".to_owned()),
    };
    let addresses = Addresses {
        plain: free_address()?,
        streams: free_address()?,
        tls,
    };
    if let Some(certificate) = setup.certificate {
        let chain = fs::read(&certificate.chain)?;
        let key = fs::read(&certificate.key)?;
        fs::write(directory.join("both.pem"), [chain, key].concat())?;
    }
    let version = PeerKind::Haproxy.version().unwrap_or_default();
    let shards = has_shards(&version);
    let file = directory.join("haproxy.cfg");
    fs::write(&file, configuration(directory, setup, &addresses, shards))?;
    let words = ["haproxy".into(), "-db".into(), "-f".into(), file.into()];
    let process = Process::start(&words, &directory.join(OUTPUT))?;
    Ok(Started {
        process,
        addresses,
        control: None,
    })
}

fn configuration(
    directory: &Path,
    setup: &Setup<'_>,
    addresses: &Addresses,
    shards: bool,
) -> String {
    let (threads, buffer) = (workers(), setup.haproxy_buffer_bytes);
    let mut text = format!(
        "global
  nbthread {threads}
  maxconn 9000
  tune.bufsize {buffer}
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  http-reuse always
  option http-keep-alive
  option forwardfor
  timeout connect 4s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  timeout http-request 30s
"
    );
    front(
        &mut text,
        "plain",
        &bind(addresses.plain, "", shards),
        "",
        setup.backends,
    );
    let no_delay = "  option http-no-delay\n";
    front(
        &mut text,
        "streams",
        &bind(addresses.streams, "", shards),
        no_delay,
        setup.backends,
    );
    if let Ok(tls) = addresses.tls {
        let both = directory.join("both.pem");
        let words = format!(" ssl crt {} alpn http/1.1", both.display());
        front(
            &mut text,
            "tls",
            &bind(tls, &words, shards),
            "",
            setup.backends,
        );
    }
    text
}

fn bind(address: SocketAddr, words: &str, shards: bool) -> String {
    let shards = if shards { " shards by-thread" } else { "" };
    format!("  bind {address}{words}{shards} backlog 4096\n")
}

/// One front and what stands behind it.
fn front(text: &mut String, name: &str, bind: &str, options: &str, backends: &[SocketAddr]) {
    let _ = write!(
        text,
        "frontend {name}\n{bind}{options}  default_backend {name}_replicas\n\
         backend {name}_replicas\n{options}  balance leastconn\n"
    );
    for (number, backend) in backends.iter().enumerate() {
        let _ = writeln!(text, "  server r{number} {backend} pool-max-conn -1");
    }
}

/// Reads `HAProxy version 2.6.12-1 2023/12/16 - …`.
fn has_shards(version: &str) -> bool {
    let number = version.split("version ").nth(1).unwrap_or_default();
    let mut parts = number
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= SHARDS_SINCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_have_no_shards() {
        assert!(has_shards(
            "HAProxy version 2.6.12-1+deb12u4 2026/01/01 - https://haproxy.org/"
        ));
        assert!(has_shards("HAProxy version 3.0.1 2024/06/10"));
        assert!(!has_shards("HA-Proxy version 2.2.9-2+deb11u6 2023/12/16"));
        assert!(!has_shards(""));
    }
}
