//! How many replicas are wanted.
//!
//! Problem: follow the demand without flapping. Rules (SkyServe's, sections 4.1, 4.2 and 4.6 of its
//! reference): every 20 s (5 s while the target is 0) the demand is worked out from the requests of
//! the last 60 s; a higher demand must show at `upscale_delay / 20 s` decisions in a row, a lower
//! one at `downscale_delay / 20 s`, before the target jumps to it; from a target of zero it jumps
//! at once. The target stays within `min_replicas` and `max_replicas`. Without
//! `target_qps_per_replica` the target is `min_replicas`.
//!
//! Cold start: the target begins at `min_replicas`. Recovery: target and counters are part of the
//! state; the request window is not kept, the proxy tells the last 60 s again when it reconnects;
//! until a whole window has been watched the target is not lowered.
//! An update keeps the target (a busy service is never dropped to `min_replicas`) and only clips it
//! to the new limits.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use spec::{ReplicaPolicy, TargetQps};

use crate::routing::Arrivals;
use crate::time::{Span, Timestamp};

/// Requests older than this do not count.
pub const QPS_WINDOW_SECONDS: f64 = 60.0;
/// Seconds between two decisions.
pub const DECISION_INTERVAL_SECONDS: f64 = 20.0;
/// Seconds between two decisions while nothing is wanted.
pub const DECISION_INTERVAL_AT_ZERO_SECONDS: f64 = 5.0;

/// The autoscaler of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Autoscaler {
    /// Replicas wanted, without over-provision.
    pub target: u32,
    /// Decisions in a row that wanted more.
    pub upscale_counter: u32,
    /// Decisions in a row that wanted fewer.
    pub downscale_counter: u32,
    /// No decision before this instant.
    pub next_decision_at: Timestamp,
    /// Requests of the last minute.
    #[serde(skip)]
    pub window: VecDeque<Arrivals>,
}

impl Autoscaler {
    /// The autoscaler of a new service; its first decision is due at once.
    #[must_use]
    pub fn new(policy: &ReplicaPolicy, now: Timestamp) -> Self {
        Self {
            target: policy.min_replicas,
            upscale_counter: 0,
            downscale_counter: 0,
            next_decision_at: now,
            window: VecDeque::new(),
        }
    }

    /// Adds requests and drops those older than the window. An arrival exactly as old as the window
    /// counts.
    pub fn collect(&mut self, arrivals: &[Arrivals], now: Timestamp) {
        // What a clock ahead of ours saw counts as of now, not for ever.
        let seen = arrivals.iter().map(|arrivals| Arrivals {
            at: arrivals.at.min(now),
            count: arrivals.count,
        });
        self.window.extend(seen);
        let oldest = now - Span::from_seconds(QPS_WINDOW_SECONDS);
        self.window.retain(|arrivals| arrivals.at >= oldest);
    }

    /// Requests per second over the window.
    #[must_use]
    pub fn requests_per_second(&self) -> f64 {
        let count: u64 = self
            .window
            .iter()
            .map(|arrivals| u64::from(arrivals.count))
            .sum();
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact below 2^53 requests a minute"
        )]
        let count = count as f64;
        count / QPS_WINDOW_SECONDS
    }

    /// Takes a decision if one is due. Says whether the target changed.
    pub fn decide(&mut self, policy: &ReplicaPolicy, now: Timestamp) -> bool {
        self.decide_knowing(policy, now, true)
    }

    /// The same where the requests of a whole window may not be known (`has_window` false): few
    /// requests prove nothing then. A server that comes back must not take replicas down for what it
    /// has forgotten.
    pub fn decide_knowing(
        &mut self,
        policy: &ReplicaPolicy,
        now: Timestamp,
        has_window: bool,
    ) -> bool {
        let wait = self.next_decision_at - now;
        // A wait longer than any interval comes from a clock that has been set back since.
        if wait > Span::ZERO && wait <= Span::from_seconds(DECISION_INTERVAL_SECONDS) {
            return false;
        }
        let before = self.target;
        self.collect(&[], now);
        let demand = self.demand(policy);
        if demand >= self.target || has_window || policy.target_qps_per_replica.is_none() {
            self.follow(demand, policy);
        } else {
            self.target = policy.clip(self.target);
        }
        let wanted = self
            .target
            .saturating_add(policy.num_overprovision.unwrap_or(0));
        let interval = if wanted == 0 {
            DECISION_INTERVAL_AT_ZERO_SECONDS
        } else {
            DECISION_INTERVAL_SECONDS
        };
        self.next_decision_at = now + Span::from_seconds(interval);
        self.target != before
    }

    /// A new policy comes in force: the target is clipped to it, and raised at once if the traffic
    /// asks for more.
    pub fn adopt(&mut self, policy: &ReplicaPolicy) {
        self.target = if policy.target_qps_per_replica.is_some() {
            policy.clip(self.target).max(self.demand(policy))
        } else {
            policy.min_replicas
        };
        self.upscale_counter = 0;
        self.downscale_counter = 0;
    }

    /// What the traffic asks for now, within the limits of the policy.
    fn demand(&self, policy: &ReplicaPolicy) -> u32 {
        let per_replica = match &policy.target_qps_per_replica {
            None => return policy.min_replicas,
            Some(TargetQps::Uniform(qps)) => *qps,
            Some(TargetQps::PerAccelerator(list)) => list
                .iter()
                .map(|(_, qps)| *qps)
                .fold(f64::INFINITY, f64::min),
        };
        if per_replica.is_nan() || per_replica <= 0.0 {
            return policy.min_replicas;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates; the quotient is not negative"
        )]
        let wanted = (self.requests_per_second() / per_replica).ceil() as u32;
        policy.clip(wanted)
    }

    fn follow(&mut self, demand: u32, policy: &ReplicaPolicy) {
        // Limits hold at once, whatever the counters say.
        self.target = policy.clip(self.target);
        if self.target == 0 {
            self.target = demand;
        } else if demand > self.target {
            self.downscale_counter = 0;
            self.upscale_counter += 1;
            if self.upscale_counter >= threshold(upscale_delay(policy)) {
                self.upscale_counter = 0;
                self.target = demand;
            }
        } else if demand < self.target {
            self.upscale_counter = 0;
            self.downscale_counter += 1;
            if self.downscale_counter >= threshold(downscale_delay(policy)) {
                self.downscale_counter = 0;
                self.target = demand;
            }
        } else {
            self.upscale_counter = 0;
            self.downscale_counter = 0;
        }
    }
}

fn upscale_delay(policy: &ReplicaPolicy) -> f64 {
    policy
        .upscale_delay_seconds
        .unwrap_or(spec::service::DEFAULT_UPSCALE_DELAY_SECONDS)
}

fn downscale_delay(policy: &ReplicaPolicy) -> f64 {
    policy
        .downscale_delay_seconds
        .unwrap_or(spec::service::DEFAULT_DOWNSCALE_DELAY_SECONDS)
}

/// Decisions in a row that make up a delay.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and a negative delay means at once"
)]
fn threshold(delay_seconds: f64) -> u32 {
    (delay_seconds / DECISION_INTERVAL_SECONDS) as u32
}

#[cfg(test)]
mod tests;
