//! The checkers' own books: what users asked for, and what is known of each replica.

use plan::observation::Phase;
use plan::routing::{ReplicaId, Version};
use plan::{Event, ServicePhase, ServiceState, Span, Timestamp, VersionState};
use spec::{Amount, Surge, UpdateMode};

use super::{Checks, Taken};
use crate::fault::Fault;
use crate::history::Temper;
use crate::machine::Behaviour;

/// How long a proxy that says nothing is waited for.
const PROXY_PATIENCE_SECONDS: f64 = 10.0;

/// What a user asked for, and what it is in truth.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) content: String,
    pub(crate) mode: UpdateMode,
    pub(crate) most: u32,
    pub(crate) surge: Surge,
    pub(crate) unavailable: Amount,
    pub(crate) drain_seconds: f64,
    pub(crate) works: bool,
    /// None of its replicas can ever be ready.
    pub(crate) is_hopeless: bool,
    /// None of its replicas satisfies its command.
    pub(crate) is_refused: bool,
}

impl Known {
    pub(super) fn new(version: &VersionState, behaviour: Behaviour, temper: Temper) -> Self {
        let update = &version.spec.update;
        let wrong_probe = version.spec.readiness_probe.path == "/wrong";
        let policy = &version.spec.replica_policy;
        let is_refused = update.verify.is_some()
            && version.task_hash == "content 4"
            && temper != Temper::Innocent;
        Self {
            content: version.task_hash.clone(),
            mode: version.mode,
            most: policy.max() + policy.num_overprovision.unwrap_or(0),
            surge: update.max_surge,
            unavailable: update.max_unavailable,
            drain_seconds: update.drain_timeout_seconds,
            works: behaviour.works() && !wrong_probe && !is_refused,
            is_hopeless: behaviour.is_hopeless() || wrong_probe,
            is_refused,
        }
    }

    /// Replicas that may be missing from a target by intention, where replicas are replaced in this way and there is
    /// room for so many more.
    pub(super) fn unavailable_of(&self, target: u32, mode: UpdateMode, room: Option<u32>) -> u32 {
        let share = match self.unavailable {
            Amount::Count(count) => count,
            Amount::Percent(percent) => whole(f64::from(target) * percent / 100.0, f64::floor),
        };
        let surge = self.surge_of(target, mode).min(room.unwrap_or(u32::MAX));
        let one_by_one = u32::from(surge == 0 || mode == UpdateMode::InPlace);
        match mode {
            UpdateMode::BlueGreen => 0,
            _ => share.max(one_by_one).min(target),
        }
    }

    /// Replicas that there may be beyond a target.
    pub(super) fn surge_of(&self, target: u32, mode: UpdateMode) -> u32 {
        match (mode, self.surge) {
            (UpdateMode::BlueGreen, _) | (_, Surge::Auto) => target,
            (_, Surge::Amount(Amount::Count(count))) => count,
            (_, Surge::Amount(Amount::Percent(percent))) => {
                whole(f64::from(target) * percent / 100.0, f64::ceil)
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small and not negative"
)]
fn whole(number: f64, round: fn(f64) -> f64) -> u32 {
    round(number) as u32
}

/// What is known of a replica.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    pub(crate) launched_version: Version,
    /// Its last probe passed.
    pub(crate) is_healthy: bool,
    /// When its end was decided.
    pub(crate) decided_at: Option<Timestamp>,
    /// Requests in flight may keep it until then.
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) drain_seconds: f64,
    /// When it left the last table that named it.
    pub(crate) left_at: Option<Timestamp>,
    /// How long its requests in flight might keep it then.
    pub(crate) left_drain_seconds: f64,
    pub(crate) ended_by_user: bool,
    /// Its processes are known to be gone.
    pub(crate) is_gone: bool,
    /// Its end was asked for when the proxy had said nothing for too long.
    pub(crate) is_overdue: bool,
    pub(crate) was_ended: bool,
    pub(crate) harmed: Option<Fault>,
}

impl Checks {
    /// What the event says of replicas.
    pub(super) fn hear(&mut self, event: &Event, taken: Taken<'_>, now: Timestamp) {
        match event {
            Event::Probed {
                replica,
                failure,
                version,
            } => {
                let own = taken.before.replicas.get(replica).map(|r| r.version);
                if let Some(book) = self.books.get_mut(replica)
                    && own == Some(*version)
                {
                    book.is_healthy = failure.is_none();
                }
            }
            Event::Observed {
                replica,
                observation,
            } => {
                let over = matches!(
                    observation.phase,
                    Phase::Exited(_) | Phase::Lost { .. } | Phase::Absent
                );
                if let Some(book) = self.books.get_mut(replica).filter(|_| over) {
                    book.is_gone = true;
                    book.is_healthy = false;
                    book.deadline = Some(book.deadline.map_or(now, |deadline| deadline.min(now)));
                }
            }
            Event::TerminateReplica {
                replica,
                now: hurry,
                purge,
            } => {
                if *purge {
                    self.purged.insert(*replica);
                }
                if let Some(book) = self.books.get_mut(replica) {
                    book.ended_by_user = true;
                    if *hurry {
                        book.deadline = Some(book.deadline.map_or(now, |d| d.min(now)));
                    }
                }
            }
            Event::Update { version } => self.whole &= version.mode == UpdateMode::BlueGreen,
            Event::Down { .. } => self.is_going_down = true,
            _ => {}
        }
    }

