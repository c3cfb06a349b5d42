//! What updates may do: pauses, ends, and whom they blame.

use std::collections::BTreeSet;

use plan::happening::HappeningKind;
use plan::rollout::Outcome;
use plan::routing::{ReplicaId, Version};
use plan::status::ReplicaStatus;
use plan::{Event, Steering};

use super::{Checks, Taken};
use crate::history::Temper;

impl Checks {
    /// The version of an update that was paused before this step and is after it.
    fn paused(taken: Taken<'_>) -> Option<Version> {
        let of = |state: &plan::ServiceState| {
            let rollout = state.rollout.as_ref();
            let paused = rollout.filter(|r| r.outcome.is_none() && r.paused_at.is_some());
            paused.map(|rollout| rollout.version)
        };
        let after = of(&taken.step.state);
        of(taken.before).filter(|version| after == Some(*version))
    }

    pub(super) fn paused_launch(&mut self, taken: Taken<'_>, version: Version) {
        if Self::paused(taken) == Some(version) && taken.step.state.trusted != Some(version) {
            let message = format!("the update to version {version} is paused and launches");
            self.violated("pause", message);
        }
    }

    pub(super) fn restart_wanted(&mut self, taken: Taken<'_>, version: Version) {
        if Self::paused(taken) == Some(version) {
            let message = format!("the update to version {version} is paused and restarts");
            self.violated("pause", message);
        }
        if self.undone.contains_key(&version) {
            let message = format!("version {version} was given up and is started");
            self.violated("undone", message);
        }
    }

    /// A replica that serves is taken out of traffic while the update is paused.
    pub(super) fn paused_replacement(&mut self, taken: Taken<'_>, replica: ReplicaId) {
        let Some(version) = Self::paused(taken) else {
            return;
        };
        let (before, state) = (taken.before, &taken.step.state);
        let old = before
            .replicas
            .values()
            .filter(|r| r.is_live() && r.version != version);
        let new = before
            .replicas
            .values()
            .filter(|r| r.is_live() && r.version == version);
        let target = state.target() as usize;
        let is_new = before
            .replicas
            .get(&replica)
            .is_some_and(|r| r.version == version);
        // Fewer are wanted: that is no change of the update.
        let surplus = if is_new {
            new.count() > target
        } else {
            old.count() > target
        };
        if !surplus {
            let message =
                format!("the update to version {version} is paused and replaces replica {replica}");
            self.violated("pause", message);
        }
    }

    /// Versions given up, ends of updates, and whom they blame.
    pub(super) fn note_outcomes(&mut self, event: &Event, taken: Taken<'_>) {
        let (before, state) = (taken.before, &taken.step.state);
        for happening in &taken.step.happenings {
            let Some(version) = happening.version else {
                continue;
            };
            match happening.kind {
                HappeningKind::RolloutSucceeded => self.rolled_out(state.target(), version),
                HappeningKind::VersionFailed => self.blamed(version, &happening.message),
                _ => {}
            }
        }
        for (number, version) in &state.versions {
            let was = before
                .versions
                .get(number)
                .is_some_and(|v| v.failure.is_some());
            let better = state.trusted.is_some_and(|trusted| trusted != *number);
            if version.failure.is_some() && !was && better {
                let ready = state.replicas.values().filter(|replica| {
                    replica.version == *number && replica.status == ReplicaStatus::Ready
                });
                let served: BTreeSet<ReplicaId> = ready.map(|replica| replica.id).collect();
                self.undone.insert(*number, served);
            }
        }
        let asked = matches!(
            event,
            Event::Rollback { .. }
                | Event::Steer {
                    what: Steering::Abort
                }
        );
        if asked && state.desired != before.desired {
            // Asked for by name.
            self.undone.remove(&state.desired);
        }
        self.kept_warm(taken);
    }

    fn rolled_out(&mut self, target: u32, version: Version) {
        let hopeless = self
            .known
            .get(&version)
            .is_some_and(|known| known.is_hopeless);
        if hopeless && target > 0 {
            let message = format!("version {version} never works and is rolled out");
            self.violated("bad_version", message);
        }
    }

    fn blamed(&mut self, version: Version, message: &str) {
        let stood_still = message.contains("no progress");
        if self.temper == Temper::Innocent && !stood_still {
            let message = format!("version {version} is blamed for what it did not do: {message}");
            self.violated("innocent", message);
        }
    }

    /// What failed is undone, unless its settings say that it stays.
    fn kept_warm(&mut self, taken: Taken<'_>) {
        let state = &taken.step.state;
        let Some(rollout) = &state.rollout else {
            return;
        };
        let failed = matches!(rollout.outcome, Some(Outcome::Failed { stays: false, .. }));
        let stays = failed && state.desired == rollout.version;
        let better = state.trusted.filter(|trusted| *trusted != rollout.version);
        if let Some(trusted) = better.filter(|_| stays) {
            let message = format!(
                "the update to version {} has failed and version {trusted} is not desired again",
                rollout.version
            );
            self.violated("undone", message);
        }
    }
}
