//! Limits of an update. One set per version; every default is a named constant here.

use serde::{Deserialize, Serialize};
use spec::ServiceSpec;

/// A replica counts as available once it was ready this long without a break.
pub const DEFAULT_MIN_HEALTHY_SECONDS: f64 = 10.0;
/// How long requests in flight may keep a replica that is to be stopped.
pub const DEFAULT_DRAIN_TIMEOUT_SECONDS: f64 = 600.0;
/// Added to the initial delay: how long an update may go without progress.
pub const PROGRESS_SLACK_SECONDS: f64 = 600.0;
/// Between TERM and KILL when a replica is ended.
pub const TERMINATION_GRACE_SECONDS: f64 = 10.0;

/// Limits of one update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateSettings {
    /// Seconds a replica must be ready without a break to count as available.
    pub min_healthy_seconds: f64,
    /// Seconds that requests in flight may keep a replica that is to be stopped.
    pub drain_timeout_seconds: f64,
    /// Seconds without progress after which the update has failed.
    pub progress_deadline_seconds: f64,
}

impl UpdateSettings {
    /// The defaults for a service.
    #[must_use]
    pub fn defaults(spec: &ServiceSpec) -> Self {
        Self {
            min_healthy_seconds: DEFAULT_MIN_HEALTHY_SECONDS,
            drain_timeout_seconds: DEFAULT_DRAIN_TIMEOUT_SECONDS,
            progress_deadline_seconds: spec.readiness_probe.initial_delay_seconds
                + PROGRESS_SLACK_SECONDS,
        }
    }
}
