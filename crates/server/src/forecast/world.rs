//! The ideal world: a clock, machines that always have room, apps that always start, a proxy that always obeys.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use api::dry_run::Measured;
use plan::observation::{Observation, Phase};
use plan::routing::ReplicaId;
use plan::state::Live;
use plan::status::ReplicaStatus;
use plan::{Action, Event, Happening, Replica, ServiceState, Span, Step, Timestamp, probe};

/// Between two looks of the planner at the clock.
const TICK_SECONDS: f64 = 1.0;
/// Between two looks at a wait that is long already.
const LONG_TICK_SECONDS: f64 = 30.0;
/// From then on waits are long.
const LONG_AFTER_SECONDS: f64 = 3600.0;
/// How long a replica takes to stop.
const STOP_SECONDS: f64 = 1.0;
/// Where every app answers.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// A service in its world.
pub(super) struct World {
    state: ServiceState,
    begun: Timestamp,
    now: Timestamp,
    provision: Span,
    start: Span,
    /// What will happen, by when and in which order it was decided.
    due: BTreeMap<(Timestamp, u64), Event>,
    decided: u64,
    /// From when on each app answers.
    answers_from: BTreeMap<ReplicaId, Timestamp>,
    launched: u32,
    restarted: BTreeSet<ReplicaId>,
    peak: u32,
    lowest_serving: u32,
    told: Vec<(Timestamp, Happening)>,
}

