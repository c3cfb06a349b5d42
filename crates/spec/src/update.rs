//! `Update`: the meaning of `service.update`, complete: every default filled in. How one version gives way to the next.
//!
//! All of it is ours; SkyServe has none of it. None of it makes a new replica: it is no part of the content hash.

use serde::{Deserialize, Serialize};

/// Default of `update.min_healthy_seconds`.
pub const DEFAULT_MIN_HEALTHY_SECONDS: f64 = 10.0;
/// Default of `update.drain_timeout_seconds`.
pub const DEFAULT_DRAIN_TIMEOUT_SECONDS: f64 = 600.0;
/// Added to `readiness_probe.initial_delay_seconds` where `update.progress_deadline_seconds` is not set.
pub const PROGRESS_SLACK_SECONDS: f64 = 600.0;
/// Default of `update.verify.timeout_seconds`.
pub const DEFAULT_VERIFY_TIMEOUT_SECONDS: f64 = 60.0;
/// Share of requests, in percent, of the one step of a canary for which nothing else is said.
pub const DEFAULT_CANARY_WEIGHT_PERCENT: f64 = 10.0;

/// `service.update`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    /// How replicas are replaced. `None`, the default, is rolling, and what a flag says goes before.
    pub mode: Option<UpdateMode>,
    /// Replicas that there may be beyond the number wanted while a version gives way to the next. Default 100 %.
    pub max_surge: Surge,
    /// Replicas that may be missing from the number wanted meanwhile, by intention. Default 0.
    pub max_unavailable: Amount,
    /// Seconds that a replica must be ready without a break to count as available. Default 10, at least 0.
    pub min_healthy_seconds: f64,
    /// Seconds without progress after which an update has failed; above `min_healthy_seconds`. `None`, the default, is
    /// the initial delay of the readiness probe and [`PROGRESS_SLACK_SECONDS`].
    pub progress_deadline_seconds: Option<f64>,
    /// Seconds that requests in flight may keep a replica that is to be stopped. Default 600, at least 0.
    pub drain_timeout_seconds: f64,
    /// Whether what was good before is brought back when an update fails. Default true.
    pub auto_rollback: bool,
    /// Seconds that the old version is kept warm after all traffic has moved away from it. Default 0, at least 0.
    pub undo_window_seconds: f64,
    /// How traffic moves in a canary. `None`: see [`Update::canary`].
    pub canary: Option<Canary>,
    /// What is asked of a new replica before it gets traffic.
    pub verify: Option<Verify>,
}

/// `update.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateMode {
    /// Traffic goes to old and new until all new are ready.
    #[default]
    Rolling,
    /// Traffic goes wholly to old, then wholly to new.
    BlueGreen,
    /// A growing share of traffic goes to new.
    Canary,
    /// Each replica is restarted where it is.
    InPlace,
}

/// A number of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// So many.
    Count(u32),
    /// Percent of the replicas wanted; at least 0.
    Percent(f64),
}

/// `update.max_surge`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surge {
    /// As many as there is room for; where there is none, replicas are replaced one at a time.
    Auto,
    /// No more than that.
    Amount(Amount),
}

/// `update.canary`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// One after the other, with rising weights; at least one. After the last the rest of the traffic follows.
    pub steps: Vec<CanaryStep>,
    /// Requests with this header go to the new version whatever the weight.
    pub header: Option<CanaryMatch>,
    /// Requests with this cookie go to the new version whatever the weight.
    pub cookie: Option<CanaryMatch>,
    /// When the new version is found worse than the old one.
    pub analysis: Option<Analysis>,
}

/// One of `update.canary.steps`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CanaryStep {
    /// Share of requests that the new version gets, in percent; above 0, at most 100.
    pub weight_percent: f64,
    /// When the next step comes.
    pub until: StepEnd,
}

/// When a canary's step is over.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    /// After so many seconds; at least 0.
    Seconds(f64),
    /// When a person says so (`sky serve promote`).
    Promoted,
}

/// `update.canary.header` and `update.canary.cookie`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryMatch {
    /// Name of the header, in lower case, or of the cookie.
    pub name: String,
    /// What its value must be.
    pub value: String,
}

/// `update.canary.analysis`: new compared with old over the same minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Analysis {
    /// How much larger the share of failed requests may be, as a share: 0.01, the default, lets 3 % follow on 2 %.
    pub max_error_increase: f64,
    /// How many times as long the requests may take (median and 95th percentile); at least 1. `None`, the default: not
    /// looked at.
    pub max_latency_ratio: Option<f64>,
    /// The same for the time to the first byte of an answer.
    pub max_ttfb_ratio: Option<f64>,
    /// Requests that each version must have answered before the new one is found good; fewer than 30 count as 30. What is
    /// worse is found so as soon as it is certain. Default 100, at least 1.
    pub min_requests: u64,
    /// How sure one must be to find it worse. Default 0.95, between 0.5 and 1.
    pub confidence: f64,
}

/// `update.verify`: a command that a new replica must satisfy before it gets traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verify {
    /// Shell text; `REPLICA_URL` is the replica's address. It is satisfied when this exits with 0.
    pub run: String,
    /// Seconds it may take. Default 60, above 0.
    pub timeout_seconds: f64,
}

impl Default for Update {
    fn default() -> Self {
        Self {
            mode: None,
            max_surge: Surge::Amount(Amount::Percent(100.0)),
            max_unavailable: Amount::Count(0),
            min_healthy_seconds: DEFAULT_MIN_HEALTHY_SECONDS,
            progress_deadline_seconds: None,
            drain_timeout_seconds: DEFAULT_DRAIN_TIMEOUT_SECONDS,
            auto_rollback: true,
            undo_window_seconds: 0.0,
            canary: None,
            verify: None,
        }
    }
}

impl Default for Canary {
    /// One step of [`DEFAULT_CANARY_WEIGHT_PERCENT`] that a person ends.
    fn default() -> Self {
        Self {
            steps: vec![CanaryStep {
                weight_percent: DEFAULT_CANARY_WEIGHT_PERCENT,
                until: StepEnd::Promoted,
            }],
            header: None,
            cookie: None,
            analysis: None,
        }
    }
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            max_error_increase: 0.01,
            max_latency_ratio: None,
            max_ttfb_ratio: None,
            min_requests: 100,
            confidence: 0.95,
        }
    }
}

impl UpdateMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Rolling, Self::BlueGreen, Self::Canary, Self::InPlace];

    /// The name as users write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::BlueGreen => "blue_green",
            Self::Canary => "canary",
            Self::InPlace => "in_place",
        }
    }
}

impl Amount {
    /// The number it makes of `total`, rounded up, as Kubernetes rounds `maxSurge`.
    #[must_use]
    pub fn rounded_up(self, total: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => whole((percent * f64::from(total) / 100.0).ceil()),
        }
    }

    /// The number it makes of `total`, rounded down, as Kubernetes rounds `maxUnavailable`.
    #[must_use]
    pub fn rounded_down(self, total: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => whole((percent * f64::from(total) / 100.0).floor()),
        }
    }

    /// Whether it makes nothing of anything.
    #[must_use]
    pub fn is_zero(self) -> bool {
        match self {
            Self::Count(count) => count == 0,
            Self::Percent(percent) => percent <= 0.0,
        }
    }
}

/// A whole number that is not negative; what is too large becomes the largest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and NaN becomes 0"
)]
fn whole(number: f64) -> u32 {
    number as u32
}
