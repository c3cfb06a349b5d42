//! `update.verify`: a new replica that passes its readiness probe must also satisfy a command before
//! it counts as ready, and so before it gets traffic. The command runs once per replica; what it
//! says is the replica's own doing.

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::context::Context;
use crate::happening::HappeningKind;
use crate::replica::Replica;
use crate::routing::{ReplicaId, Version};
use crate::status::ReplicaStatus;
use crate::{ending, lifecycle, rollout};

/// How far the verification of a replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// Not begun; nor needed, perhaps.
    #[default]
    None,
    /// The command runs.
    Running,
    /// It was satisfied.
    Passed,
}

impl Verification {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Whether a replica that passes its probe is not ready yet all the same. Asks for the command where
/// that has not been done.
pub(crate) fn holds_back(context: &mut Context, id: ReplicaId) -> bool {
    let state = &context.state;
    let Some(replica) = state.replicas.get(&id) else {
        return false;
    };
    let (number, was_ready) = (replica.version, replica.first_ready_at.is_some());
    let version = state.version(number);
    let is_asked = version.is_some_and(|version| version.settings.verify.is_some());
    if was_ready || !is_asked || replica.verification == Verification::Passed {
        return false;
    }
    if replica.verification == Verification::None {
        note(context, id, Verification::Running);
        context.actions.push(Action::Verify {
            replica: id,
            version: number,
        });
        let message = format!("replica {id} answers and is verified");
        context.tell(
            HappeningKind::ReplicaVerified,
            Some(id),
            Some(number),
            message,
        );
    }
    true
}

/// The command has ended.
pub(crate) fn verified(
    context: &mut Context,
    id: ReplicaId,
    version: Version,
    failure: Option<&str>,
) {
    let is_awaited = |replica: &&Replica| {
        replica.verification == Verification::Running && replica.status == ReplicaStatus::Starting
    };
    let Some(replica) = context.state.replicas.get(&id).filter(is_awaited) else {
        return;
    };
    if replica.version != version {
        // It counts for another version by now, whose command is another.
        return note(context, id, Verification::None);
    }
    let Some(failure) = failure.filter(|_| !bug!(IgnoresVerify)) else {
        note(context, id, Verification::Passed);
        return lifecycle::passed(context, id);
    };
    let reason = format!("did not satisfy `verify`: {failure}");
    if context.set_status(id, ReplicaStatus::Failed, Some(&reason)) {
        ending::begin_now(context, id);
        rollout::own_fault(context, id);
    }
}

fn note(context: &mut Context, id: ReplicaId, verification: Verification) {
    if let Some(replica) = context.state.replicas.get_mut(&id) {
        replica.verification = verification;
    }
}
