//! What the parts of one step share: the state being changed, and what the step will owe.

use crate::action::Action;
use crate::happening::{Happening, HappeningKind};
use crate::report;
use crate::routing::{Generation, ReplicaId, Version};
use crate::state::{ServiceState, VersionState};
use crate::status::ReplicaStatus;
use crate::step::Step;
use crate::time::Timestamp;

pub(crate) struct Context {
    pub(crate) state: ServiceState,
    pub(crate) now: Timestamp,
    pub(crate) actions: Vec<Action>,
    /// Make a new routing table even if nothing in it changes.
    pub(crate) reroute: bool,
    happenings: Vec<Happening>,
}

impl Context {
    pub(crate) fn new(state: ServiceState, now: Timestamp) -> Self {
        Self {
            state,
            now,
            actions: Vec::new(),
            reroute: false,
            happenings: Vec::new(),
        }
    }

    pub(crate) fn into_step(mut self) -> Step {
        self.say_how_it_ended();
        Step {
            state: self.state,
            actions: self.actions,
            happenings: self.happenings,
        }
    }

    /// How a rollout ended is told in the words of the status.
    fn say_how_it_ended(&mut self) {
        let Some(rollout) = &self.state.rollout else {
            return;
        };
        let ends = |happening: &&mut Happening| {
            happening.version == Some(rollout.version)
                && matches!(
                    happening.kind,
                    HappeningKind::RolloutSucceeded
                        | HappeningKind::RolloutFailed
                        | HappeningKind::RolloutAborted
                )
        };
        for happening in self.happenings.iter_mut().filter(ends) {
            happening.message = report::rollout_sentence(&self.state, rollout, self.now);
        }
    }

    pub(crate) fn tell(
        &mut self,
        kind: HappeningKind,
        replica: Option<ReplicaId>,
        version: Option<Version>,
        message: String,
    ) {
        self.happenings.push(Happening {
            kind,
            replica,
            version,
            message,
        });
    }

    /// Changes a replica's status as far as the table of transitions allows, and tells it. Says
    /// whether it did.
    pub(crate) fn set_status(
        &mut self,
        id: ReplicaId,
        status: ReplicaStatus,
        reason: Option<&str>,
    ) -> bool {
        let Some(replica) = self.state.replicas.get_mut(&id) else {
            return false;
        };
        if !replica.become_status(status) {
            return false;
        }
        if let Some(reason) = reason {
            replica.reason = Some(reason.to_owned());
        }
        let version = replica.version;
        let because = reason
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        let message = format!("replica {id} is {status}{because}");
        self.tell(
            HappeningKind::ReplicaStatus,
            Some(id),
            Some(version),
            message,
        );
        true
    }

    /// Another controller's table of that generation is in force: ours must be newer.
    pub(crate) fn outrun(&mut self, generation: Generation) {
        if let Some(table) = &mut self.state.table {
            table.generation = generation;
            self.reroute = true;
        }
    }

    pub(crate) fn version_mut(&mut self, version: Version) -> Option<&mut VersionState> {
        self.state.versions.get_mut(&version)
    }

    /// Ids of live replicas for which `wanted` holds, ascending.
    pub(crate) fn live_where(&self, wanted: impl Fn(&crate::Replica) -> bool) -> Vec<ReplicaId> {
        let replicas = self.state.replicas.values();
        replicas
            .filter(|replica| replica.is_live() && wanted(replica))
            .map(|r| r.id)
            .collect()
    }
}
