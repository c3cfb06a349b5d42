//! Steering updates.

use super::{Client, ClientError, service_path};
use crate::steer::{RollbackRequest, SteerRequest, Steered};

/// What may be done with an update under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SteerAction {
    /// Change nothing more; what is good is repaired and scaled meanwhile.
    Pause,
    /// Go on.
    Resume,
    /// Wait no longer.
    Promote,
    /// Back to what was good before.
    Abort,
}

impl SteerAction {
    /// The last segment of its path.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Abort => "abort",
        }
    }
}

impl Client {
    /// `POST /v1/services/NAME/pause`, `…/resume`, `…/promote` or `…/abort`. Asking for what is so already is no error.
    ///
    /// # Errors
    /// [`ClientError`]; a conflict where it makes no sense: there is no update to abort, say.
    pub async fn steer(
        &self,
        name: &str,
        action: SteerAction,
        request: &SteerRequest,
    ) -> Result<Steered, ClientError> {
        let path = format!("{}/{}", service_path(name), action.as_str());
        self.post(path, request, self.timeout).await
    }

    /// `POST /v1/services/NAME/rollback`: makes an earlier version the desired one again, under its own number.
    ///
    /// # Errors
    /// [`ClientError`]; not found when there is no such service or version.
    pub async fn rollback(
        &self,
        name: &str,
        request: &RollbackRequest,
    ) -> Result<Steered, ClientError> {
        let path = format!("{}/rollback", service_path(name));
        self.post(path, request, self.timeout).await
    }
}