    /// What the planner reports of replicas.
    pub(super) fn note_replicas(&mut self, state: &ServiceState, now: Timestamp) {
        for replica in state.replicas.values() {
            let drain_seconds = self
                .known
                .get(&replica.version)
                .map_or(0.0, |k| k.drain_seconds);
            let book = self.books.entry(replica.id).or_insert_with(|| Book {
                launched_version: replica.version,
                is_healthy: false,
                decided_at: None,
                deadline: None,
                drain_seconds,
                left_at: None,
                left_drain_seconds: drain_seconds,
                ended_by_user: false,
                is_gone: false,
                is_overdue: false,
                was_ended: false,
                harmed: None,
            });
            if book.decided_at.is_none() {
                book.drain_seconds = drain_seconds;
            }
            if replica.status.is_terminal() && book.decided_at.is_none() {
                book.decided_at = Some(now);
                let deadline = now + Span::from_seconds(book.drain_seconds);
                book.deadline = Some(book.deadline.map_or(deadline, |d| d.min(deadline)));
            }
        }
    }

    /// The end of a replica is owed from now on.
    pub(super) fn end_wanted(&mut self, replica: ReplicaId, now: Timestamp) {
        let awake_since = self.awake_since;
        if let Some(book) = self.books.get_mut(&replica)
            && let Some(deadline) = book.deadline
        {
            let patience = Span::from_seconds(PROXY_PATIENCE_SECONDS);
            book.is_overdue |= now >= deadline.max(awake_since) + patience;
        }
    }

    /// A machine was made.
    pub(crate) fn came_into_being(&mut self, replica: ReplicaId) {
        if self.books.get(&replica).is_some_and(|book| book.was_ended) {
            self.violated(
                "numbers",
                format!("replica {replica} was ended and is launched again"),
            );
        }
    }

    pub(crate) fn launch_failed(&mut self, replica: ReplicaId) {
        if let Some(book) = self.books.get_mut(&replica) {
            book.is_gone = true;
        }
    }

    /// The provider was asked to end a replica whose processes run. Promise 1.
    pub(crate) fn stopped(&mut self, replica: ReplicaId, named: bool, busy: u32, now: Timestamp) {
        let Some(book) = self.books.get_mut(&replica) else {
            return;
        };
        book.was_ended = true;
        let Some(deadline) = book.deadline.filter(|_| book.decided_at.is_some()) else {
            let message = format!("replica {replica} is stopped and it was never decided");
            return self.violated("route_before_stop", message);
        };
        if book.is_gone || book.is_overdue {
            return;
        }
        if named {
            let message = format!("replica {replica} is stopped while the table in force names it");
            self.violated("route_before_stop", message);
        } else if busy > 0 && now < deadline {
            let message = format!("replica {replica} is stopped with {busy} requests in flight");
            self.violated("route_before_stop", message);
        }
    }

    /// The provider was asked to start a replica anew where it is.
    pub(crate) fn restarted(&mut self, replica: ReplicaId, named: bool, busy: u32, now: Timestamp) {
        let Some(book) = self.books.get_mut(&replica) else {
            return;
        };
        book.is_healthy = false;
        let waited = book
            .left_at
            .is_none_or(|left| (now - left).as_seconds() >= book.left_drain_seconds);
        if named {
            let message =
                format!("replica {replica} is restarted while the table in force names it");
            self.violated("route_before_stop", message);
        } else if busy > 0 && !waited {
            let message = format!("replica {replica} is restarted with {busy} requests in flight");
            self.violated("route_before_stop", message);
        }
    }

    /// The user does not care for what may be left of it.
    pub(crate) fn was_purged(&self, replica: ReplicaId) -> bool {
        self.purged.contains(&replica)
    }

    pub(crate) fn leaked(&mut self, replica: ReplicaId, message: String) {
        if !self.purged.contains(&replica) {
            self.violated("leak", message);
        }
    }

    pub(super) fn is_serving(state: &ServiceState) -> bool {
        state.phase == ServicePhase::Running
    }
}
