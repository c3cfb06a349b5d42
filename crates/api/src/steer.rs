//! Steering an update, on the wire.

use serde::{Deserialize, Serialize};

/// `POST /v1/services/NAME/pause`, `…/resume`, `…/promote` and `…/abort`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SteerRequest {
    /// Name of the user who asks, for the history.
    #[serde(default)]
    pub requested_by: Option<String>,
}

/// `POST /v1/services/NAME/rollback`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RollbackRequest {
    /// To which version; `None`: to the one that was good before the desired one.
    #[serde(default)]
    pub to: Option<u32>,
    /// Name of the user who asks, for the history.
    #[serde(default)]
    pub requested_by: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Steered {
    /// Name of the service.
    pub name: String,
    /// Whether anything was changed; if not, things already were as asked for.
    pub changed: bool,
    /// A sentence for the person.
    pub message: String,
    /// The version that the service is being brought to from now on.
    pub desired_version: u32,
}
