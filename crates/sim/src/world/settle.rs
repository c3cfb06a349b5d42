//! After the last fault the world must come to rest: the update ended, the target served by the desired version, nothing
//! owed, nothing left over. What waits for a person says so, and goes on when the person acts. Then the service is taken
//! down, to the last trace.

use plan::observation::Phase;
use plan::rollout::{Outcome, Rollout};
use plan::{ServicePhase, ServiceState, Span, Timestamp};
use spec::UpdateMode;

use super::World;

/// How long it must stay at rest to be believed.
const REST_SECONDS: f64 = 20.0;
/// Longer than all deadlines and back-offs together.
const LONGEST_SECONDS: f64 = 1800.0;
/// How long a person leaves an update that waits for one.
const PERSON_SECONDS: f64 = 40.0;

/// How far a world is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stage {
    /// Things happen.
    Action,
    /// Nothing strikes any more.
    Settling,
    /// The service is being taken down.
    Down,
    /// Nothing is left.
    Over,
}

impl Stage {
    pub(super) fn has_users(self) -> bool {
        self == Self::Action
    }

    pub(super) fn rests(self) -> bool {
        self != Self::Action
    }
}

/// Instants of the present stage.
#[derive(Default)]
pub(crate) struct Rest {
    began: Timestamp,
    calm_since: Option<Timestamp>,
    person_next: Timestamp,
}

impl World {
    pub(super) fn rest(&mut self, stage: Stage) {
        self.stage = stage;
        self.checks.rest = Rest {
            began: self.now,
            calm_since: None,
            person_next: self.now + Span::from_seconds(PERSON_SECONDS),
        };
    }

    /// Once a second.
    pub(super) fn settle(&mut self) {
        self.leaks();
        let unrest = match self.stage {
            Stage::Action | Stage::Over => return,
            Stage::Settling => self.unrest(),
            Stage::Down => self.remains(),
        };
        let now = self.now;
        let rest = &mut self.checks.rest;
        let Some(why) = unrest else {
            let since = *rest.calm_since.get_or_insert(now);
            if (now - since).as_seconds() < REST_SECONDS {
                return;
            }
            if self.stage == Stage::Down {
                self.stage = Stage::Over;
            } else if self.down() {
                self.rest(Stage::Down);
            }
            return;
        };
        rest.calm_since = None;
        if (now - rest.began).as_seconds() > LONGEST_SECONDS {
            let checker = if self.stage == Stage::Down {
                "down"
            } else {
                "quiescence"
            };
            return self.checks.violated(checker, why);
        }
        if now >= rest.person_next {
            rest.person_next = now + Span::from_seconds(PERSON_SECONDS);
            self.person();
        }
    }

    /// A person looks at an update that waits for one.
    fn person(&mut self) {
        let Some(state) = self.state() else { return };
        let Some(rollout) = state.rollout_in_progress() else {
            return;
        };
        let is_paused = rollout.paused_at.is_some();
        if is_paused && self.short_of_floor().is_some() {
            // It must be repaired although it is paused: `LONGEST_SECONDS` are for that too.
            return;
        }
        if !is_paused && rollout.mode != UpdateMode::Canary {
            return;
        }
        self.steer(&plan::Event::Steer {
            what: plan::Steering::Resume,
        });
        self.steer(&plan::Event::Steer {
            what: plan::Steering::Promote,
        });
    }

    /// What a paused update is short of.
    fn short_of_floor(&self) -> Option<String> {
        let state = self.state()?;
        let trusted = state.trusted?;
        // A paused change of number leaves the number as it was.
        let only_numbers = state.rollout.as_ref().is_some_and(|r| r.version == trusted);
        let has_traffic = state.traffic.contains(&trusted);
        if !self.checks.works(trusted) || only_numbers || !has_traffic {
            return None;
        }
        let floor = self.checks.floor(state);
        let serving = self.serving();
        (serving < floor).then(|| format!("{serving} replicas serve, of at least {floor}"))
    }

