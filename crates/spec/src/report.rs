//! What `sky serve validate --json` says of one file. Names of values are those that SkyServe's own
//! objects use, so that a checker can compare the two.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::canonical::target_qps;
use crate::decode::infra::CLOUDS;
use crate::decode::json_number;
use crate::diagnostic::Diagnostic;
use crate::loader;
use crate::parse::{Checked, has_errors};
use crate::service::{ServiceSpec, TargetQps};
use crate::source::{Source, SourceText};
use crate::task::{Choice, FileMountSource, ResourceCandidate, Task, Workdir};

/// The report of a file: `file`, `verdict`, `diagnostics`, and for an accepted file `service`,
/// `task` and `canonical`. Secrets are masked.
#[must_use]
pub fn validation_report(source: &SourceText, result: &Result<Task, Vec<Diagnostic>>) -> Json {
    match result {
        Ok(task) => report(source, Some(task), &[]),
        Err(diagnostics) => report(source, None, diagnostics),
    }
}

impl Checked {
    /// The report of a file with its warnings, see [`validation_report`].
    #[must_use]
    pub fn report(&self, source: &SourceText) -> Json {
        report(source, self.task.as_ref(), &self.diagnostics)
    }
}

fn report(source: &SourceText, task: Option<&Task>, diagnostics: &[Diagnostic]) -> Json {
    let accepted = task.is_some() && !has_errors(diagnostics);
    let task = task.filter(|_| accepted);
    json!({
        "file": source.name,
        "verdict": if accepted { "accepted" } else { "rejected" },
        "diagnostics": diagnostics,
        "service": task.and_then(|task| service_report(source, task)),
        "task": task.map(task_report),
        "canonical": task.map(Task::canonical_masked),
    })
}

fn service_report(source: &SourceText, task: &Task) -> Option<Json> {
    let service = task.service.as_ref()?;
    let probe = &service.readiness_probe;
    let policy = &service.replica_policy;
    let fallback = policy.dynamic_ondemand_fallback == Some(true)
        || policy.base_ondemand_fallback_replicas > Some(0);
    let written_policy = written_load_balancing_policy(source);
    let mut yaml = service.canonical();
    if let (Some(policy), Json::Object(fields)) = (&written_policy, &mut yaml) {
        // SkyServe repeats a policy that was written, even the default.
        fields.insert("load_balancing_policy".to_owned(), json!(policy));
    }
    if let Some(data) = &probe.post_data
        && let Some(written) = yaml.pointer_mut("/readiness_probe/post_data")
    {
        *written = data.clone();
    }
    let headers = shown_headers(&probe.headers);
    if let (Some(headers), Some(written)) = (&headers, yaml.pointer_mut("/readiness_probe/headers"))
    {
        *written = headers.clone();
    }
    let failure_threshold = probe.consecutive_failure_threshold_timeout.map(json_number);
    let mut report = json!({
        "autoscaler_class": autoscaler_class(service, fallback),
        "base_ondemand_fallback_replicas": policy.base_ondemand_fallback_replicas,
        "consecutive_failure_threshold_timeout": failure_threshold,
        "downscale_delay_seconds": policy.downscale_delay_seconds.map(json_number),
        "dynamic_ondemand_fallback": policy.dynamic_ondemand_fallback,
        "endpoint_probe_interval_seconds": json_number(probe.endpoint_probe_interval_seconds),
        "initial_delay_seconds": json_number(probe.initial_delay_seconds),
        "lb_stream_timeout_seconds": json_number(service.load_balancer.stream_timeout_seconds),
        "load_balancing_policy": service.load_balancing_policy.name(),
        "load_balancing_policy_raw": written_policy,
        "max_replicas": policy.max_replicas,
        "min_replicas": policy.min_replicas,
        "num_overprovision": policy.num_overprovision,
        "pool": false,
        "ports": service.port.to_string(),
        "post_data": probe.post_data,
        "queue_length_threshold": null,
        "readiness_headers": headers,
        "readiness_path": probe.path,
        "readiness_timeout_seconds": json_number(probe.timeout_seconds),
        "spot_placer": policy.spot_placer.map(crate::SpotPlacer::name),
        "strings": {
            "__repr__": service.summary(),
            "autoscaling_policy_str": service.autoscaling_policy_string(),
            "probe_str": service.probe_string(),
            "spot_policy_str": service.spot_policy_string(),
            "tls_str": service.tls_string(),
        },
        "target_qps_per_replica": policy.target_qps_per_replica.as_ref().map(target_qps),
        "tls": service.tls,
        "to_yaml_config": yaml,
        "upscale_delay_seconds": policy.upscale_delay_seconds.map(json_number),
        "use_ondemand_fallback": fallback,
    });
    task.mask_json(&mut report);
    Some(report)
}

