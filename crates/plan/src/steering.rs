//! What a user may do with an update under way, and what there is to say to it. Asking twice changes
//! nothing the second time, and the answer says so.

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::state::{ServicePhase, ServiceState};

/// What comes of steering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it changes anything; if not, things already were as asked for.
    pub changed: bool,
    /// A sentence for the person.
    pub message: String,
}

/// What a step with this `Steer` or `Rollback` would come to.
///
/// # Errors
/// A sentence for the person: it cannot be done, and the step would change nothing.
pub fn answer(state: &ServiceState, event: &Event) -> Result<Answer, String> {
    if state.phase != ServicePhase::Running {
        return Err(format!("Service '{}' is shutting down.", state.name));
    }
    let _ = event;
    Err("This cannot be done yet.".to_owned())
}
