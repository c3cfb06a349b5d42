//! What an update would do, on the wire.

use plan::rollout::UpdateMode;
use serde::{Deserialize, Serialize};

/// Answer to `POST /v1/services/NAME/versions?dry_run=true`. It comes from the planner itself, run on a copy of the
/// service in an ideal world: launches take as long as they were measured to take, and nothing fails.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DryRun {
    /// Name of the service.
    pub name: String,
    /// The number that the version would get.
    pub version: u32,
    /// How replicas would be replaced.
    pub mode: UpdateMode,
    /// Running replicas that already are what the version asks for and would take its number.
    pub reused: Vec<u32>,
    /// Running replicas that would be started anew where they are.
    pub restarted: Vec<u32>,
    /// How many replicas would be launched.
    pub launched: u32,
    /// Running replicas that would be stopped.
    pub stopped: Vec<u32>,
    /// Replicas that there are now, those on their way out included.
    pub replicas_now: u32,
    /// The most replicas that there would be at one time.
    pub peak_replicas: u32,
    /// Replicas that there would be in the end.
    pub replicas_after: u32,
    /// Replicas with traffic now.
    pub serving_now: u32,
    /// The fewest replicas with traffic at any time until the end.
    pub lowest_serving: u32,
    /// What the replicas beyond those of now would cost, dollars per hour; 0 on this machine.
    pub extra_cost_per_hour: f64,
    /// How it would end.
    pub outcome: Forecast,
    /// Seconds until then; `None` where no replica of the service was ever seen to become ready.
    pub duration_seconds: Option<f64>,
    /// How many times it would wait for `sky serve promote`; the duration has none of that.
    pub promotions: u32,
    /// Seconds that requests in flight may keep each replica that is to be stopped beyond that.
    pub drain_timeout_seconds: f64,
    /// Where the duration comes from.
    pub measured: Option<Measured>,
    /// What would happen, in order.
    pub steps: Vec<ForecastStep>,
}

/// How an update would end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Forecast {
    /// Every replica would be of the new version.
    Succeeds,
    /// It would not end.
    Waits {
        /// What for: one sentence.
        summary: String,
    },
}

/// How long replicas of the service took to become ready: the median of those that there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// On how many replicas it was measured.
    pub replicas: u32,
    /// Seconds from the launch to the start of `run`: machine, files and `setup`.
    pub provision_seconds: f64,
    /// Seconds from the start of `run` to the first successful probe.
    pub start_seconds: f64,
}

/// One thing that would happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastStep {
    /// Seconds from now.
    pub at_seconds: f64,
    /// Short stable name of the kind of event.
    pub kind: String,
    /// A sentence.
    pub message: String,
}
