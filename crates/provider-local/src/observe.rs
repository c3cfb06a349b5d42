//! What is known of a replica now: its last state, and whether its agent lives.

use agent::{AgentState, ReplicaDir, StopRequest, boot_id, holder};
use plan::observation::{Observation, Phase};
use provider::{LaunchRequest, ProviderError, ReplicaKey};
use serde::{Deserialize, Serialize};

use crate::{Inner, failed, locked, resources};

/// The INFRA column.
const INFRA: &str = "Local";

/// Name of the file that keeps the RESOURCES columns.
const COLUMNS_FILE: &str = "columns.json";

/// The RESOURCES columns of a replica, kept so that observing needs no secrets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Columns {
    short: String,
    full: String,
}

impl Columns {
    /// The columns for what was asked for.
    pub(crate) fn of(request: &LaunchRequest) -> Self {
        let resources = &request.resources;
        Self {
            short: resources::short(resources),
            full: resources::full(resources),
        }
    }

    /// Writes them into the replica's folder.
    pub(crate) fn write(&self, dir: &ReplicaDir) -> std::io::Result<()> {
        let text = serde_json::to_vec(self).map_err(std::io::Error::other)?;
        agent::write_atomically(&dir.root().join(COLUMNS_FILE), &text, false)
    }

    fn read(dir: &ReplicaDir) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(dir.root().join(COLUMNS_FILE)).ok()?).ok()
    }
}

impl Inner {
    pub(crate) fn observe(&self, key: &ReplicaKey) -> Result<Observation, ProviderError> {
        let dir = self.layout.place(key)?.dir;
        let state = self.current_state(key, &dir)?;
        let columns = Columns::read(&dir);
        let known = state.phase != Phase::Absent;
        Ok(Observation {
            phase: state.phase,
            endpoint: state.endpoint,
            infra: known.then(|| INFRA.to_owned()),
            resources: columns
                .as_ref()
                .map(|columns| columns.short.clone())
                .filter(|_| known),
            resources_full: columns.map(|columns| columns.full).filter(|_| known),
        })
    }

    /// The state that the agent wrote last, or what its silence means.
    fn current_state(
        &self,
        key: &ReplicaKey,
        dir: &ReplicaDir,
    ) -> Result<AgentState, ProviderError> {
        let without_agent = |phase| AgentState {
            phase,
            endpoint: None,
            network: None,
            idle_since: None,
            boot_id: String::new(),
        };
        // Asked first: an agent that ends between the two questions has written its last state by
        // the second.
        let alive = holder(dir)
            .map_err(|error| failed("ask for the agent's lock", &error))?
            .is_some();
        let state =
            AgentState::read(dir).map_err(|error| failed("read a replica's state", &error))?;
        let Some(state) = state else {
            let launching = alive || locked(&self.launching).contains(key);
            let detail = Some("copying files".to_owned());
            return Ok(without_agent(if launching {
                Phase::Provisioning { detail }
            } else {
                Phase::Absent
            }));
        };
        // One that was told to stop is on its way out, not lost.
        if alive || state.is_final() || StopRequest::read(dir).is_some() {
            return Ok(state);
        }
        let reason = if state.boot_id == boot_id() {
            "its agent was killed from outside"
        } else {
            "the machine was restarted"
        };
        Ok(without_agent(Phase::Lost {
            reason: reason.to_owned(),
        }))
    }
}
