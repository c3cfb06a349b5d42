//! How far a replica is, as its agent writes it.

use std::io;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use plan::observation::Phase;
use plan::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ReplicaDir, write_atomically};

/// The contents of `state.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentState {
    /// How far it is. Never `Absent`.
    pub phase: Phase,
    /// Where the app answers, once its network is there.
    pub endpoint: Option<SocketAddr>,
    /// Which network it got and why, as a sentence.
    pub network: Option<String>,
    /// Since when none of its processes is left, after a clean exit of `run`.
    pub idle_since: Option<Timestamp>,
    /// The boot of the machine it belongs to.
    pub boot_id: String,
}

impl AgentState {
    /// The first state.
    pub(crate) fn starting(detail: &str) -> Self {
        Self {
            phase: Phase::Provisioning {
                detail: Some(detail.to_owned()),
            },
            endpoint: None,
            network: None,
            idle_since: None,
            boot_id: boot_id(),
        }
    }

    /// Reads `state.json`; `None` where there is none.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read(dir: &ReplicaDir) -> io::Result<Option<Self>> {
        let text = match std::fs::read(dir.state()) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(io::Error::other)
    }

    /// Writes `state.json` in one step.
    ///
    /// # Errors
    /// Whatever the file system says; the old state then still stands.
    pub fn write(&self, dir: &ReplicaDir) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        write_atomically(&dir.state(), &text, false)
    }

    /// Whether nothing follows this state.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self.phase, Phase::Exited(_) | Phase::Lost { .. })
    }
}

/// Names the current boot of the machine; empty where the kernel does not tell.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// The time of the machine's clock.
#[must_use]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}
