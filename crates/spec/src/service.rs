//! `ServiceSpec`: the meaning of the `service:` section. Only valid values exist here; what was
//! written wrongly has become a [`Diagnostic`](crate::Diagnostic) before one of these is built.
//!
//! Field names, defaults and rules are SkyServe's (version 0.14.1, section 1.3 of its schema), so
//! that the canonical form of a service reads like the file that made it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::load_balancer::LoadBalancer;
use crate::update::Update;

/// Default of `readiness_probe.initial_delay_seconds`.
pub const DEFAULT_INITIAL_DELAY_SECONDS: f64 = 1200.0;
/// Default of `readiness_probe.timeout_seconds`.
pub const DEFAULT_PROBE_TIMEOUT_SECONDS: f64 = 15.0;
/// Default of `readiness_probe.endpoint_probe_interval_seconds`.
pub const DEFAULT_PROBE_INTERVAL_SECONDS: f64 = 10.0;
/// Used where `readiness_probe.consecutive_failure_threshold_timeout` is not set.
pub const DEFAULT_CONSECUTIVE_FAILURE_SECONDS: f64 = 180.0;
/// Default of `load_balancer.stream_timeout_seconds`.
pub const DEFAULT_STREAM_TIMEOUT_SECONDS: f64 = 120.0;
/// Used where `replica_policy.upscale_delay_seconds` is not set.
pub const DEFAULT_UPSCALE_DELAY_SECONDS: f64 = 300.0;
/// Used where `replica_policy.downscale_delay_seconds` is not set.
pub const DEFAULT_DOWNSCALE_DELAY_SECONDS: f64 = 1200.0;

/// The `service:` section, complete: every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// How a replica is asked whether it is ready.
    pub readiness_probe: ReadinessProbe,
    /// How many replicas there shall be.
    pub replica_policy: ReplicaPolicy,
    /// How the load balancer chooses a replica.
    pub load_balancing_policy: LoadBalancingPolicy,
    /// Settings of the load balancer.
    pub load_balancer: LoadBalancer,
    /// The port that each replica listens on (`service.ports`, else the only port of
    /// `resources.ports`).
    pub port: u16,
    /// TLS at the endpoint.
    pub tls: Option<Tls>,
    /// Who may use the endpoint.
    #[serde(default)]
    pub auth: Auth,
    /// How a version of it gives way to the next.
    #[serde(default)]
    pub update: Update,
}

/// `service.readiness_probe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadinessProbe {
    /// Path of the request; starts with `/`.
    pub path: String,
    /// Seconds from the start of the app within which it must answer for the first time.
    pub initial_delay_seconds: f64,
    /// Seconds after which one probe counts as failed.
    pub timeout_seconds: f64,
    /// Seconds between two probes of a ready replica.
    pub endpoint_probe_interval_seconds: f64,
    /// Seconds of unbroken failure after which a replica that was ready is given up.
    /// `None` means [`DEFAULT_CONSECUTIVE_FAILURE_SECONDS`].
    pub consecutive_failure_threshold_timeout: Option<f64>,
    /// When present the probe is a POST with this JSON body, else a GET.
    pub post_data: Option<serde_json::Value>,
    /// The body of that POST as text, with its keys in the order written. `None` means that
    /// `post_data` may be written in any order.
    #[serde(default)]
    pub post_data_json: Option<String>,
    /// Headers sent with the probe only. Values may be credentials: never print them.
    pub headers: BTreeMap<String, String>,
}

