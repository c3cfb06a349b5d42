//! What stands at the head of the report: where and with what was measured.

use std::fs;

use crate::peer::{PeerKind, before};
use crate::wrk::version;

/// The machine and the programs.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    /// Of the peers that are measured.
    pub(crate) peers: Vec<String>,
    /// Who makes the load.
    pub(crate) generator: String,
}

impl Machine {
    pub(crate) fn describe(peers: &[PeerKind], wrk: bool) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = rustix::system::uname();
        let name = kernel.sysname().to_string_lossy();
        let wrk = if wrk {
            version("wrk", "--version")
        } else {
            None
        };
        Self {
            processor: field(&cpuinfo, "model name")
                .unwrap_or("unknown")
                .to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_gib(&meminfo),
            kernel: format!("{name} {}", kernel.release().to_string_lossy()),
            peers: peers.iter().filter_map(|peer| peer.version()).collect(),
            generator: match wrk {
                Some(line) => before(&line, " Copyright"),
                None => "the project's own".to_owned(),
            },
        }
    }
}

/// The value of the first line `NAME : VALUE`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines.filter(|(key, _)| key.trim() == name);
    values.next().map(|(_, value)| value.trim())
}

fn memory_gib(meminfo: &str) -> f64 {
    let total = field(meminfo, "MemTotal").unwrap_or_default();
    let kib: f64 = total.trim_end_matches(" kB").parse().unwrap_or(0.0);
    kib / 1024.0 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 85\nmodel name\t: Some Processor @ 2.0GHz\nmodel name\t: Other\n";
        assert_eq!(field(text, "model name"), Some("Some Processor @ 2.0GHz"));
        assert_eq!(field(text, "cores"), None);
        assert!((memory_gib("MemTotal:       2097152 kB\n") - 2.0).abs() < 1e-9);
        assert!(memory_gib("").abs() < 1e-9);
    }
}
