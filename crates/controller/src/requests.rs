//! What users ask of a service: each request is one step, or is refused and changes nothing.

use plan::Event;
use plan::routing::ReplicaId;
use plan::steering::Answer;

use crate::actor::Actor;
use crate::clock::now;
use crate::controller::{ControllerError, is_running};
use crate::new_version::{NewVersion, Updated};

impl Actor {
    pub(crate) async fn asked(&mut self, event: &Event) -> Result<(), ControllerError> {
        if let Event::TerminateReplica { replica, purge, .. } = event {
            self.may_terminate(*replica, *purge)?;
        }
        self.step(event, &[], None, None)
            .await
            .map_err(ControllerError::from)
    }

    pub(crate) async fn steer(
        &mut self,
        event: &Event,
        requested_by: Option<String>,
    ) -> Result<Answer, ControllerError> {
        self.catch_up().await?;
        let answer =
            plan::steering::answer(&self.state, event).map_err(ControllerError::Conflict)?;
        self.requested_by = requested_by;
        self.step(event, &[], None, None).await?;
        Ok(answer)
    }

    fn may_terminate(&self, id: ReplicaId, purge: bool) -> Result<(), ControllerError> {
        let name = &self.state.name;
        let Some(replica) = self.state.replicas.get(&id) else {
            return Err(ControllerError::NoSuchReplica {
                service: name.clone(),
                replica: id,
            });
        };
        if !is_running(&self.state) {
            return Err(ControllerError::Conflict(format!(
                "Service '{name}' is shutting down."
            )));
        }
        if replica.status.is_terminal() && !purge {
            return Err(ControllerError::Conflict(format!(
                "Replica {id} of service '{name}' is {} already; with --purge its record is removed.",
                replica.status
            )));
        }
        Ok(())
    }

    pub(crate) async fn update(&mut self, next: NewVersion) -> Result<Updated, ControllerError> {
        if !is_running(&self.state) {
            let name = &self.state.name;
            return Err(ControllerError::Conflict(format!(
                "Service '{name}' is shutting down and cannot be updated."
            )));
        }
        self.catch_up().await?;
        let number = self.state.newest() + 1;
        self.requested_by.clone_from(&next.requested_by);
        let (version, record) = next.numbered(number, now());
        let event = Event::Update {
            version: Box::new(version),
        };
        // A replica of it may speak before the step returns.
        self.masks.add(&record.task);
        self.step(&event, &[], Some(&record), None).await?;
        let live = self
            .state
            .replicas
            .values()
            .filter(|replica| replica.is_live());
        let reused = live.filter(|r| r.version == number && r.launched_version != number);
        let adopting = self
            .state
            .rollout
            .iter()
            .flat_map(|rollout| rollout.adopting.keys());
        let reused = reused
            .map(|replica| replica.id)
            .chain(adopting.copied())
            .collect();
        Ok(Updated {
            version: number,
            reused,
        })
    }
}
