//! The controller's actor on virtual time: the rules of `controller/src/actor.rs`, `execute.rs`, `observe.rs`,
//! `probing.rs` and `proxy_link.rs`, with every wait made an occurrence.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use plan::observation::{Observation, Phase};
use plan::routing::{ProxyCommand, ReplicaId, RoutingTable, Version};
use plan::{Action, Event, ServicePhase, ServiceState, Span, Step, Timestamp};

use super::watching::Prober;
use super::{Message, Occurrence, World};
use crate::fault::Fault;
use crate::history::Death;

/// Between two attempts to commit what the world has already done.
const COMMIT_RETRY_SECONDS: f64 = 1.0;

pub(crate) struct Controller {
    pub(crate) state: Arc<ServiceState>,
    /// What happened and is not committed yet, because the store could not be written.
    pub(super) waiting: VecDeque<(Event, Option<String>)>,
    pub(super) retry_at: Option<Timestamp>,
    /// Work on each replica, in order; the first is under way.
    pub(super) tasks: BTreeMap<ReplicaId, VecDeque<Action>>,
    /// Launches begun by this life, with the instant their outcome was taken in.
    pub(super) launches: BTreeMap<ReplicaId, Option<Timestamp>>,
    /// Those of them that are restarts: what was seen before is of the app before.
    pub(super) restarts: BTreeSet<ReplicaId>,
    /// What each observer told last.
    pub(super) told: BTreeMap<ReplicaId, Option<Observation>>,
    pub(super) probers: BTreeMap<(ReplicaId, Version), Prober>,
    pub(super) probes_begun: u64,
    // The link to the proxy.
    pub(super) table: Option<RoutingTable>,
    pub(super) withdrawn: bool,
}

/// Why a step did not come about.
pub(super) enum Undone {
    /// The store could not be written.
    Store,
    /// The controller is no more.
    Killed,
}

impl Controller {
    /// The first piece of work on a replica is done.
    pub(super) fn end_work(&mut self, replica: ReplicaId) -> Option<Action> {
        self.tasks.get_mut(&replica)?.pop_front()
    }
}

impl World {
    /// A controller on what the store holds.
    pub(super) fn start_controller(&mut self) {
        let Some(stored) = self.store.state.clone() else {
            return;
        };
        self.life += 1;
        let text = serde_json::to_string(&stored).unwrap_or_default();
        let state: ServiceState = match serde_json::from_str(&text) {
            Ok(state) => state,
            Err(error) => {
                return self
                    .checks
                    .violated("recovery", format!("the state is lost: {error}"));
            }
        };
        if serde_json::to_string(&state).unwrap_or_default() != text {
            return self
                .checks
                .violated("recovery", "the state changes in the store".to_owned());
        }
        let life = self.life;
        self.tell("controller", || format!("starts, for the {life}. time"));
        self.checks.wakes(self.now);
        self.controller = Some(Controller {
            table: state.table.clone(),
            withdrawn: false,
            state: Arc::new(state),
            waiting: VecDeque::new(),
            retry_at: None,
            tasks: BTreeMap::new(),
            launches: BTreeMap::new(),
            restarts: BTreeSet::new(),
            told: BTreeMap::new(),
            probers: BTreeMap::new(),
            probes_begun: 0,
        });
        let owed = self.store.owed.clone();
        let ends = |replica: ReplicaId| {
            let mut owed = owed.iter();
            owed.any(|action| matches!(action, Action::Terminate { replica: ended, .. } if *ended == replica))
        };
        for action in &owed {
            if action.starts().is_none_or(|replica| !ends(replica)) {
                self.execute(action.clone());
            }
        }
        self.follow();
        self.after(Span::ZERO, Occurrence::Tick { life });
        let span = self.random.milliseconds(10, 500);
        self.after(span, Occurrence::Connect { life });
    }

    /// Everything that only the process knew is gone; what it had begun at the provider may have been done.
    pub(super) fn kill(&mut self, fault: Fault) {
        let Some(controller) = self.controller.take() else {
            return;
        };
        self.faults.note(fault);
        self.tell("controller", || "killed".to_owned());
        for tasks in controller.tasks.into_values() {
            if let Some(action) = tasks.front()
                && self.random.percent(50)
            {
                let _ = self.carry_out(action);
            }
        }
        self.life += 1;
        self.disconnect();
        let longest = if self.random.percent(10) {
            100_000
        } else {
            10_000
        };
        let down = self.random.milliseconds(100, longest);
        self.after(down, Occurrence::Start);
    }

