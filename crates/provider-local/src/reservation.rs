//! What a replica has for itself alone: GPUs, a port of the machine, and the mount points made for
//! it.

use std::path::{Path, PathBuf};

use agent::ReplicaDir;
use serde::{Deserialize, Serialize};
use spec::ResourceCandidate;

use provider::ProviderError;

use crate::layout::Layout;
use crate::resources::{gpus_asked, no_capacity};
use crate::{Gpu, failed, port};

/// The contents of `reservation.json`; the reservation ends with the replica's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reservation {
    /// GPUs, by index.
    pub(crate) gpus: Vec<u32>,
    /// The port it gets in the machine's network; 0 if none could be found.
    pub(crate) shared_port: u16,
    /// Paths of the machine that were made only to mount something on them, deepest first.
    pub(crate) mount_points: Vec<PathBuf>,
}

impl Reservation {
    /// Reads a replica's reservation; none where there is no folder or it was cut off while being
    /// made.
    pub(crate) fn read(dir: &ReplicaDir) -> Self {
        std::fs::read(dir.reservation())
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }

    /// Writes it down.
    pub(crate) fn write(&self, dir: &ReplicaDir) -> std::io::Result<()> {
        let text = serde_json::to_vec(self).map_err(std::io::Error::other)?;
        agent::write_atomically(&dir.reservation(), &text, true)
    }

    /// What all replicas but `own` have.
    pub(crate) fn others(layout: &Layout, own: &ReplicaDir) -> Result<Vec<Self>, ProviderError> {
        let mut others = Vec::new();
        for key in layout.keys()? {
            let dir = layout.place(&key)?.dir;
            if dir != *own {
                others.push(Self::read(&dir));
            }
        }
        Ok(others)
    }
}

/// What a replica is to be given.
pub(crate) struct Wish<'a> {
    pub(crate) resources: &'a ResourceCandidate,
    pub(crate) gpus: &'a [Gpu],
    pub(crate) port: u16,
    pub(crate) destinations: &'a [PathBuf],
}

/// Reserves for the replica in `dir` what no other has. To be called by one thread at a time.
pub(crate) fn reserve(
    layout: &Layout,
    dir: &ReplicaDir,
    wish: &Wish<'_>,
) -> Result<Reservation, ProviderError> {
    let others = Reservation::others(layout, dir)?;
    let taken: Vec<u32> = others
        .iter()
        .flat_map(|other| other.gpus.iter().copied())
        .collect();
    let ports: Vec<u16> = others.iter().map(|other| other.shared_port).collect();
    let made: Vec<&PathBuf> = others
        .iter()
        .flat_map(|other| &other.mount_points)
        .collect();
    let mut mount_points: Vec<PathBuf> = wish
        .destinations
        .iter()
        .flat_map(|destination| destination.ancestors())
        // One that another replica made is ours too: whoever ends last removes it.
        .filter(|path| !path.exists() || made.iter().any(|made| *made == path))
        .map(Path::to_owned)
        .collect();
    mount_points.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    mount_points.dedup();
    let reservation = Reservation {
        gpus: choose_gpus(wish.resources, wish.gpus, &taken)?,
        shared_port: port::choose(wish.port, dir.root(), &ports),
        mount_points,
    };
    reservation
        .write(dir)
        .map_err(|error| failed("write the reservation", &error))?;
    Ok(reservation)
}

/// Chooses free GPUs of the name asked for.
fn choose_gpus(
    resources: &ResourceCandidate,
    gpus: &[Gpu],
    taken: &[u32],
) -> Result<Vec<u32>, ProviderError> {
    let Some((name, count)) = gpus_asked(resources) else {
        return Ok(Vec::new());
    };
    let fitting: Vec<u32> = gpus
        .iter()
        .filter(|gpu| is_called(gpu, name))
        .map(|gpu| gpu.index)
        .collect();
    let free: Vec<u32> = fitting
        .iter()
        .copied()
        .filter(|gpu| !taken.contains(gpu))
        .collect();
    if free.len() < count {
        return Err(no_capacity(format!(
            "`accelerators: {name}:{count}` is asked for; this machine has {} {name} GPUs, \
             {} of them free",
            fitting.len(),
            free.len()
        )));
    }
    Ok(free.into_iter().take(count).collect())
}

/// Whether the GPU goes by the name SkyPilot has for it: `A100` for `NVIDIA A100-SXM4-40GB`,
/// `A100-80GB` for `NVIDIA A100-SXM4-80GB`. One whose name is not known goes by any.
fn is_called(gpu: &Gpu, name: &str) -> bool {
    let Some(full) = &gpu.name else { return true };
    let words = |text: &str| -> Vec<String> {
        let text = text.to_ascii_uppercase();
        text.split([' ', '-', '_'])
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let full = words(full);
    words(name).iter().all(|word| full.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_known_by_skypilots_names() {
        let gpu = |name: &str| Gpu {
            index: 0,
            name: Some(name.to_owned()),
        };
        assert!(is_called(&gpu("NVIDIA A100-SXM4-80GB"), "A100"));
        assert!(is_called(&gpu("NVIDIA A100-SXM4-80GB"), "A100-80GB"));
        assert!(!is_called(&gpu("NVIDIA A100-SXM4-40GB"), "A100-80GB"));
        assert!(!is_called(&gpu("NVIDIA A10"), "A100"));
        assert!(is_called(&gpu("Tesla T4"), "t4"));
        assert!(is_called(
            &Gpu {
                index: 0,
                name: None
            },
            "H100"
        ));
    }
}
