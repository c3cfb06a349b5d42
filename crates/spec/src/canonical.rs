//! The canonical form of a task: one JSON for one meaning, whatever the file's spelling, order and
//! comments.
//!
//! It can be written to a file and read again (JSON is YAML), and gives the same task.

mod load_balancer;
mod update;

use serde_json::{Map, Value as Json, json};

use crate::decode::json_number;
use crate::decode::resources::DEFAULT_DISK_SIZE_GB;
use crate::masks;
use crate::service::{
    Auth, DEFAULT_PROBE_INTERVAL_SECONDS, LoadBalancingPolicy, ReplicaPolicy, ServiceSpec,
    TargetQps,
};
use crate::task::{
    Choice, FileMountSource, ResourceCandidate, Resources, Task, UNVALUED_SECRETS, Workdir,
};

/// A JSON object under construction; values that say nothing are left out.
struct Object(Map<String, Json>);

impl Object {
    fn new() -> Self {
        Self(Map::new())
    }

    fn put(&mut self, key: &str, value: impl Into<Json>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn put_some(&mut self, key: &str, value: Option<impl Into<Json>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// A number, if it is not the default.
    fn put_number(&mut self, key: &str, number: f64, default: f64) {
        if number != default {
            self.put(key, json_number(number));
        }
    }
}

impl Task {
    /// The task as canonical JSON, keys sorted. It holds the values of secrets: never print it, see
    /// [`canonical_masked`](Self::canonical_masked).
    #[must_use]
    pub fn canonical(&self) -> Json {
        let mut object = Object::new();
        object.put_some("name", self.name.clone());
        object.put_some("workdir", self.workdir.as_ref().map(workdir));
        if self.num_nodes != 1 {
            object.put("num_nodes", self.num_nodes);
        }
        let resources = self.resources.canonical();
        if resources != json!({}) {
            object.put("resources", resources);
        }
        if !self.file_mounts.is_empty() {
            let mounts = self.file_mounts.iter().map(|mount| {
                let source = match &mount.source {
                    FileMountSource::Local(source) | FileMountSource::Url(source) => json!(source),
                    FileMountSource::Storage(storage) => storage.clone(),
                };
                (mount.destination.clone(), source)
            });
            object.put("file_mounts", mounts.collect::<Map<_, _>>());
        }
        if !self.envs.is_empty() {
            object.put("envs", json!(self.envs));
        }
        let valued = self
            .secrets
            .iter()
            .map(|(name, secret)| (name.clone(), json!(secret.reveal())));
        let unvalued = self
            .missing_secrets()
            .map(|name| (name.to_owned(), Json::Null));
        let secrets: Map<String, Json> = unvalued.chain(valued).collect();
        if !secrets.is_empty() {
            object.put("secrets", secrets);
        }
        object.put_some("setup", self.setup.clone());
        object.put_some("run", self.run.clone());
        object.put_some("service", self.service.as_ref().map(ServiceSpec::canonical));
        for (key, value) in self
            .other
            .iter()
            .filter(|(key, _)| *key != UNVALUED_SECRETS)
        {
            object.put(key, value.clone());
        }
        Json::Object(object.0)
    }

    /// The canonical form with every secret, and every place where one was filled in, shown as
    /// `***`.
    #[must_use]
    pub fn canonical_masked(&self) -> Json {
        let mut canonical = self.canonical();
        if let Some(Json::Object(secrets)) = canonical.get_mut("secrets") {
            secrets
                .values_mut()
                .filter(|value| !value.is_null())
                .for_each(|value| *value = json!("***"));
        }
        self.mask_json(&mut canonical);
        canonical
    }

    /// Masks secrets in every string of a JSON value, keys included.
    pub(crate) fn mask_json(&self, value: &mut Json) {
        masks::mask_json(value, &|text| self.masked(text));
    }
}

fn workdir(workdir: &Workdir) -> Json {
    match workdir {
        Workdir::Local(folder) => json!(folder),
        Workdir::Git {
            url,
            reference: None,
        } => json!({ "url": url }),
        Workdir::Git {
            url,
            reference: Some(reference),
        } => json!({ "url": url, "ref": reference }),
    }
}

impl Resources {
    /// `resources` as canonical JSON: alternatives without an order are sorted.
    #[must_use]
    pub fn canonical(&self) -> Json {
        let mut candidates: Vec<Json> = self
            .candidates
            .iter()
            .map(ResourceCandidate::canonical)
            .collect();
        match (self.choice, candidates.as_slice()) {
            (Choice::Single | Choice::AnyOf, [only]) => only.clone(),
            (Choice::Ordered, _) => json!({ "ordered": candidates }),
            _ => {
                candidates.sort_by_cached_key(Json::to_string);
                candidates.dedup();
                match candidates.as_slice() {
                    [only] => only.clone(),
                    _ => json!({ "any_of": candidates }),
                }
            }
        }
    }
}

impl ResourceCandidate {
    fn canonical(&self) -> Json {
        let mut object = Object::new();
        object.put_some("infra", self.infra.clone());
        object.put_some("cpus", self.cpus.clone());
        object.put_some("memory", self.memory.clone());
        object.put_some(
            "accelerators",
            self.accelerators
                .as_ref()
                .map(|(name, count)| json!({ name.as_str(): json_number(*count) })),
        );
        object.put_some("instance_type", self.instance_type.clone());
        if self.use_spot_specified {
            object.put("use_spot", self.use_spot);
        }
        if self.disk_size != DEFAULT_DISK_SIZE_GB {
            object.put("disk_size", self.disk_size);
        }
        object.put_some("disk_tier", self.disk_tier.clone());
        object.put_some("network_tier", self.network_tier.clone());
        if !self.ports.is_empty() {
            object.put("ports", json!(self.ports));
        }
        object.put_some("image_id", self.image_id.clone());
        if !self.labels.is_empty() {
            object.put("labels", json!(self.labels));
        }
        for (key, value) in &self.other {
            object.put(key, value.clone());
        }
        Json::Object(object.0)
    }
}

impl ServiceSpec {
    /// The section in SkyServe's normalised form: the probe's path, initial delay and timeout and
    /// the least number of replicas always, everything else only when it is set, and not its
    /// default.
    #[must_use]
    pub fn canonical(&self) -> Json {
        let mut object = Object::new();
        object.put("readiness_probe", self.canonical_probe());
        object.put("replica_policy", self.replica_policy.canonical());
        if self.load_balancing_policy != LoadBalancingPolicy::default() {
            object.put("load_balancing_policy", self.load_balancing_policy.name());
        }
        let settings = self.load_balancer.canonical();
        if settings != json!({}) {
            object.put("load_balancer", settings);
        }
        object.put("ports", self.port);
        if let Some(tls) = &self.tls {
            object.put(
                "tls",
                json!({ "keyfile": tls.keyfile, "certfile": tls.certfile }),
            );
        }
        if self.auth != Auth::default() {
            object.put("auth", self.auth.name());
        }
        let update = self.update.canonical();
        if update != json!({}) {
            object.put("update", update);
        }
        Json::Object(object.0)
    }

    fn canonical_probe(&self) -> Json {
        let probe = &self.readiness_probe;
        let mut object = Object::new();
        object.put("path", probe.path.clone());
        object.put(
            "initial_delay_seconds",
            json_number(probe.initial_delay_seconds),
        );
        object.put("timeout_seconds", json_number(probe.timeout_seconds));
        if probe.endpoint_probe_interval_seconds != DEFAULT_PROBE_INTERVAL_SECONDS {
            object.put(
                "endpoint_probe_interval_seconds",
                json_number(probe.endpoint_probe_interval_seconds),
            );
        }
        object.put_some(
            "consecutive_failure_threshold_timeout",
            probe.consecutive_failure_threshold_timeout.map(json_number),
        );
        object.put_some("post_data", probe.post_data.as_ref().map(post_data));
        if !probe.headers.is_empty() {
            object.put("headers", json!(probe.headers));
        }
        Json::Object(object.0)
    }
}

/// A body that is not an object can be written only as a string.
fn post_data(data: &Json) -> Json {
    if data.is_object() {
        data.clone()
    } else {
        json!(data.to_string())
    }
}

impl ReplicaPolicy {
    fn canonical(&self) -> Json {
        let mut object = Object::new();
        object.put("min_replicas", self.min_replicas);
        object.put_some("max_replicas", self.max_replicas);
        object.put_some("num_overprovision", self.num_overprovision);
        object.put_some(
            "target_qps_per_replica",
            self.target_qps_per_replica.as_ref().map(target_qps),
        );
        object.put_some(
            "upscale_delay_seconds",
            self.upscale_delay_seconds.map(json_number),
        );
        object.put_some(
            "downscale_delay_seconds",
            self.downscale_delay_seconds.map(json_number),
        );
        object.put_some(
            "base_ondemand_fallback_replicas",
            self.base_ondemand_fallback_replicas,
        );
        object.put_some("dynamic_ondemand_fallback", self.dynamic_ondemand_fallback);
        object.put_some("spot_placer", self.spot_placer.map(crate::SpotPlacer::name));
        Json::Object(object.0)
    }
}

/// A rate as JSON.
pub(crate) fn target_qps(rate: &TargetQps) -> Json {
    match rate {
        TargetQps::Uniform(rate) => json_number(*rate),
        TargetQps::PerAccelerator(rates) => rates
            .iter()
            .map(|(name, rate)| (name.clone(), json_number(*rate)))
            .collect(),
    }
}