fn autoscaler_class(service: &ServiceSpec, fallback: bool) -> &'static str {
    match service.replica_policy.target_qps_per_replica {
        _ if fallback => "FallbackRequestRateAutoscaler",
        Some(TargetQps::PerAccelerator(_)) => "InstanceAwareRequestRateAutoscaler",
        _ => "RequestRateAutoscaler",
    }
}

/// Headers with the values of credentials masked; `None` when there are none.
fn shown_headers(headers: &BTreeMap<String, String>) -> Option<Json> {
    let shown = |(name, value): (&String, &String)| {
        (
            name.clone(),
            json!(if is_credential(name) {
                "***"
            } else {
                value.as_str()
            }),
        )
    };
    (!headers.is_empty()).then(|| Json::Object(headers.iter().map(shown).collect()))
}

/// Whether the value of a header is likely a credential.
fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["auth", "cookie", "key", "token", "secret", "password"]
        .iter()
        .any(|part| name.contains(part))
}

/// What the file itself says of `service.load_balancing_policy`; the meaning does not tell a
/// default that was written from one that was not.
fn written_load_balancing_policy(source: &SourceText) -> Option<String> {
    let decoded = Source::decode(source).ok()?;
    let documents = loader::load(&decoded).ok()?;
    let root = documents
        .iter()
        .find(|document| document.get("service").is_some())?;
    let policy = root.get("service")?.get("load_balancing_policy")?;
    policy
        .as_str()
        .filter(|text| !text.contains('$'))
        .map(ToOwned::to_owned)
}

fn task_report(task: &Task) -> Json {
    let mut file_mounts = Map::new();
    let mut storage_mounts = Vec::new();
    for mount in &task.file_mounts {
        match &mount.source {
            FileMountSource::Local(source) | FileMountSource::Url(source) => {
                file_mounts.insert(mount.destination.clone(), json!(source));
            }
            FileMountSource::Storage(_) => storage_mounts.push(mount.destination.clone()),
        }
    }
    let workdir = task.workdir.as_ref().map(|workdir| match workdir {
        Workdir::Local(folder) => json!(folder),
        Workdir::Git { url, reference } => json!({ "url": url, "ref": reference }),
    });
    let candidates = &task.resources.candidates;
    let mut report = json!({
        "envs": task.envs,
        "file_mounts": (!task.file_mounts.is_empty()).then_some(file_mounts),
        "has_run": task.run.is_some(),
        "has_setup": task.setup.is_some(),
        "name": task.name,
        "num_nodes": task.num_nodes,
        "resources": candidates.iter().map(candidate_report).collect::<Vec<_>>(),
        "resources_count": candidates.len(),
        "resources_kind": match task.resources.choice {
            Choice::Ordered => "ordered",
            _ if candidates.len() == 1 => "single",
            _ => "any_of",
        },
        "run": task.run,
        "secrets": task.secrets.keys().collect::<Vec<_>>(),
        "setup": task.setup,
        "storage_mounts": storage_mounts,
        "workdir": workdir,
    });
    task.mask_json(&mut report);
    report
}

fn candidate_report(candidate: &ResourceCandidate) -> Json {
    let shown = |cloud: &String| {
        CLOUDS
            .iter()
            .find(|(name, _)| *name == cloud.as_str())
            .map(|(_, shown)| *shown)
    };
    let region = candidate
        .region
        .as_ref()
        .map(|region| match candidate.cloud.as_deref() {
            Some("ssh") => format!("ssh-{region}"),
            _ => region.clone(),
        });
    let image = candidate.image_id.as_ref().map(|image| match image {
        Json::String(image) => {
            json!({ region.clone().unwrap_or_else(|| "None".to_owned()): image })
        }
        other => other.clone(),
    });
    json!({
        "accelerator_args": candidate.other.get("accelerator_args"),
        "accelerators": candidate.accelerators.as_ref().map(|(name, count)| {
            json!({ name.as_str(): json_number(*count) })
        }),
        "cloud": candidate.cloud.as_ref().and_then(shown),
        "cpus": candidate.cpus,
        "disk_size": candidate.disk_size,
        "disk_tier": candidate.disk_tier,
        "image_id": image,
        "infra": candidate.infra,
        "instance_type": candidate.instance_type,
        "job_recovery": null,
        "labels": (!candidate.labels.is_empty()).then_some(&candidate.labels),
        "memory": candidate.memory,
        "ports": (!candidate.ports.is_empty()).then_some(&candidate.ports),
        "region": region,
        "use_spot": candidate.use_spot,
        "use_spot_specified": candidate.use_spot_specified,
        "zone": candidate.zone,
    })
}