    /// A machine that nobody knows of is paid for ever.
    fn leaks(&mut self) {
        let Some(state) = &self.store.state else {
            return;
        };
        let unknown = self.machines.iter().find(|(id, machine)| {
            let is_there = !matches!(machine.phase, Phase::Lost { .. } | Phase::Absent);
            is_there && !state.replicas.contains_key(id)
        });
        if let Some((id, _)) = unknown {
            let message = format!("replica {id} is there and nobody knows of it");
            self.checks.leaked(*id, message);
        }
    }

    /// Why the world is not at rest.
    fn unrest(&self) -> Option<String> {
        let Some(controller) = &self.controller else {
            return Some("the controller is down".to_owned());
        };
        let state = &controller.state;
        if state.phase != ServicePhase::Running {
            return None;
        }
        if let Some(rollout) = state.rollout_in_progress() {
            return Some(self.unended(state, rollout));
        }
        if state.warm.is_some() {
            return Some("a version is kept warm".to_owned());
        }
        let desired = &state.versions[&state.desired];
        let stays = state.rollout.as_ref().is_some_and(|rollout| {
            matches!(rollout.outcome, Some(Outcome::Failed { stays: true, .. }))
        });
        if desired.failure.is_some() {
            let message = plan::report::service_message(state, self.now);
            let told = state.rollout.is_some() || message.is_some();
            return match (state.trusted, told) {
                (_, false) => Some("it has failed and does not say so".to_owned()),
                (Some(trusted), _) if !stays && trusted != state.desired => Some(format!(
                    "it stays with version {}, which has failed, and not with {trusted}",
                    state.desired
                )),
                _ => None,
            };
        }
        if !self.checks.works(state.desired) {
            return None;
        }
        self.unserved(state)
    }

    fn unended(&self, state: &ServiceState, rollout: &Rollout) -> String {
        let sentence = plan::report::rollout_sentence(state, rollout, self.now);
        let short = self.short_of_floor().unwrap_or_default();
        format!("the update does not end: {sentence} {short}")
    }

    /// What is missing, or too much, where a good version is desired.
    fn unserved(&self, state: &ServiceState) -> Option<String> {
        let (desired, target) = (state.desired, state.target());
        let live = state.replicas.values().filter(|replica| replica.is_live());
        let live = u32::try_from(live.count()).unwrap_or(u32::MAX);
        let table = self.proxy.table.as_ref();
        let upstreams = table
            .map(|table| table.upstreams.as_slice())
            .unwrap_or_default();
        if let Some(other) = upstreams
            .iter()
            .find(|upstream| upstream.version != desired)
        {
            return Some(format!(
                "version {} is served, not {desired}",
                other.version
            ));
        }
        let serving = self.serving();
        if serving != target || live != target {
            return Some(format!(
                "{serving} serve and {live} live, of {target} that are wanted"
            ));
        }
        if table.map(|table| table.generation) != Some(state.generation()) {
            return Some("the newest table is not in force".to_owned());
        }
        if let Some(owed) = self.store.owed.first() {
            return Some(format!("{} is owed", owed.key()));
        }
        let kept = |id: &u32| {
            let replica = state.replicas.get(id);
            replica.is_some_and(|r| {
                r.is_live() || r.status == plan::status::ReplicaStatus::FailedCleanup
            })
        };
        let left = self
            .machines
            .keys()
            .find(|id| !kept(id) && !self.checks.was_purged(**id));
        left.map(|id| format!("replica {id} is left over"))
    }

    /// What is left of a service that is being taken down.
    fn remains(&self) -> Option<String> {
        if self.store.state.is_some() {
            let state = self.state()?;
            let message = plan::report::service_message(state, self.now);
            return Some(format!(
                "it is still there: {}",
                message.unwrap_or_default()
            ));
        }
        if let Some(id) = self
            .machines
            .keys()
            .find(|id| !self.checks.was_purged(**id))
        {
            return Some(format!("replica {id} is left over"));
        }
        self.proxy
            .table
            .as_ref()
            .map(|_| "the endpoint is left open".to_owned())
    }
}
