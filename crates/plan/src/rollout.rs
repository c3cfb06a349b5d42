//! Rollouts: how replicas of one version give way to those of the next.
//!
//! Problem: bring every replica to the desired version while serving capacity never falls below
//! what it was meant to be, whatever the new version does.
//!
//! Words. *Target* T: what the autoscaler wants now. *New* and *old*: live replicas of the desired
//! version and of any other. *Available*: READY without a break for `min_healthy_seconds`. *Floor*:
//! T, but no more than the trusted version's own limits allow (an update from 2 to 3 replicas owes
//! no third old one).
//!
//! Rules.
//! 1. New replicas are launched up to T, unless the version has failed or its back-off says to
//!    wait.
//! 2. Rolling: traffic goes to old and new. Whenever available new + live old exceeds T, surplus
//!    old drain: those not READY first, then the lowest version.
//! 3. Blue-green: traffic stays on old until T new are available; then one table flips it wholly to
//!    new, and old drain. Only when no old replica answers any more (one failed probe is not
//!    enough) does traffic flip early, to what is ready. What failed after an early flip is undone
//!    the same way: whole, not before T of the trusted version are available.
//! 4. If, during an update, available new + live old falls below the floor, the difference is
//!    launched of the *trusted* version. A new replica that was available and fails a probe is no
//!    loss yet. In blue-green the trusted version is not mixed into traffic it has left: the newest
//!    version that serves is repaired instead.
//! 5. A version fails when a replica of it fails by its own fault before any was available, when
//!    too many fail later on, or when its replicas got no further than before for the progress
//!    deadline. Machines that are lost never count. A failed version is launched no more; its
//!    replicas that are not READY end at once; the trusted version is desired again, and rule 2
//!    takes the rest back. What only changes the number of a trusted version's replicas cannot fail
//!    it. Where none is trusted, an earlier version that serves after all is gone back to.
//! 6. Limits: launches leave room for `max_surge` beyond the target, drains leave all but
//!    `max_unavailable` of it (and so does the floor). Where there is not room for all of both
//!    versions, a replica on its way out takes up room until it is gone. `max_surge: auto` finds out
//!    what room there is (`room.rs`).
//! 7. Canary: traffic moves in steps (`canary.rs`), the old version keeps its replicas meanwhile. In
//!    place: replicas are drained and restarted where they are (`restart.rs`).
//! 8. Steering (`steer.rs`). Paused: nothing of the update changes, no clock of it runs, and nothing
//!    is judged; the trusted version is repaired and scaled. Promoted: no more waits. Aborted: as if
//!    the version had failed. With `auto_rollback: false` a failed update stands still like a paused
//!    one until it is aborted or another takes its place.
//! 9. Undo: after all traffic has moved at once, the version before stands by for the undo window
//!    (`warm.rs`). Going back makes an earlier version the desired and trusted one under its own
//!    number; the one left is given up and never served again unless asked for by name.
//! 10. An update during an update supersedes it: replicas of the superseded version that serve stay
//!     until they are replaced; the others end at once.
//!
//! Cold start: the first version has no rollout; it becomes trusted once T of it are available.
//! Recovery: all of this is state, so a restart resumes where it was; deadlines that condemn do not
//! run while nobody looks.

mod blue_green;
pub(crate) mod canary;
mod converge;
mod failure;
mod limits;
pub(crate) mod restart;
mod rolling;
mod room;
mod steer;
mod update;
mod warm;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::routing::{ReplicaId, Version};
use crate::time::Timestamp;

pub use canary::CanaryProgress;
pub(crate) use converge::{converge, end_replica};
pub(crate) use failure::{deadline, own_fault, progress_deadline};
pub use restart::Restart;
pub(crate) use room::launch_failed;
pub(crate) use steer::{roll_back, steer};
pub(crate) use update::{adoption_probed, update};
pub use warm::Warm;

pub use spec::UpdateMode;

/// One update of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// The version it brings.
    pub version: Version,
    /// How.
    pub mode: UpdateMode,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// When its replicas last got further than ever; the progress deadline counts from here.
    pub progress_at: Timestamp,
    /// The furthest the version's replicas were at one time, all together. Only going beyond it is
    /// progress: launching again what failed is not.
    #[serde(default)]
    pub furthest: u32,
    /// The most replicas of the version that were available at one time.
    pub most_available: u32,
    /// Failures by the version's own fault after it had been available.
    pub late_failures: u32,
    /// Replicas that are what the version asks for, but must pass its new readiness probe before
    /// they take its number; with the failed probes in a row.
    pub adopting: BTreeMap<ReplicaId, u32>,
    /// The version that was good before it.
    #[serde(default)]
    pub from: Option<Version>,
    /// Since when the user has it stand still.
    #[serde(default)]
    pub paused_at: Option<Timestamp>,
    /// The user has it wait no longer: its replicas count as soon as they are ready.
    #[serde(default)]
    pub hurried: bool,
    /// With `max_surge: auto`: there is not room for all of both versions.
    #[serde(default)]
    pub no_room: Option<NoRoom>,
    /// In a canary: how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryProgress>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// What was found out about the room for replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoRoom {
    /// Replicas beyond the target that there is room for.
    pub surge: u32,
    /// What was seen, for a person.
    pub seen: String,
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// Every replica is of the new version.
    Succeeded {
        /// When.
        at: Timestamp,
    },
    /// The version failed; the trusted one is desired again, if there is one.
    Failed {
        /// When.
        at: Timestamp,
        /// A sentence for the person.
        reason: String,
        /// The version that serves on; it is the desired one from then on.
        back_to: Option<Version>,
        /// Nothing is undone (`auto_rollback: false`): what serves stays, of both versions.
        #[serde(default)]
        stays: bool,
    },
    /// The user called it off.
    Aborted {
        /// When.
        at: Timestamp,
        /// The version that serves on; it is the desired one from then on.
        back_to: Version,
    },
    /// A later update took its place.
    Superseded {
        /// When.
        at: Timestamp,
        /// By which version.
        by: Version,
    },
}

impl Rollout {
    /// A rollout that begins now.
    #[must_use]
    pub fn new(version: Version, mode: UpdateMode, from: Option<Version>, now: Timestamp) -> Self {
        Self {
            version,
            mode,
            started_at: now,
            progress_at: now,
            furthest: 0,
            most_available: 0,
            late_failures: 0,
            adopting: BTreeMap::new(),
            from,
            paused_at: None,
            hurried: false,
            no_room: None,
            canary: (mode == UpdateMode::Canary).then(CanaryProgress::default),
            outcome: None,
        }
    }

    /// Whether it has failed and is to stay as it is.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Failed { stays: true, .. }))
    }

    /// Whether what it brought is being taken back, or was.
    #[must_use]
    pub fn is_undone(&self) -> bool {
        match self.outcome {
            Some(Outcome::Failed { stays, .. }) => !stays,
            Some(Outcome::Aborted { .. }) => true,
            _ => false,
        }
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_in_progress(&self) -> bool {
        self.outcome.is_none()
    }
}
