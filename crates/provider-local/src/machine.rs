//! What this machine has.

use std::path::Path;
use std::process::{Command, Stdio};

/// KiB in a GiB.
const KIB_PER_GIB: f64 = 1024.0 * 1024.0;

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its number, as in `CUDA_VISIBLE_DEVICES`.
    pub index: u32,
    /// Its name, if the driver tells: `NVIDIA A100-SXM4-80GB`.
    pub name: Option<String>,
}

/// What replicas can be given.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Logical processors that this process may use.
    pub cpus: usize,
    /// Memory, in GiB.
    pub memory_gib: f64,
    /// GPUs.
    pub gpus: Vec<Gpu>,
}

impl Machine {
    /// Looks at the machine. What cannot be found out is taken as absent.
    #[must_use]
    pub fn detect() -> Self {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: total_memory_gib(&meminfo).unwrap_or(0.0),
            gpus: detect_gpus(),
        }
    }
}

/// Whether this process may make namespaces: CAP_SYS_ADMIN, which root in a plain container lacks.
pub(crate) fn may_make_namespaces() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| has_sys_admin(&status))
}

/// Whether CAP_SYS_ADMIN (bit 21) is among the effective capabilities of `/proc/<pid>/status`.
fn has_sys_admin(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .is_some_and(|capabilities| capabilities >> 21 & 1 == 1)
}

/// `MemTotal` of `/proc/meminfo`, in GiB.
fn total_memory_gib(meminfo: &str) -> Option<f64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / KIB_PER_GIB)
}

/// Asks the driver's tool; where it is missing, counts the device files.
fn detect_gpus() -> Vec<Gpu> {
    let devices = device_files(Path::new("/dev"));
    if devices.is_empty() {
        return devices;
    }
    let answer = Command::new("nvidia-smi")
        .args(["--query-gpu=index,name", "--format=csv,noheader"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match answer {
        Ok(answer) if answer.status.success() => {
            parse_nvidia_smi(&String::from_utf8_lossy(&answer.stdout))
        }
        _ => devices,
    }
}

/// `0, NVIDIA A100-SXM4-80GB`, a line a GPU.
fn parse_nvidia_smi(text: &str) -> Vec<Gpu> {
    text.lines()
        .filter_map(|line| {
            let (index, name) = line.split_once(',')?;
            Some(Gpu {
                index: index.trim().parse().ok()?,
                name: Some(name.trim().to_owned()),
            })
        })
        .collect()
}

/// `nvidia0`, `nvidia1`, … in a folder.
fn device_files(folder: &Path) -> Vec<Gpu> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut gpus: Vec<Gpu> = entries
        .flatten()
        .filter_map(|entry| {
            let index = entry
                .file_name()
                .to_str()?
                .strip_prefix("nvidia")?
                .parse()
                .ok()?;
            Some(Gpu { index, name: None })
        })
        .collect();
    gpus.sort_by_key(|gpu| gpu.index);
    gpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_and_the_driver_say() {
        let meminfo = "MemTotal:       16384000 kB\nMemFree: 1 kB\n";
        assert!((total_memory_gib(meminfo).unwrap() - 15.625).abs() < 1e-9);
        assert_eq!(total_memory_gib("MemTotal: x kB"), None);
        let gpus = parse_nvidia_smi("0, NVIDIA A100-SXM4-80GB\n1, Tesla T4\nnonsense\n");
        assert_eq!(gpus.len(), 2);
        assert_eq!(
            gpus[1],
            Gpu {
                index: 1,
                name: Some("Tesla T4".into())
            }
        );
    }

    #[test]
    fn reads_capabilities() {
        assert!(has_sys_admin("Name:\tsky\nCapEff:\t000001ffffffffff\n"));
        assert!(
            !has_sys_admin("CapEff:\t00000000a80425fb\n"),
            "root in a container"
        );
        assert!(!has_sys_admin("CapEff: x") && !has_sys_admin(""));
    }

    #[test]
    fn counts_device_files() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["nvidia1", "nvidia0", "nvidiactl", "nvidia-uvm", "null"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let indexes: Vec<u32> = device_files(folder.path())
            .iter()
            .map(|gpu| gpu.index)
            .collect();
        assert_eq!(indexes, [0, 1]);
    }
}
