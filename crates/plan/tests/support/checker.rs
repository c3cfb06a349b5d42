//! What must hold after every step, worked out from the outside: from the events that were told and
//! the actions that were owed, never by asking the planner's own functions.

use std::collections::{BTreeMap, BTreeSet};

use plan::observation::Phase;
use plan::rollout::UpdateMode;
use plan::routing::{Generation, ReplicaId, RoutingTable, Upstream, Version};
use plan::status::ReplicaStatus;
use plan::{Action, Event, ServicePhase, ServiceState, Span, Step, Timestamp, report};
use spec::Surge;
use spec::update::DEFAULT_DRAIN_TIMEOUT_SECONDS;

/// How long a proxy that says nothing is waited for once nothing else keeps a replica.
const PROXY_PATIENCE_SECONDS: f64 = 10.0;

/// The outside view of one service.
#[derive(Default)]
pub(crate) struct Checker {
    /// Set while only blue-green updates were made: then no table may mix contents.
    pub(crate) never_mixes: bool,
    contents: BTreeMap<Version, String>,
    /// Versions that were undone and have left the table.
    undone: BTreeSet<Version>,
    /// The version whose update stands still, and what had traffic then.
    paused: Option<(Version, BTreeSet<Version>)>,
    last_id: ReplicaId,
    statuses: BTreeMap<ReplicaId, ReplicaStatus>,
    decided: BTreeMap<ReplicaId, Timestamp>,
    asked: BTreeSet<ReplicaId>,
    /// Since when nothing keeps a replica: the user is in a hurry, or its processes are gone.
    unkept: BTreeMap<ReplicaId, Timestamp>,
    named: BTreeSet<ReplicaId>,
    left: BTreeMap<ReplicaId, Generation>,
    left_at: BTreeMap<ReplicaId, Timestamp>,
    generation: Generation,
    acknowledged: Generation,
    counted: (Generation, BTreeSet<ReplicaId>),
    forgotten: bool,
}

impl Checker {
    /// The server was restarted: what the proxy had said counts no more.
    pub(crate) fn proxy_is_unknown(&mut self) {
        self.acknowledged = 0;
        self.counted = (0, BTreeSet::new());
    }

    /// Takes in one step.
    pub(crate) fn check(&mut self, event: &Event, step: &Step, now: Timestamp) {
        let state = &step.state;
        self.hear(event, now);
        assert!(
            !self.forgotten || step.actions.is_empty(),
            "nothing is owed for a service that is gone"
        );
        for replica in state.replicas.values().filter(|r| r.ending.is_some()) {
            self.decided.entry(replica.id).or_insert(now);
        }
        for version in state.versions.values() {
            let content = version.task_hash.clone();
            self.contents.insert(version.version, content);
        }
        for action in &step.actions {
            match action {
                Action::Launch { replica, version } => self.launch(state, *replica, *version),
                Action::Terminate { replica, .. } => self.terminate(state, *replica, now),
                Action::Route { table } => self.route(state, table, now),
                Action::Forget => {
                    self.forgotten = true;
                    assert!(state.replicas.values().all(|replica| {
                        let ending = replica.ending.as_ref();
                        ending.is_some_and(|ending| ending.released)
                    }));
                }
                Action::RestartInPlace { replica, version } => {
                    self.restart(state, *replica, *version, now);
                }
                Action::Verify { .. } => {}
                Action::Withdraw | Action::CollectVersion { .. } => {}
            }
        }
        self.ceiling_holds(step);
        self.undone_stay_away(state);
        self.pause_is_no_change(step);
        self.statuses_are_legal(state);
        numbers_are_bounded(state);
        reports_are_made(state, now);
    }

