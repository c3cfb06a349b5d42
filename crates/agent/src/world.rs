//! What was made for a replica before its first stage: its network, and its view of the file
//! system.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::{AgentError, Launch, ReplicaDir};

/// The world of a replica, as its stages need to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct World {
    /// Whether the replica has a network of its own.
    pub(crate) own_network: bool,
    /// The replica's address.
    pub(crate) address: IpAddr,
    /// The port it must listen on.
    pub(crate) port: u16,
    /// Why it is this network: a clause, without a full stop.
    pub(crate) reason: String,
}

impl World {
    /// The machine's network, because of `reason`.
    pub(crate) fn shared(launch: &Launch, reason: impl Into<String>) -> Self {
        Self {
            own_network: false,
            address: IpAddr::from([127, 0, 0, 1]),
            port: launch.shared_port,
            reason: reason.into(),
        }
    }

    /// Where the app answers.
    pub(crate) fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Which network the replica got and why, for its log and its state.
    pub(crate) fn sentence(&self) -> String {
        let Self {
            address,
            port,
            reason,
            ..
        } = self;
        if self.own_network {
            format!("network: its own, address {address}, PORT={port} ({reason})")
        } else {
            format!("network: shared with this machine, PORT={port} ({reason})")
        }
    }

    #[cfg(test)]
    pub(crate) fn test(address: IpAddr, port: u16) -> Self {
        Self {
            own_network: true,
            address,
            port,
            reason: "a test".to_owned(),
        }
    }
}

/// Moves the calling thread, and what it starts from now on, into new namespaces.
pub(crate) fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    #[expect(
        deprecated,
        reason = "unsafe_code is forbidden; the call is unsafe only with CLONE_FILES"
    )]
    rustix::thread::unshare(flags - UnshareFlags::FILES)
}

/// Gives the calling process its own view of the file system: a `/proc` of its PID namespace, the
/// absolute mounts, and the name servers. Nothing of it is seen outside.
pub(crate) fn make_mounts(launch: &Launch, dir: &ReplicaDir) -> Result<Vec<String>, AgentError> {
    unshare(UnshareFlags::NEWNS).map_err(AgentError::world("make a mount namespace"))?;
    // Mounts made on the machine later still show up here; ours never show up there.
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .map_err(AgentError::world("detach the mount namespace"))?;
    let mut notes = Vec::new();
    let proc_flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if let Err(error) = mount("proc", "/proc", "proc", proc_flags, None) {
        // Some containers forbid it; only tools such as `ps` are then wrong.
        notes.push(format!(
            "/proc shows the machine's processes: it could not be mounted ({error})"
        ));
    }
    for bind in &launch.binds {
        let what = format!("mount {}", bind.destination.display());
        make_mount_point(&bind.source, &bind.destination)
            .map_err(AgentError::file(what.clone()))?;
        mount_bind_recursive(&bind.source, &bind.destination).map_err(AgentError::world(what))?;
    }
    let resolv_conf = dir.resolv_conf();
    if resolv_conf.exists()
        && let Err(error) = mount_bind_recursive(&resolv_conf, "/etc/resolv.conf")
    {
        notes.push(format!(
            "names may not resolve: /etc/resolv.conf could not be replaced ({error})"
        ));
    }
    Ok(notes)
}

/// Makes what `source` can be mounted on, unless it is there.
fn make_mount_point(source: &Path, destination: &Path) -> io::Result<()> {
    if source.is_dir() {
        return std::fs::create_dir_all(destination);
    }
    if destination.exists() {
        return Ok(());
    }
    if let Some(parent) = destination.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::File::create_new(destination).map(drop)
}
