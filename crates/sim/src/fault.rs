//! What goes wrong, and how often it did.

use std::collections::BTreeMap;
use std::fmt;

use plan::observation::ErrorClass;

/// One kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The next launch fails: no room.
    LaunchNoCapacity,
    /// The next launch fails: quota.
    LaunchQuota,
    /// The next launch fails: credentials.
    LaunchAuth,
    /// The next launch fails for no lasting reason.
    LaunchTransient,
    /// The next launch fails: what it was made of is gone.
    LaunchGone,
    /// The next launch fails by the user's fault.
    LaunchUserFault,
    /// The next launch takes very long.
    LaunchHangs,
    /// The next machine stays in provisioning for very long.
    ProvisioningHangs,
    /// A replica's app exits.
    Crash,
    /// A replica's machine is taken away.
    Lost,
    /// A replica vanishes and the provider knows nothing of it.
    Vanished,
    /// A replica passes a probe and fails the next, for a while.
    Lies,
    /// A replica accepts and never answers, for a while.
    Stalls,
    /// A replica cannot be reached, for a while.
    NetworkLost,
    /// There is no room for more machines, for a while.
    CapacityGone,
    /// Replicas cannot be ended, for a while.
    TerminateFails,
    /// The proxy and the controller hear each other late, for a while.
    LateAcknowledgements,
    /// The next table is told twice, and acknowledged twice.
    DuplicateAcknowledgement,
    /// The proxy's connection breaks; what was under way on it is lost.
    Reconnect,
    /// The proxy dies with every request it carries, and comes back with its last table.
    ProxyCrash,
    /// The store cannot be written, for a while.
    StoreFails,
    /// The controller is killed between events.
    ControllerKilled,
    /// The controller is killed before a commit.
    KilledBeforeCommit,
    /// The controller is killed after a commit, before anything of it is done.
    KilledAfterCommit,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 24] = [
        Self::LaunchNoCapacity,
        Self::LaunchQuota,
        Self::LaunchAuth,
        Self::LaunchTransient,
        Self::LaunchGone,
        Self::LaunchUserFault,
        Self::LaunchHangs,
        Self::ProvisioningHangs,
        Self::Crash,
        Self::Lost,
        Self::Vanished,
        Self::Lies,
        Self::Stalls,
        Self::NetworkLost,
        Self::CapacityGone,
        Self::TerminateFails,
        Self::LateAcknowledgements,
        Self::DuplicateAcknowledgement,
        Self::Reconnect,
        Self::ProxyCrash,
        Self::StoreFails,
        Self::ControllerKilled,
        Self::KilledBeforeCommit,
        Self::KilledAfterCommit,
    ];

    /// Those that take nothing from a good version: whatever else happens, its capacity must stand.
    pub(crate) const GENTLE: [Self; 7] = [
        Self::TerminateFails,
        Self::LateAcknowledgements,
        Self::DuplicateAcknowledgement,
        Self::Reconnect,
        Self::StoreFails,
        Self::ControllerKilled,
        Self::LaunchHangs,
    ];

    /// Those of the machines that are no version's fault.
    pub(crate) const INNOCENT: [Self; 12] = [
        Self::LaunchNoCapacity,
        Self::LaunchQuota,
        Self::LaunchAuth,
        Self::LaunchTransient,
        Self::LaunchGone,
        Self::Lost,
        Self::Vanished,
        Self::CapacityGone,
        Self::LateAcknowledgements,
        Self::Reconnect,
        Self::ControllerKilled,
        Self::ProxyCrash,
    ];

    /// What a failed launch is told to be.
    pub(crate) fn launch_error(self) -> Option<ErrorClass> {
        match self {
            Self::LaunchNoCapacity => Some(ErrorClass::NoCapacity),
            Self::LaunchQuota => Some(ErrorClass::Quota),
            Self::LaunchAuth => Some(ErrorClass::Auth),
            Self::LaunchTransient => Some(ErrorClass::Transient),
            Self::LaunchGone => Some(ErrorClass::Gone),
            Self::LaunchUserFault => Some(ErrorClass::UserFault),
            _ => None,
        }
    }

    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LaunchNoCapacity => "launch fails: no capacity",
            Self::LaunchQuota => "launch fails: quota",
            Self::LaunchAuth => "launch fails: credentials",
            Self::LaunchTransient => "launch fails: transient",
            Self::LaunchGone => "launch fails: gone",
            Self::LaunchUserFault => "launch fails: user's fault",
            Self::LaunchHangs => "launch hangs",
            Self::ProvisioningHangs => "provisioning hangs",
            Self::Crash => "replica crashes",
            Self::Lost => "machine is taken away",
            Self::Vanished => "replica vanishes",
            Self::Lies => "replica lies (passes a probe, fails the next)",
            Self::Stalls => "replica stalls",
            Self::NetworkLost => "replica loses its network",
            Self::CapacityGone => "capacity disappears and returns",
            Self::TerminateFails => "replicas cannot be ended",
            Self::LateAcknowledgements => "acknowledgements are late",
            Self::DuplicateAcknowledgement => "acknowledgement is duplicated",
            Self::Reconnect => "proxy reconnects",
            Self::ProxyCrash => "proxy crashes",
            Self::StoreFails => "store cannot be written",
            Self::ControllerKilled => "controller is killed between events",
            Self::KilledBeforeCommit => "controller is killed before a commit",
            Self::KilledAfterCommit => "controller is killed after a commit",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// How often each kind struck.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts(BTreeMap<Fault, u64>);

impl FaultCounts {
    /// One more.
    pub(crate) fn note(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }

    /// How often one kind struck.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// How many there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}