    pub(super) fn tick(&mut self, life: u64) {
        if life != self.life || self.controller.is_none() {
            return;
        }
        let tick = self.history.tick;
        let rests = self.stage.rests();
        self.after(
            if rests { Span(tick.0 * 2) } else { tick },
            Occurrence::Tick { life },
        );
        self.happened(Event::Tick, None);
    }

    /// Puts a message into the inbox.
    pub(super) fn post(&mut self, span: Span, message: Message) {
        let (life, message) = (self.life, Box::new(message));
        self.after(span, Occurrence::Deliver { life, message });
    }

    pub(super) fn deliver(&mut self, life: u64, message: Message) {
        if life != self.life || self.controller.is_none() {
            return;
        }
        match message {
            Message::Event { event, settles } => self.take(event, settles),
            Message::Observed {
                replica,
                observation,
                begun,
            } => {
                if !self.is_premature(replica, &observation, begun) {
                    self.happened(
                        Event::Observed {
                            replica,
                            observation,
                        },
                        None,
                    );
                }
            }
            Message::Report(report) => self.heard(report),
        }
    }

    fn take(&mut self, event: Event, settles: Option<String>) {
        let now = self.now;
        if let (
            Event::Launched { replica } | Event::LaunchFailed { replica, .. },
            Some(controller),
        ) = (&event, &mut self.controller)
        {
            controller.launches.insert(*replica, Some(now));
        }
        self.happened(event, settles);
    }

    fn is_premature(&self, replica: ReplicaId, seen: &Observation, begun: Timestamp) -> bool {
        let Some(controller) = &self.controller else {
            return false;
        };
        let launch = controller.launches.get(&replica);
        let is_doubtful = seen.phase == Phase::Absent || controller.restarts.contains(&replica);
        is_doubtful && launch.is_some_and(|outcome| outcome.is_none_or(|known| begun <= known))
    }

    /// Takes in what the world did. It cannot be refused, so while the store cannot be written it waits its turn.
    pub(super) fn happened(&mut self, event: Event, settles: Option<String>) {
        let now = self.now;
        let Some(controller) = &mut self.controller else {
            return;
        };
        let repeats = matches!(
            event,
            Event::Tick | Event::Traffic { .. } | Event::Probed { .. }
        );
        if controller.waiting.is_empty() || !repeats {
            controller.waiting.push_back((event, settles));
        }
        if controller.retry_at.is_some_and(|instant| now < instant) {
            return;
        }
        let _ = self.catch_up();
    }

    pub(super) fn retry(&mut self, life: u64) {
        if life == self.life {
            let _ = self.catch_up();
        }
    }

    /// Steps through everything that waits, in order.
    pub(super) fn catch_up(&mut self) -> Result<(), Undone> {
        loop {
            let front = self
                .controller
                .as_ref()
                .and_then(|c| c.waiting.front().cloned());
            let Some((event, settles)) = front else {
                break;
            };
            let mut settled: Vec<String> = settles.into_iter().collect();
            if let Event::Terminated { replica } | Event::TerminateFailed { replica, .. } = &event {
                settled.extend(Action::keys_of_starts(*replica));
            }
            let outcome = self.step(&event, &settled);
            if let Err(Undone::Store) = outcome {
                let (span, life) = (Span::from_seconds(COMMIT_RETRY_SECONDS), self.life);
                if let Some(controller) = &mut self.controller {
                    controller.retry_at = Some(self.now + span);
                }
                self.after(span, Occurrence::Retry { life });
            }
            outcome?;
            if let Some(controller) = &mut self.controller {
                controller.waiting.pop_front();
            }
        }
        if let Some(controller) = &mut self.controller {
            controller.retry_at = None;
        }
        Ok(())
    }

