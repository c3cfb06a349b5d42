//! Limits of an update. One set per version, worked out of its `service.update` once.

use serde::{Deserialize, Serialize};
use spec::update::PROGRESS_SLACK_SECONDS;
use spec::{Amount, Canary, ServiceSpec, Surge, Update, Verify};

/// Between TERM and KILL when a replica is ended.
pub const TERMINATION_GRACE_SECONDS: f64 = 10.0;

/// Limits of one update. What is missing in a state of an earlier release has its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateSettings {
    /// Seconds a replica must be ready without a break to count as available.
    pub min_healthy_seconds: f64,
    /// Seconds that requests in flight may keep a replica that is to be stopped.
    pub drain_timeout_seconds: f64,
    /// Seconds without progress after which the update has failed.
    pub progress_deadline_seconds: f64,
    /// Replicas beyond the target.
    pub max_surge: Surge,
    /// Replicas missing from the target, by intention.
    pub max_unavailable: Amount,
    /// Whether the trusted version is desired again when the update fails.
    pub auto_rollback: bool,
    /// Seconds that the old version stays warm after the traffic has moved.
    pub undo_window_seconds: f64,
    /// How traffic moves in a canary.
    pub canary: Canary,
    /// What a new replica must satisfy before it gets traffic.
    pub verify: Option<Verify>,
}

impl Default for UpdateSettings {
    fn default() -> Self {
        let initial_delay = spec::service::DEFAULT_INITIAL_DELAY_SECONDS;
        Self::from_update(&Update::default(), initial_delay)
    }
}

impl UpdateSettings {
    /// What a service's YAML says, its defaults filled in.
    #[must_use]
    pub fn of(spec: &ServiceSpec) -> Self {
        Self::from_update(&spec.update, spec.readiness_probe.initial_delay_seconds)
    }

    fn from_update(update: &Update, initial_delay_seconds: f64) -> Self {
        Self {
            min_healthy_seconds: update.min_healthy_seconds,
            drain_timeout_seconds: update.drain_timeout_seconds,
            progress_deadline_seconds: update
                .progress_deadline_seconds
                .unwrap_or(initial_delay_seconds + PROGRESS_SLACK_SECONDS),
            max_surge: update.max_surge,
            max_unavailable: update.max_unavailable,
            auto_rollback: update.auto_rollback,
            undo_window_seconds: update.undo_window_seconds,
            canary: update.canary.clone().unwrap_or_default(),
            verify: update.verify.clone(),
        }
    }
}
