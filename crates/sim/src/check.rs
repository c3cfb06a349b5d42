//! The checkers. They stand outside: they keep books of their own from what users asked for, what was told, what was
//! owed, and what machines and the proxy really did. Two of them go by a word of the planner's: `capacity_floor` and
//! `surge_ceiling` take the target, the trusted version and the room that was found from its state.
//!
//! | checker | promise |
//! |---|---|
//! | `route_before_stop` | no replica is stopped (or restarted) while a table in force names it, or with requests in flight before its drain deadline |
//! | `capacity_floor` | no replica that serves is taken out of traffic below what the settings leave; in a gentle world capacity stands at every second |
//! | `lost_request` | in a gentle world every request finds a replica that answers |
//! | `surge_ceiling`, `max_replicas` | no more replicas than the target and its surge |
//! | `undone` | a version that was given up is launched no more and gets no further replica into a table; a warm one is gone back to in one table |
//! | `pause` | while an update is paused it launches, replaces and moves nothing |
//! | `bad_version`, `innocent`, `verify` | what never works is never rolled out; lost machines are nobody's fault; what is refused gets no traffic |
//! | `endless_launches` | what keeps failing is launched ever more rarely |
//! | `blue_green` | where all updates are blue-green no table mixes contents |
//! | `numbers` | a replica's number is never used twice, and what was ended never comes back |
//! | `explained` | an update in progress says what it waits for |
//! | `quiescence`, `down`, `leak` | after the last fault the world comes to rest, at the target; a service that is taken down leaves nothing |
//! | `pure`, `recovery` | the same step twice; a second tick changes nothing; the state survives the store |

mod books;
mod capacity;
mod rollout;
mod routing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use plan::routing::{ReplicaId, Version};
use plan::{Action, Event, ServiceState, Step, Timestamp, VersionState, report};

use crate::fault::Fault;
use crate::history::Temper;
use crate::machine::Behaviour;
use crate::world::Rest;
pub(crate) use books::{Book, Known};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Who noticed.
    pub checker: &'static str,
    /// What.
    pub message: String,
}

/// A step and what it began from.
#[derive(Clone, Copy)]
pub(crate) struct Taken<'a> {
    pub(crate) before: &'a ServiceState,
    pub(crate) step: &'a Step,
}

pub(crate) struct Checks {
    pub(crate) violation: Option<Violation>,
    pub(crate) rest: Rest,
    temper: Temper,
    known: BTreeMap<Version, Known>,
    books: BTreeMap<ReplicaId, Book>,
    last_replica: ReplicaId,
    generation: u64,
    /// The replicas that the newest table names, with their versions.
    named: BTreeMap<ReplicaId, Version>,
    /// Versions given up for a better one, with the replicas that still served then.
    undone: BTreeMap<Version, BTreeSet<ReplicaId>>,
    launches: BTreeMap<Version, VecDeque<Timestamp>>,
    harms: u32,
    /// All updates so far were blue-green.
    whole: bool,
    /// The gentle world's capacity has stood once.
    stood: bool,
    is_going_down: bool,
    purged: BTreeSet<ReplicaId>,
    /// Since when the controller lives.
    awake_since: Timestamp,
}

impl Checks {
    pub(crate) fn new(temper: Temper) -> Self {
        Self {
            violation: None,
            rest: Rest::default(),
            temper,
            known: BTreeMap::new(),
            books: BTreeMap::new(),
            last_replica: 0,
            generation: 0,
            named: BTreeMap::new(),
            undone: BTreeMap::new(),
            launches: BTreeMap::new(),
            harms: 0,
            whole: true,
            stood: false,
            is_going_down: false,
            purged: BTreeSet::new(),
            awake_since: Timestamp::default(),
        }
    }

    /// The first one counts.
    pub(crate) fn violated(&mut self, checker: &'static str, message: String) {
        self.violation.get_or_insert(Violation { checker, message });
    }

    /// A user's version.
    pub(crate) fn accepted(&mut self, version: &VersionState, behaviour: Behaviour) {
        let known = Known::new(version, behaviour, self.temper);
        self.known.insert(version.version, known);
    }

    /// The version that was to be accepted was not.
    pub(crate) fn refused(&mut self, version: Version) {
        self.known.remove(&version);
    }

    pub(crate) fn works(&self, version: Version) -> bool {
        self.known.get(&version).is_some_and(|known| known.works)
    }

    /// A controller begins.
    pub(crate) fn wakes(&mut self, now: Timestamp) {
        self.awake_since = now;
    }

    /// A replica was struck from outside.
    pub(crate) fn harmed(&mut self, replica: ReplicaId, fault: Fault) {
        self.harms += 1;
        if let Some(book) = self.books.get_mut(&replica) {
            book.harmed = Some(fault);
        }
    }

    /// One step that was committed.
    pub(crate) fn stepped(&mut self, event: &Event, taken: Taken<'_>, now: Timestamp) {
        self.hear(event, taken, now);
        self.note_replicas(&taken.step.state, now);
        self.note_outcomes(event, taken);
        for action in &taken.step.actions {
            match action {
                Action::Launch { replica, version } => {
                    self.launched(taken, *replica, *version, now);
                }
                Action::Route { table } => self.routed(taken, table, now),
                Action::Terminate { replica, .. } => self.end_wanted(*replica, now),
                Action::RestartInPlace { version, .. } => self.restart_wanted(taken, *version),
                _ => {}
            }
        }
        self.undone_at_once(event, taken);
    }

    /// The same state, time and event make the same step, and a second tick changes nothing.
    pub(crate) fn is_pure(
        &mut self,
        before: &ServiceState,
        now: Timestamp,
        event: &Event,
        step: &Step,
    ) {
        if plan::step(before, now, event) != *step {
            self.violated(
                "pure",
                format!("{} makes another step the second time", name(event)),
            );
        }
        let second = plan::step(&step.state, now, &Event::Tick);
        if !second.actions.is_empty() || second.state != step.state {
            let owes = second
                .actions
                .iter()
                .map(Action::key)
                .collect::<Vec<_>>()
                .join(", ");
            let what = format!(
                "a second tick after {} owes [{owes}] and changes {}",
                name(event),
                difference(&step.state, &second.state)
            );
            self.violated("pure", what);
        }
        if let Some(rollout) = step.state.rollout_in_progress() {
            let sentence = report::rollout_sentence(&step.state, rollout, now);
            if !sentence.contains("waiting for") && rollout.paused_at.is_none() {
                self.violated(
                    "explained",
                    format!("it does not say what it waits for: {sentence}"),
                );
            }
        }
    }
}

/// What an event is, without what it says.
fn name(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split([' ', '{', '('])
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The first lines in which two states differ.
fn difference(one: &ServiceState, other: &ServiceState) -> String {
    let text = |state| serde_json::to_string_pretty(state).unwrap_or_default();
    let (one, other) = (text(one), text(other));
    let differs = one
        .lines()
        .zip(other.lines())
        .find(|(one, other)| one != other);
    differs.map_or_else(
        || "what is not stored".to_owned(),
        |(one, other)| format!("{} to {}", one.trim(), other.trim()),
    )
}
