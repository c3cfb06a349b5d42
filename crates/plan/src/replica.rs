//! One replica's record and the only way its status changes.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::observation::Exit;
use crate::rollout::Restart;
use crate::routing::{Generation, ReplicaId, Version};
use crate::status::ReplicaStatus;
use crate::time::Timestamp;
use crate::verify::Verification;

/// One replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replica {
    /// Its number.
    pub id: ReplicaId,
    /// The version it counts for.
    pub version: Version,
    /// The version whose task was launched; differs after reuse.
    pub launched_version: Version,
    /// Status. Changed only by [`become_status`](Self::become_status).
    pub status: ReplicaStatus,
    /// When the planner wanted it.
    pub created_at: Timestamp,
    /// When the provider took the launch up.
    pub launched_at: Option<Timestamp>,
    /// When `setup` was first seen to run.
    #[serde(default)]
    pub setup_started_at: Option<Timestamp>,
    /// When `run` started: the initial delay counts from here.
    pub app_started_at: Option<Timestamp>,
    /// When it was ready for the first time.
    pub first_ready_at: Option<Timestamp>,
    /// When it was available for the first time: ready without a break for as long as its version
    /// asks for.
    #[serde(default)]
    pub first_available_at: Option<Timestamp>,
    /// Since when it has been ready without a break.
    pub ready_since: Option<Timestamp>,
    /// Since when every probe failed.
    pub failing_since: Option<Timestamp>,
    /// What the last failed probe saw.
    pub last_probe_failure: Option<String>,
    /// Where the app answers.
    pub endpoint: Option<SocketAddr>,
    /// The INFRA column.
    pub infra: Option<String>,
    /// The RESOURCES column.
    pub resources: Option<String>,
    /// The RESOURCES column in verbose mode.
    pub resources_full: Option<String>,
    /// What provisioning is doing.
    pub detail: Option<String>,
    /// Why it failed or goes.
    pub reason: Option<String>,
    /// How `setup` or `run` ended, if it failed; without the lines of its log.
    #[serde(default)]
    pub exit: Option<Exit>,
    /// How far its verification is, where its version asks for one.
    #[serde(default, skip_serializing_if = "Verification::is_none")]
    pub verification: Verification,
    /// Whether a routing table names it.
    pub routed: Routed,
    /// How far its restart is, while it gets another version where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// How far its end is, once it has been decided.
    pub ending: Option<Ending>,
}

/// Whether a routing table names a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routed {
    /// None ever did.
    #[default]
    Never,
    /// The newest one does.
    InTable,
    /// The table of this generation was the first without it.
    LeftIn(Generation),
}

/// How far the end of a replica is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// When it was decided.
    pub since: Timestamp,
    /// Requests in flight may keep it until then.
    pub drain_deadline: Timestamp,
    /// Whether the provider was asked to end it.
    pub terminate_asked: bool,
    /// Failed attempts to end it.
    pub attempts: u32,
    /// No new attempt before this instant.
    pub retry_at: Option<Timestamp>,
    /// Whether all of it is gone.
    pub released: bool,
    /// Forget the record even if its end fails.
    pub purge: bool,
}

impl Replica {
    /// A replica that is wanted from `now` on.
    #[must_use]
    pub fn new(id: ReplicaId, version: Version, now: Timestamp) -> Self {
        Self {
            id,
            version,
            launched_version: version,
            status: ReplicaStatus::Pending,
            created_at: now,
            launched_at: None,
            setup_started_at: None,
            app_started_at: None,
            first_ready_at: None,
            first_available_at: None,
            ready_since: None,
            failing_since: None,
            last_probe_failure: None,
            endpoint: None,
            infra: None,
            resources: None,
            resources_full: None,
            detail: None,
            reason: None,
            exit: None,
            verification: Verification::None,
            routed: Routed::Never,
            restart: None,
            ending: None,
        }
    }

    /// Takes a new status, if the table of legal transitions allows it; says whether it did.
    pub fn become_status(&mut self, next: ReplicaStatus) -> bool {
        if !self.status.may_become(next) {
            return false;
        }
        self.status = next;
        if next != ReplicaStatus::Ready {
            self.ready_since = None;
        }
        true
    }

    /// Whether it counts toward the target.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.status.is_terminal()
    }

    /// Whether the provider is starting it anew: what is seen and said of it is of before.
    #[must_use]
    pub fn is_restarting(&self) -> bool {
        self.restart.is_some_and(|restart| restart.asked)
    }

    /// Whether it is READY.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status == ReplicaStatus::Ready
    }

    /// Whether it is READY, or was until less than `grace_seconds` ago: one failed probe is no
    /// death.
    #[must_use]
    pub fn is_answering(&self, now: Timestamp, grace_seconds: f64) -> bool {
        match self.status {
            ReplicaStatus::Ready => true,
            ReplicaStatus::NotReady => self
                .failing_since
                .is_some_and(|since| (now - since).as_seconds() < grace_seconds),
            _ => false,
        }
    }

    /// Seconds since it was ready for the first time; 0 when it never was.
    #[must_use]
    pub fn lived_seconds(&self, now: Timestamp) -> f64 {
        self.first_ready_at
            .map_or(0.0, |since| (now - since).as_seconds())
    }

    /// How far it is, for telling progress from standing still: 0 (wanted) to 5 (available).
    #[must_use]
    pub fn progress_rank(&self, now: Timestamp, min_healthy_seconds: f64) -> u32 {
        match self.status {
            ReplicaStatus::Provisioning if self.setup_started_at.is_some() => 2,
            ReplicaStatus::Provisioning => 1,
            ReplicaStatus::Starting => 3,
            ReplicaStatus::Ready if self.is_available(now, min_healthy_seconds) => 5,
            ReplicaStatus::Ready | ReplicaStatus::NotReady => 4,
            _ => 0,
        }
    }

    /// Whether it has been ready without a break for `min_healthy_seconds`.
    #[must_use]
    pub fn is_available(&self, now: Timestamp, min_healthy_seconds: f64) -> bool {
        self.is_ready()
            && self
                .ready_since
                .is_some_and(|since| (now - since).as_seconds() >= min_healthy_seconds)
    }
}
