//! Terminating: the agent is told to stop; then whatever may be left is looked for by the replica's
//! key and removed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent::{ReplicaDir, StopRequest, holder, network, processes};
use plan::observation::ErrorClass;
use provider::{ProviderError, ReplicaKey};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::reservation::Reservation;
use crate::{Inner, failed, files, locked};

/// How long an agent may take beyond the grace period before it is killed itself. It has its own
/// patience with what does not die, which must run out first.
const AGENT_PATIENCE: Duration = Duration::from_secs(30);

/// How long processes may take to die by KILL.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two looks at the agent's lock.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

impl Inner {
    /// Writes the order to stop, if there is a replica that could obey it.
    pub(crate) fn request_stop(
        &self,
        key: &ReplicaKey,
        grace_seconds: f64,
    ) -> Result<(), ProviderError> {
        let dir = self.layout.place(key)?.dir;
        match (StopRequest { grace_seconds }).write(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("write the order to stop", &error))
            }
            _ => Ok(()),
        }
    }

    /// Ends a replica and removes all of it but its log. Needs no agent to be alive.
    pub(crate) fn terminate(
        &self,
        key: &ReplicaKey,
        grace_seconds: f64,
    ) -> Result<(), ProviderError> {
        let dir = self.layout.place(key)?.dir;
        if !dir.root().exists() {
            return Ok(());
        }
        self.request_stop(key, grace_seconds)?;
        let grace = StopRequest { grace_seconds }.grace();
        let deadline = Instant::now() + grace;
        end_agent(&dir, deadline + AGENT_PATIENCE)?;
        let name = key.to_string();
        let rest = deadline.saturating_duration_since(Instant::now());
        let left = processes::end(|| processes::marked(&name), rest, KILL_PATIENCE);
        if !left.is_empty() {
            let left: Vec<String> = left.iter().map(ToString::to_string).collect();
            return Err(ProviderError::new(
                ErrorClass::Transient,
                format!(
                    "these processes of the replica do not end: {}",
                    left.join(", ")
                ),
            ));
        }
        network::remove(&name).map_err(|error| {
            ProviderError::new(ErrorClass::Transient, format!("a network is left: {error}"))
        })?;
        self.remove_folder(&dir)?;
        self.watch.announce(key);
        Ok(())
    }

    /// Frees what was reserved, and removes the folder, last of all.
    fn remove_folder(&self, dir: &ReplicaDir) -> Result<(), ProviderError> {
        let what = format!("remove {}", dir.root().display());
        let _reserving = locked(&self.reserving);
        let others = Reservation::others(&self.layout, dir)?;
        let needed: Vec<PathBuf> = others
            .into_iter()
            .flat_map(|other| other.mount_points)
            .collect();
        for path in Reservation::read(dir).mount_points {
            // What is not empty was put to another use.
            if !needed.contains(&path)
                && std::fs::remove_dir(&path).is_err()
                && is_empty_file(&path)
            {
                std::fs::remove_file(&path).map_err(|error| failed(&what, &error))?;
            }
        }
        files::remove(dir.root()).map_err(|error| failed(&what, &error))?;
        if let Some(service) = dir.root().parent() {
            // Goes with its last replica.
            let _ = std::fs::remove_dir(service);
        }
        Ok(())
    }
}

fn is_empty_file(path: &std::path::Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
}

/// Waits until the agent has ended; kills it at the deadline.
fn end_agent(dir: &ReplicaDir, deadline: Instant) -> Result<(), ProviderError> {
    while let Some(pid) = holder(dir).map_err(|error| failed("ask for the agent's lock", &error))? {
        if Instant::now() >= deadline {
            kill_agent(dir, pid);
        }
        if Instant::now() >= deadline + KILL_PATIENCE {
            let message = format!("the replica's agent (process {pid}) does not end");
            return Err(ProviderError::new(ErrorClass::Transient, message));
        }
        std::thread::sleep(LOOK_PAUSE);
    }
    Ok(())
}

/// Kills the agent. That the lock is still held after its process was taken hold of shows that it
/// is the agent.
fn kill_agent(dir: &ReplicaDir, pid: Pid) {
    if let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
        && holder(dir).is_ok_and(|holder| holder == Some(pid))
    {
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
}