    fn hear(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::Acknowledged {
                generation,
                in_flight,
            } if *generation <= self.generation => {
                self.acknowledged = self.acknowledged.max(*generation);
                self.count(*generation, in_flight);
            }
            Event::Traffic {
                generation,
                in_flight,
                ..
            } if *generation <= self.generation => self.count(*generation, in_flight),
            Event::ProxyConnected => self.proxy_is_unknown(),
            Event::LaunchFailed { replica, .. } => self.keep_no_longer(*replica, now),
            Event::Observed {
                replica,
                observation,
            } => {
                let over = matches!(
                    observation.phase,
                    Phase::Exited(_) | Phase::Lost { .. } | Phase::Absent
                );
                if over {
                    self.keep_no_longer(*replica, now);
                }
            }
            Event::TerminateFailed { replica, .. } => {
                self.asked.remove(replica);
            }
            Event::TerminateReplica {
                replica, now: true, ..
            } => self.keep_no_longer(*replica, now),
            Event::Down { now: hurry, .. } => {
                let ids: Vec<ReplicaId> = self.statuses.keys().copied().collect();
                for id in ids.into_iter().filter(|_| *hurry) {
                    self.keep_no_longer(id, now);
                }
                // Whoever asks again for what could not be ended starts a new round of attempts.
                self.asked.clear();
            }
            _ => {}
        }
    }

    fn keep_no_longer(&mut self, id: ReplicaId, now: Timestamp) {
        let since = self.unkept.entry(id).or_insert(now);
        *since = (*since).min(now);
    }

    fn count(&mut self, generation: Generation, in_flight: &[(ReplicaId, u32)]) {
        if generation >= self.counted.0 {
            let busy = in_flight.iter().filter(|(_, count)| *count > 0);
            self.counted = (generation, busy.map(|(id, _)| *id).collect());
        }
    }

    fn launch(&mut self, state: &ServiceState, id: ReplicaId, version: Version) {
        assert!(id > self.last_id, "replica number {id} is used again");
        self.last_id = id;
        assert_eq!(state.phase, ServicePhase::Running);
        let known = &state.versions[&version];
        assert!(
            known.failure.is_none() || state.trusted == Some(version),
            "version {version} has failed and is launched"
        );
    }

    /// Promise 1 holds for a restart, too.
    fn restart(&mut self, state: &ServiceState, id: ReplicaId, version: Version, now: Timestamp) {
        assert_eq!(state.replicas[&id].version, version);
        assert!(!self.named.contains(&id), "restarted in the table");
        let Some(left_in) = self.left.get(&id) else {
            return;
        };
        assert!(self.acknowledged >= *left_in, "restarted too early");
        let idle = self.counted.0 >= *left_in && !self.counted.1.contains(&id);
        let drained = self.left_at[&id] + Span::from_seconds(DEFAULT_DRAIN_TIMEOUT_SECONDS);
        assert!(idle || now >= drained, "restarted with requests in flight");
        // What runs from here on was in no table yet.
        self.left.remove(&id);
    }

    /// Promise 1, route before stop.
    fn terminate(&mut self, state: &ServiceState, id: ReplicaId, now: Timestamp) {
        assert!(self.asked.insert(id), "replica {id} is ended twice");
        let replica = &state.replicas[&id];
        assert!(
            replica.status.is_terminal(),
            "replica {id} is live and is ended"
        );
        assert!(
            !self.named.contains(&id),
            "replica {id} is ended in the table"
        );
        let Some(left_in) = self.left.get(&id) else {
            return;
        };
        let drained_by = self.decided[&id] + Span::from_seconds(DEFAULT_DRAIN_TIMEOUT_SECONDS);
        let unkept = self.unkept.get(&id).copied().unwrap_or(drained_by);
        let deadline = drained_by.min(unkept.max(self.decided[&id]));
        if now >= deadline + Span::from_seconds(PROXY_PATIENCE_SECONDS) {
            return;
        }
        assert!(
            self.acknowledged >= *left_in,
            "replica {id} is ended before the proxy has acknowledged table {left_in}"
        );
        let idle = self.counted.0 >= *left_in && !self.counted.1.contains(&id);
        assert!(
            idle || now >= deadline,
            "replica {id} is ended with requests in flight"
        );
    }

    fn route(&mut self, state: &ServiceState, table: &RoutingTable, now: Timestamp) {
        assert!(table.generation > self.generation, "generations only grow");
        self.generation = table.generation;
        let mut named = BTreeSet::new();
        let mut contents = BTreeSet::new();
        for upstream in &table.upstreams {
            let replica = &state.replicas[&upstream.replica_id];
            assert!(named.insert(replica.id), "named twice");
            assert_eq!(replica.status, ReplicaStatus::Ready);
            assert!(replica.ending.is_none(), "replica {} is ending", replica.id);
            assert_eq!(Some(upstream.address), replica.endpoint);
            assert_eq!(upstream.version, replica.version);
            contents.insert(&self.contents[&replica.version]);
        }
        assert!(
            !self.never_mixes || contents.len() <= 1,
            "table {} mixes {contents:?}",
            table.generation
        );
        if let Some(split) = &table.split {
            assert!((0.0..=100.0).contains(&split.weight_percent), "{split:?}");
            let old = |upstream: &Upstream| upstream.version != split.version;
            assert!(table.upstreams.iter().any(old), "nothing to share with");
        }
        for id in self.named.difference(&named) {
            self.left.insert(*id, table.generation);
            self.left_at.insert(*id, now);
        }
        self.named = named;
    }

    /// Nothing is launched beyond the target and the surge that the update gives.
    fn ceiling_holds(&self, step: &Step) {
        let state = &step.state;
        let launches = |action: &Action| matches!(action, Action::Launch { .. });
        let Some(rollout) = state.rollout_in_progress() else {
            return;
        };
        if !step.actions.iter().any(launches) || rollout.mode == UpdateMode::BlueGreen {
            return;
        }
        let target = state.target();
        let surge = match state.versions[&rollout.version].spec.update.max_surge {
            Surge::Amount(amount) => amount.rounded_up(target),
            Surge::Auto => target,
        };
        let warm = state.warm.map(|warm| warm.version);
        let live = state.replicas.values().filter(|replica| replica.is_live());
        let live = live.filter(|replica| Some(replica.version) != warm).count();
        let ceiling = target.saturating_add(surge) as usize;
        assert!(
            live <= ceiling,
            "{live} replicas, and a target of {target} with a surge of {surge}"
        );
    }

    /// What was given up, and whose replicas may be given no requests any more, does not come back, unless it is asked for by name.
    fn undone_stay_away(&mut self, state: &ServiceState) {
        let active = state.active_versions();
        for version in state.versions.values() {
            let number = version.version;
            let given_up = version.failure.is_some() && number != state.desired;
            if !given_up {
                self.undone.remove(&number);
            } else if !state.traffic.contains(&number) {
                self.undone.insert(number);
            }
            assert!(
                !(self.undone.contains(&number) && active.contains(&number)),
                "version {number} was undone and is served"
            );
        }
    }

    /// While an update is paused nothing is launched of it, nothing gives way to it, and traffic
    /// does not move to it.
    fn pause_is_no_change(&mut self, step: &Step) {
        let state = &step.state;
        let paused = state
            .rollout_in_progress()
            .filter(|r| r.paused_at.is_some());
        let Some(version) = paused.map(|rollout| rollout.version) else {
            self.paused = None;
            return;
        };
        let Some((before, traffic)) = &self.paused else {
            self.paused = Some((version, state.traffic.clone()));
            return;
        };
        assert_eq!(*before, version, "one update at a time");
        for action in &step.actions {
            let launched = match action {
                Action::Launch { version, .. } => Some(*version),
                _ => None,
            };
            // What is repaired where only the number changes has the new number.
            let hash = |number| state.version(number).map(|known| &known.task_hash);
            let is_repair = hash(version) == hash(state.trusted.unwrap_or(version));
            assert!(
                launched != Some(version) || is_repair,
                "launched while paused"
            );
        }
        let gives_way = format!("version {version} takes its place");
        for happening in &step.happenings {
            assert!(!happening.message.contains(&gives_way), "{happening:?}");
        }
        // It may leave a version of which nothing is left.
        assert!(
            traffic.contains(&version) || !state.traffic.contains(&version),
            "traffic moves while paused"
        );
    }

    fn statuses_are_legal(&mut self, state: &ServiceState) {
        for replica in state.replicas.values() {
            let last = self.statuses.insert(replica.id, replica.status);
            let (last, next) = (last.unwrap_or(ReplicaStatus::Pending), replica.status);
            assert!(
                last == next || reachable(last, next),
                "replica {} went from {last} to {next}",
                replica.id
            );
            assert!(replica.is_live() || replica.ending.is_some(), "{replica:?}");
        }
    }
}