/// `service.replica_policy`, or the short form `service.replicas`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaPolicy {
    /// Fewest replicas.
    pub min_replicas: u32,
    /// Most replicas; `None` means the number is fixed at `min_replicas`.
    pub max_replicas: Option<u32>,
    /// Replicas beyond the target.
    pub num_overprovision: Option<u32>,
    /// Requests per second that one replica is meant to serve.
    pub target_qps_per_replica: Option<TargetQps>,
    /// How `target_qps_per_replica` is shown: as Python shows the value written (`5.0`, not `5`).
    #[serde(default)]
    pub target_qps_spelling: Option<String>,
    /// Seconds that a higher demand must last; `None` means [`DEFAULT_UPSCALE_DELAY_SECONDS`].
    pub upscale_delay_seconds: Option<f64>,
    /// Seconds that a lower demand must last; `None` means [`DEFAULT_DOWNSCALE_DELAY_SECONDS`].
    pub downscale_delay_seconds: Option<f64>,
    /// On-demand replicas that are always there beside spot ones.
    pub base_ondemand_fallback_replicas: Option<u32>,
    /// Whether missing spot replicas are covered by on-demand ones.
    pub dynamic_ondemand_fallback: Option<bool>,
    /// How spot replicas are placed.
    pub spot_placer: Option<SpotPlacer>,
}

/// `replica_policy.target_qps_per_replica`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetQps {
    /// The same for every replica; greater than zero.
    Uniform(f64),
    /// By accelerator (`H100:1`), for `instance_aware_least_load`; in the order written, each
    /// greater than zero.
    PerAccelerator(Vec<(String, f64)>),
}

/// `service.load_balancing_policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalancingPolicy {
    /// The next replica in turn.
    RoundRobin,
    /// The replica with the fewest requests in flight.
    #[default]
    LeastLoad,
    /// The replica with the fewest requests in flight for its strength.
    InstanceAwareLeastLoad,
    /// Requests of one session go to one replica, unless it has far more to do than the others.
    SessionAffinity,
    /// Requests whose prompts begin alike go to the replica that has seen that beginning, unless it has far more to do
    /// than the others.
    PrefixAffinity,
}

/// `service.auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Everyone who reaches it, unless a key was made with `sky serve auth create`.
    #[default]
    None,
    /// Whoever shows an API key: `Authorization: Bearer KEY`.
    ApiKey,
}

/// `replica_policy.spot_placer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpotPlacer {
    /// Cheapest place that has not refused or preempted lately.
    DynamicFallback,
}

/// `service.tls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Path of the private key.
    pub keyfile: String,
    /// Path of the certificate chain.
    pub certfile: String,
}

impl LoadBalancingPolicy {
    /// Every policy, in the order in which messages name them.
    pub const ALL: [Self; 5] = [
        Self::RoundRobin,
        Self::LeastLoad,
        Self::InstanceAwareLeastLoad,
        Self::SessionAffinity,
        Self::PrefixAffinity,
    ];
}

impl Auth {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::None, Self::ApiKey];

    /// How the YAML spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ApiKey => "api_key",
        }
    }
}

impl ReplicaPolicy {
    /// The largest target that the autoscaler may choose: `max_replicas`, or `min_replicas` when
    /// unset.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.max_replicas
            .unwrap_or(self.min_replicas)
            .max(self.min_replicas)
    }

    /// `wanted`, held between `min_replicas` and [`max`](Self::max).
    #[must_use]
    pub fn clip(&self, wanted: u32) -> u32 {
        wanted.clamp(self.min_replicas, self.max())
    }

    /// A fixed number of replicas.
    #[must_use]
    pub fn fixed(replicas: u32) -> Self {
        Self {
            min_replicas: replicas,
            max_replicas: None,
            num_overprovision: None,
            target_qps_per_replica: None,
            target_qps_spelling: None,
            upscale_delay_seconds: None,
            downscale_delay_seconds: None,
            base_ondemand_fallback_replicas: None,
            dynamic_ondemand_fallback: None,
            spot_placer: None,
        }
    }
}

impl Default for ReadinessProbe {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            initial_delay_seconds: DEFAULT_INITIAL_DELAY_SECONDS,
            timeout_seconds: DEFAULT_PROBE_TIMEOUT_SECONDS,
            endpoint_probe_interval_seconds: DEFAULT_PROBE_INTERVAL_SECONDS,
            consecutive_failure_threshold_timeout: None,
            post_data: None,
            post_data_json: None,
            headers: BTreeMap::new(),
        }
    }
}