    /// One step, from event to execution.
    pub(super) fn step(&mut self, event: &Event, settled: &[String]) -> Result<(), Undone> {
        let Some(controller) = &self.controller else {
            return Err(Undone::Killed);
        };
        let before = Arc::clone(&controller.state);
        let before = &*before;
        let mut step = plan::step(before, self.now, event);
        self.steps += 1;
        if self.steps.is_multiple_of(16) {
            self.checks.is_pure(before, self.now, event, &step);
        }
        // What the proxy told is no part of what is stored.
        let live = std::mem::take(&mut step.state.live);
        let window = std::mem::take(&mut step.state.autoscaler.window);
        let changes = self.store.state.as_ref() != Some(&step.state);
        if changes || !step.actions.is_empty() || !settled.is_empty() {
            if self.store.fails {
                return Err(Undone::Store);
            }
            self.commit(&step, settled)?;
        }
        step.state.live = live;
        step.state.autoscaler.window = window;
        self.narrate(event, &step);
        self.checks
            .stepped(event, before_after(before, &step), self.now);
        let Step { state, actions, .. } = step;
        if let Some(controller) = &mut self.controller {
            controller.state = Arc::new(state);
        }
        if self
            .history
            .deaths
            .contains(&Death::After(self.store.commits))
        {
            self.history
                .deaths
                .retain(|death| *death != Death::After(self.store.commits));
            self.kill(Fault::KilledAfterCommit);
            return Err(Undone::Killed);
        }
        for action in actions {
            self.execute(action);
        }
        if changes {
            self.follow();
        }
        Ok(())
    }

    fn commit(&mut self, step: &Step, settled: &[String]) -> Result<(), Undone> {
        let death = Death::Before(self.store.commits + 1);
        if self.history.deaths.contains(&death) {
            self.history.deaths.retain(|other| *other != death);
            self.kill(Fault::KilledBeforeCommit);
            return Err(Undone::Killed);
        }
        let store = &mut self.store;
        store.commits += 1;
        store.state = Some(step.state.clone());
        store.owed.retain(|owed| !settled.contains(&owed.key()));
        for action in &step.actions {
            store.owed.retain(|owed| owed.key() != action.key());
            // Nothing settles these two; the store forgets them with what they are about.
            if !matches!(action, Action::CollectVersion { .. } | Action::Forget) {
                store.owed.push(action.clone());
            }
        }
        Ok(())
    }

    fn narrate(&mut self, event: &Event, step: &Step) {
        if !step.happenings.is_empty() || !step.actions.is_empty() {
            self.tell("event", || brief(&format!("{event:?}")));
        }
        for happening in &step.happenings {
            self.tell("planner", || {
                format!("{}: {}", happening.kind.as_str(), happening.message)
            });
        }
        for action in &step.actions {
            self.tell("owes", || brief(&action.key()));
        }
    }

    /// Begins to carry out an action. Never waits.
    fn execute(&mut self, action: Action) {
        let Some(controller) = &mut self.controller else {
            return;
        };
        match action {
            Action::Launch { replica, .. }
            | Action::RestartInPlace { replica, .. }
            | Action::Terminate { replica, .. } => {
                if action.starts().is_some() {
                    controller.launches.insert(replica, None);
                }
                if matches!(action, Action::RestartInPlace { .. }) {
                    controller.restarts.insert(replica);
                }
                let tasks = controller.tasks.entry(replica).or_default();
                tasks.push_back(action);
                if tasks.len() == 1 {
                    self.begin_work(replica);
                }
            }
            Action::Verify { replica, version } => {
                let (span, life) = (self.duration(&action), self.life);
                self.after(
                    span,
                    Occurrence::Verified {
                        life,
                        replica,
                        version,
                    },
                );
            }
            Action::Route { table } => {
                controller.table = Some(table.clone());
                self.command(ProxyCommand::Apply { table });
            }
            Action::Withdraw => {
                controller.withdrawn = true;
                let service = controller.state.name.clone();
                self.command(ProxyCommand::Withdraw { service });
            }
            Action::CollectVersion { .. } => {}
            Action::Forget => {
                self.store.state = None;
                self.store.owed.clear();
                self.controller = None;
                self.life += 1;
                self.tell("controller", || "the service is forgotten".to_owned());
            }
        }
    }

    /// Begins the next piece of work on a replica, if there is one.
    pub(super) fn begin_work(&mut self, replica: ReplicaId) {
        let tasks = self.controller.as_ref().and_then(|c| c.tasks.get(&replica));
        let Some(action) = tasks.and_then(|tasks| tasks.front().cloned()) else {
            return;
        };
        let (span, life) = (self.duration(&action), self.life);
        self.after(span, Occurrence::Work { life, replica });
    }

    /// Whether the service still runs, as far as the controller knows.
    pub(super) fn is_running(&self) -> bool {
        let state = self.controller.as_ref().map(|controller| &controller.state);
        state.is_some_and(|state| state.phase == ServicePhase::Running)
    }
}

fn before_after<'a>(before: &'a ServiceState, step: &'a Step) -> crate::check::Taken<'a> {
    crate::check::Taken { before, step }
}

/// As much of a line as fits a screen.
fn brief(text: &str) -> String {
    let mut short: String = text.chars().take(160).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
