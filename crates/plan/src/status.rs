//! The statuses of replicas and services, their legal transitions, and how a service's status
//! follows from those of all its replicas. Names and lists are SkyServe's (section 2 of its status
//! reference).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Status of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReplicaStatus {
    /// Wanted; its launch has not been taken up yet.
    Pending,
    /// Its machine, network and files are being made, or `setup` runs.
    Provisioning,
    /// The app has been started and has never passed a probe.
    Starting,
    /// The last probe passed.
    Ready,
    /// Was ready once; the last probe failed.
    NotReady,
    /// Draining, or being ended.
    ShuttingDown,
    /// `setup` or `run` failed.
    Failed,
    /// Never became ready within the initial delay.
    FailedInitialDelay,
    /// Was ready, then failed its probes for too long.
    FailedProbing,
    /// Could not be launched.
    FailedProvision,
    /// Could not be ended; something may be left behind.
    FailedCleanup,
    /// Its machine was taken away.
    Preempted,
}

/// Status of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceStatus {
    /// Accepted; nothing decided yet.
    ControllerInit,
    /// No replica ready yet, and none failed.
    ReplicaInit,
    /// At least one replica is ready.
    Ready,
    /// There are no replicas.
    NoReplica,
    /// No replica is ready and at least one failed.
    Failed,
    /// The controller of the service cannot go on.
    ControllerFailed,
    /// Being taken down.
    ShuttingDown,
    /// Taking it down left something behind.
    FailedCleanup,
}

impl ReplicaStatus {
    /// Every status, in the order of a replica's life.
    pub const ALL: [Self; 12] = [
        Self::Pending,
        Self::Provisioning,
        Self::Starting,
        Self::Ready,
        Self::NotReady,
        Self::ShuttingDown,
        Self::Failed,
        Self::FailedInitialDelay,
        Self::FailedProbing,
        Self::FailedProvision,
        Self::FailedCleanup,
        Self::Preempted,
    ];

    /// The name as users see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Provisioning => "PROVISIONING",
            Self::Starting => "STARTING",
            Self::Ready => "READY",
            Self::NotReady => "NOT_READY",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::Failed => "FAILED",
            Self::FailedInitialDelay => "FAILED_INITIAL_DELAY",
            Self::FailedProbing => "FAILED_PROBING",
            Self::FailedProvision => "FAILED_PROVISION",
            Self::FailedCleanup => "FAILED_CLEANUP",
            Self::Preempted => "PREEMPTED",
        }
    }

    /// Whether it ended badly. Failed replicas are not in the total of the REPLICAS column.
    #[must_use]
    pub fn is_failed(self) -> bool {
        matches!(
            self,
            Self::Failed
                | Self::FailedInitialDelay
                | Self::FailedProbing
                | Self::FailedProvision
                | Self::FailedCleanup
        )
    }

    /// Whether it is over, or about to be: it no longer counts toward the target.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self.is_failed() || matches!(self, Self::ShuttingDown | Self::Preempted)
    }

    /// The statuses that may follow this one. Everything that changes a status goes through this
    /// table.
    #[must_use]
    pub fn successors(self) -> &'static [Self] {
        use ReplicaStatus::{
            Failed, FailedCleanup, FailedInitialDelay, FailedProbing, FailedProvision, NotReady,
            Preempted, Provisioning, Ready, ShuttingDown, Starting,
        };
        match self {
            Self::Pending => &[Provisioning, ShuttingDown, FailedProvision, FailedCleanup],
            Self::Provisioning => &[
                Starting,
                ShuttingDown,
                Failed,
                FailedProvision,
                FailedCleanup,
                Preempted,
            ],
            Self::Starting => &[
                Provisioning,
                Ready,
                ShuttingDown,
                Failed,
                FailedInitialDelay,
                FailedCleanup,
                Preempted,
            ],
            Self::Ready => &[
                Provisioning,
                NotReady,
                ShuttingDown,
                Failed,
                FailedCleanup,
                Preempted,
            ],
            Self::NotReady => &[
                Provisioning,
                Ready,
                ShuttingDown,
                Failed,
                FailedProbing,
                FailedCleanup,
                Preempted,
            ],
            Self::ShuttingDown
            | Self::Failed
            | Self::FailedInitialDelay
            | Self::FailedProbing
            | Self::FailedProvision
            | Self::Preempted => &[FailedCleanup],
            Self::FailedCleanup => &[],
        }
    }

    /// Whether a replica may go from this status to `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        self.successors().contains(&next)
    }

    /// Which replicas are given up first when there are too many: the least trusted.
    #[must_use]
    pub fn scale_down_rank(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Provisioning => 1,
            Self::Starting => 2,
            Self::NotReady => 3,
            _ => 4,
        }
    }
}

impl ServiceStatus {
    /// The name as users see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControllerInit => "CONTROLLER_INIT",
            Self::ReplicaInit => "REPLICA_INIT",
            Self::Ready => "READY",
            Self::NoReplica => "NO_REPLICA",
            Self::Failed => "FAILED",
            Self::ControllerFailed => "CONTROLLER_FAILED",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::FailedCleanup => "FAILED_CLEANUP",
        }
    }

    /// What the statuses of *all* replicas make of a running service.
    #[must_use]
    pub fn from_replicas(statuses: impl IntoIterator<Item = ReplicaStatus>) -> Self {
        let (mut any, mut failed) = (false, false);
        for status in statuses {
            if status == ReplicaStatus::Ready {
                return Self::Ready;
            }
            any = true;
            failed |= status.is_failed();
        }
        match (any, failed) {
            (_, true) => Self::Failed,
            (true, false) => Self::ReplicaInit,
            (false, false) => Self::NoReplica,
        }
    }
}

impl fmt::Display for ReplicaStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Display for ServiceStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests;
