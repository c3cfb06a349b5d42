//! A user steers an update: the planner says what there is to say to it, and does it.

use plan::routing::Version;
use plan::steering::{self, Answer};
use plan::{Event, Steering};

use crate::actor::{Actor, Message};
use crate::controller::{Controller, ControllerError};

impl Controller {
    /// Pauses, resumes, promotes or aborts the update in progress. Idempotent; the answer says whether anything
    /// changed.
    ///
    /// # Errors
    /// No such service, it cannot be done (`Conflict`, with a sentence), or the store cannot be written.
    pub async fn steer(&self, name: &str, what: Steering) -> Result<Answer, ControllerError> {
        let event = Event::Steer { what };
        self.ask(name, |reply| Message::Steer { event, reply })
            .await?
    }

    /// Makes an earlier version the desired one again, under its own number; `None` is the one before.
    ///
    /// # Errors
    /// No such service, no such version (`Conflict`, with a sentence), or the store cannot be written.
    pub async fn rollback(
        &self,
        name: &str,
        to: Option<Version>,
    ) -> Result<Answer, ControllerError> {
        let event = Event::Rollback { to };
        self.ask(name, |reply| Message::Steer { event, reply })
            .await?
    }
}

impl Actor {
    pub(crate) async fn steer(&mut self, event: &Event) -> Result<Answer, ControllerError> {
        self.catch_up().await?;
        let answer = steering::answer(&self.state, event).map_err(ControllerError::Conflict)?;
        self.step(event, &[], None, None).await?;
        Ok(answer)
    }
}