/// Replicas that are given requests and answer.
pub(super) fn serving(state: &ServiceState) -> u32 {
    let serves =
        |replica: &&Replica| replica.is_ready() && state.traffic.contains(&replica.version);
    count(state.replicas.values().filter(serves))
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

impl World {
    /// The world in which a service goes on from `now`.
    pub(super) fn new(
        mut state: ServiceState,
        now: Timestamp,
        measured: Option<&Measured>,
    ) -> Self {
        state.live = Live {
            acknowledged: state.generation(),
            in_flight: BTreeMap::new(),
            counted_at: state.generation(),
        };
        let seconds = |of: fn(&Measured) -> f64| Span::from_seconds(measured.map_or(0.0, of));
        let mut world = Self {
            begun: now,
            now,
            provision: seconds(|measured| measured.provision_seconds),
            start: seconds(|measured| measured.start_seconds),
            due: BTreeMap::new(),
            decided: 0,
            answers_from: BTreeMap::new(),
            launched: 0,
            restarted: BTreeSet::new(),
            peak: super::occupied(&state),
            lowest_serving: serving(&state),
            told: Vec::new(),
            state,
        };
        let replicas: Vec<Replica> = world.state.replicas.values().cloned().collect();
        replicas.iter().for_each(|replica| world.take_up(replica));
        world
    }

    /// What is under way with a replica comes to its end.
    fn take_up(&mut self, replica: &Replica) {
        let id = replica.id;
        if let Some(ending) = &replica.ending {
            if ending.terminate_asked && !ending.released {
                self.after(
                    Span::from_seconds(STOP_SECONDS),
                    Event::Terminated { replica: id },
                );
            }
            return;
        }
        match replica.status {
            ReplicaStatus::Pending => self.launch(id, self.now),
            ReplicaStatus::Provisioning => {
                self.launch(id, replica.launched_at.unwrap_or(self.now));
            }
            ReplicaStatus::Starting => {
                let started = replica.app_started_at.unwrap_or(self.now);
                self.answers_from
                    .insert(id, (started + self.start).max(self.now));
            }
            ReplicaStatus::Ready | ReplicaStatus::NotReady => {
                self.answers_from.insert(id, self.now);
            }
            _ => {}
        }
    }

    /// Runs until `done` or for so many seconds; says whether it is done.
    pub(super) fn run(&mut self, seconds: f64, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.begun + Span::from_seconds(seconds);
        while !done(self) {
            if self.now >= end {
                return false;
            }
            let long = (self.now - self.begun).as_seconds() >= LONG_AFTER_SECONDS;
            let tick = if long {
                LONG_TICK_SECONDS
            } else {
                TICK_SECONDS
            };
            let tick = self.now + Span::from_seconds(tick);
            let next = self.due.keys().next().map_or(tick, |(at, _)| tick.min(*at));
            self.now = self.now.max(next);
            while let Some(entry) = self
                .due
                .first_entry()
                .filter(|entry| entry.key().0 <= self.now)
            {
                let event = entry.remove();
                self.happens(&event);
            }
            self.probe();
            self.happens(&Event::Tick);
        }
        true
    }

    /// One event, one step, and what follows from it.
    pub(super) fn happens(&mut self, event: &Event) {
        let Step {
            state,
            actions,
            happenings,
        } = plan::step(&self.state, self.now, event);
        self.state = state;
        let at = self.now;
        self.told
            .extend(happenings.into_iter().map(|happening| (at, happening)));
        for action in actions {
            self.obey(action);
        }
        self.peak = self.peak.max(super::occupied(&self.state));
        self.lowest_serving = self.lowest_serving.min(serving(&self.state));
    }

    fn obey(&mut self, action: Action) {
        match action {
            Action::Launch { replica, .. } => {
                self.launched = self.launched.saturating_add(1);
                self.launch(replica, self.now);
            }
            Action::RestartInPlace { replica, .. } => {
                self.restarted.insert(replica);
                self.launch(replica, self.now);
            }
            Action::Verify { replica, version } => {
                let failure = None;
                let event = Event::Verified {
                    replica,
                    version,
                    failure,
                };
                self.after(Span::ZERO, event);
            }
            Action::Terminate { replica, .. } => {
                self.answers_from.remove(&replica);
                self.after(
                    Span::from_seconds(STOP_SECONDS),
                    Event::Terminated { replica },
                );
            }
            Action::Route { table } => {
                let generation = table.generation;
                let in_flight = Vec::new();
                let event = Event::Acknowledged {
                    generation,
                    in_flight,
                };
                self.after(Span::ZERO, event);
            }
            Action::Withdraw => self.after(Span::ZERO, Event::Withdrawn),
            Action::CollectVersion { .. } | Action::Forget => {}
        }
    }

    /// A launch that was begun at `begun`.
    fn launch(&mut self, replica: ReplicaId, begun: Timestamp) {
        let running = (begun + self.provision).max(self.now);
        self.at(self.now, Event::Launched { replica });
        let observation = Observation {
            phase: Phase::Running { since: running },
            endpoint: Some(ADDRESS),
            infra: None,
            resources: None,
            resources_full: None,
        };
        self.at(
            running,
            Event::Observed {
                replica,
                observation,
            },
        );
        self.answers_from.insert(replica, running + self.start);
    }

    /// Every probe of an app that answers passes.
    fn probe(&mut self) {
        for target in probe::targets(&self.state) {
            let replica = target.replica;
            let answers = self
                .answers_from
                .get(&replica)
                .is_some_and(|at| *at <= self.now);
            let known = self.state.replicas.get(&replica);
            let news =
                known.is_some_and(|known| !known.is_ready() || known.version != target.version);
            if answers && news {
                let failure = None;
                self.happens(&Event::Probed {
                    replica,
                    version: target.version,
                    failure,
                });
            }
        }
    }

    fn after(&mut self, span: Span, event: Event) {
        self.at(self.now + span, event);
    }

    fn at(&mut self, instant: Timestamp, event: Event) {
        self.decided += 1;
        self.due.insert((instant, self.decided), event);
    }

    pub(super) fn state(&self) -> &ServiceState {
        &self.state
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Replicas launched.
    pub(super) fn launched(&self) -> u32 {
        self.launched
    }

    /// Replicas started anew where they are.
    pub(super) fn restarted(&self) -> &BTreeSet<ReplicaId> {
        &self.restarted
    }

    /// The most replicas that there were at one time.
    pub(super) fn peak(&self) -> u32 {
        self.peak
    }

    /// The fewest replicas that served at any time.
    pub(super) fn lowest_serving(&self) -> u32 {
        self.lowest_serving
    }

    /// What was worth telling.
    pub(super) fn told(&self) -> &[(Timestamp, Happening)] {
        &self.told
    }
}