fn numbers_are_bounded(state: &ServiceState) {
    let records = state.replicas.values().filter(|replica| {
        let ending = replica.ending.as_ref();
        replica.status != ReplicaStatus::FailedCleanup && ending.is_some_and(|e| e.released)
    });
    assert!(records.count() <= 10, "records of failed replicas pile up");
    assert!(state.versions.contains_key(&state.desired));
    if state.phase != ServicePhase::Running {
        return;
    }
    let target = state.target() as usize;
    let live = state.replicas.values().filter(|replica| replica.is_live());
    let new = live.clone().filter(|r| r.version == state.desired).count();
    assert!(new <= target, "{new} new replicas for a target of {target}");
    let live = live.count();
    assert!(
        live <= 2 * target,
        "{live} replicas for a target of {target}: {:#?}",
        state
            .replicas
            .values()
            .map(|r| (r.id, r.version, r.status))
            .collect::<Vec<_>>()
    );
}

fn reports_are_made(state: &ServiceState, now: Timestamp) {
    let _ = report::service_status(state);
    let _ = report::service_message(state, now);
    let _ = plan::probe::targets(state);
    if let Some(rollout) = &state.rollout {
        assert!(!report::rollout_sentence(state, rollout, now).is_empty());
    }
}

/// Whether one step may take a replica from one status to another, through any number of
/// transitions.
fn reachable(from: ReplicaStatus, to: ReplicaStatus) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut front = vec![from];
    while let Some(status) = front.pop() {
        for next in status.successors() {
            if *next == to {
                return true;
            }
            if seen.insert(*next) {
                front.push(*next);
            }
        }
    }
    false
}
