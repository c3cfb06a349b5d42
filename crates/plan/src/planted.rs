//! Deliberate mistakes, for the simulator to find: they show that its checkers notice what they are there for. Only with the
//! feature `planted-bugs`, which no product has.

use std::cell::Cell;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A replica is stopped without waiting for the proxy to acknowledge a table without it.
    StopsUnacknowledged,
    /// A replica is stopped without waiting for its requests in flight.
    StopsBusy,
    /// The acknowledgement of an older table is taken for that of the newest.
    BelievesAnyAcknowledgement,
    /// Old replicas give way to new ones that are not available yet.
    ReplacesTooEarly,
    /// Blue-green moves as soon as one new replica is available.
    MovesTooEarly,
    /// Launches know no ceiling.
    NoCeiling,
    /// A paused update goes on launching.
    LaunchesWhilePaused,
    /// Back-off is forgotten.
    NoBackoff,
    /// A lost machine counts as a failure of its version.
    BlamesLostMachines,
    /// An update that gets no further is waited for for ever.
    WaitsForEver,
    /// A version that failed is not undone.
    NeverUndoes,
    /// What is given up and does not serve is kept, and may come to serve.
    KeepsTheUseless,
    /// During an update nothing lost is made up for.
    NoRepair,
    /// A replica that could not be ended is forgotten.
    ForgetsWhatIsLeft,
    /// A replica that failed a probe stays in the table's versions, and one that ends stays in the table.
    RoutesToTheEnding,
    /// The undo window never closes.
    WarmForEver,
    /// A command that a replica does not satisfy is taken for satisfied.
    IgnoresVerify,
    /// A replica's number is used again.
    ReusesNumbers,
}

impl Bug {
    /// Every mistake.
    pub const ALL: [Self; 18] = [
        Self::StopsUnacknowledged,
        Self::StopsBusy,
        Self::BelievesAnyAcknowledgement,
        Self::ReplacesTooEarly,
        Self::MovesTooEarly,
        Self::NoCeiling,
        Self::LaunchesWhilePaused,
        Self::NoBackoff,
        Self::BlamesLostMachines,
        Self::WaitsForEver,
        Self::NeverUndoes,
        Self::KeepsTheUseless,
        Self::NoRepair,
        Self::ForgetsWhatIsLeft,
        Self::RoutesToTheEnding,
        Self::WarmForEver,
        Self::IgnoresVerify,
        Self::ReusesNumbers,
    ];
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// From now on the planner makes this mistake, on this thread.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether it makes this one.
pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
