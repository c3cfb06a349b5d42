//! How many replicas there may be, and how few.

use plan::rollout::{Outcome, Rollout};
use plan::routing::{ReplicaId, Version};
use plan::{ServiceState, Timestamp};
use spec::{Surge, UpdateMode};

use super::{Checks, Taken};

/// Over which launches of one version are counted.
const WINDOW_SECONDS: f64 = 300.0;

impl Checks {
    /// The version whose settings hold while old and new stand side by side.
    fn updating(state: &ServiceState) -> Option<&Rollout> {
        state.rollout.as_ref().filter(|rollout| {
            matches!(
                rollout.outcome,
                None | Some(Outcome::Failed { .. } | Outcome::Aborted { .. })
            )
        })
    }

    /// The fewest replicas that an update may leave by intention.
    pub(crate) fn floor(&self, state: &ServiceState) -> u32 {
        let target = state.target();
        let trusted = state.trusted.and_then(|trusted| self.known.get(&trusted));
        let owed = trusted.map_or(0, |trusted| target.min(trusted.most));
        let rollout = Self::updating(state);
        let missing = rollout.map_or(0, |rollout| {
            let room = rollout.no_room.as_ref().map(|found| found.surge);
            let known = self.known.get(&rollout.version);
            known.map_or(0, |known| known.unavailable_of(target, rollout.mode, room))
        });
        owed.saturating_sub(missing)
    }

    /// In a gentle world nothing takes from the good versions: what serves in truth is looked at each second.
    pub(crate) fn capacity(&mut self, serving: u32, now: Timestamp) {
        let Some(first) = self.known.get(&1) else {
            return;
        };
        let target = first.most;
        self.stood |= serving >= target;
        let missing = self.ever_missing(target);
        let floor = target.saturating_sub(missing);
        if self.stood && serving < floor && !self.is_going_down {
            let at = (now - crate::history::START).as_seconds();
            let message = format!("{serving} replicas answer after {at}s, of at least {floor}");
            self.violated("capacity_floor", message);
        }
    }

    /// The most that any version so far lets be missing, whichever way it is come by.
    fn ever_missing(&self, target: u32) -> u32 {
        let modes = [UpdateMode::Rolling, UpdateMode::BlueGreen];
        let each = self.known.values().flat_map(|known| {
            let room = (known.surge == Surge::Auto).then_some(0);
            let of = move |mode| known.unavailable_of(target, mode, room);
            modes.into_iter().chain([known.mode]).map(of)
        });
        each.max().unwrap_or(0)
    }

    /// In a gentle world.
    pub(crate) fn request_lost(&mut self, why: &str, now: Timestamp) {
        let Some(first) = self.known.get(&1) else {
            return;
        };
        let target = first.most;
        let missing = self.ever_missing(target);
        if self.stood && target > missing && !self.is_going_down {
            let at = (now - crate::history::START).as_seconds();
            self.violated(
                "lost_request",
                format!("a request is lost after {at}s: {why}"),
            );
        }
    }

    pub(super) fn launched(
        &mut self,
        taken: Taken<'_>,
        replica: ReplicaId,
        version: Version,
        now: Timestamp,
    ) {
        if replica <= self.last_replica {
            self.violated("numbers", format!("number {replica} is used again"));
        }
        self.last_replica = self.last_replica.max(replica);
        let state = &taken.step.state;
        self.ceiling(state);
        if self.undone.contains_key(&version) {
            let message = format!("version {version} was given up and is launched");
            self.violated("undone", message);
        }
        self.paused_launch(taken, version);
        let times = self.launches.entry(version).or_default();
        times.push_back(now);
        while times
            .front()
            .is_some_and(|at| (now - *at).as_seconds() > WINDOW_SECONDS)
        {
            times.pop_front();
        }
        let (count, most) = (
            times.len(),
            self.known.values().map(|known| known.most).max(),
        );
        let limit = 10 * most.unwrap_or(1).max(1) + 10 + 2 * self.harms;
        if count > limit as usize {
            let message =
                format!("version {version} is launched {count} times in {WINDOW_SECONDS}s");
            self.violated("endless_launches", message);
        }
    }

    fn ceiling(&mut self, state: &ServiceState) {
        let target = state.target();
        let Some(desired) = self.known.get(&state.desired) else {
            return;
        };
        if target > desired.most {
            let message = format!("{target} are wanted, of at most {}", desired.most);
            return self.violated("max_replicas", message);
        }
        let rollout = Self::updating(state);
        let surge = rollout.map_or(target, |rollout| {
            let known = self.known.get(&rollout.version);
            known.map_or(target, |known| known.surge_of(target, rollout.mode))
        });
        let warm = state
            .warm
            .map(|warm| warm.version)
            .filter(|warm| *warm != state.desired);
        let live = state
            .replicas
            .values()
            .filter(|r| r.is_live() && Some(r.version) != warm);
        let live = u32::try_from(live.count()).unwrap_or(u32::MAX);
        if live > target + surge {
            let message = format!("{live} replicas live, of {target} and {surge} beyond");
            self.violated("surge_ceiling", message);
        }
    }
}
