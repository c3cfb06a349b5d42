//! Fields of `resources` that are checked and kept, but that no infra here acts upon yet.

use serde_json::{Value as Json, json};

use super::{Merged, keep, labels};
use crate::decode::amount::{finite, is_whole, refuse};
use crate::decode::{
    Nulls, Section, Sink, boolean, integer, json as to_json, number, string, word,
};
use crate::node::{Node, Value};
use crate::task::ResourceCandidate;

const INTERNAL_MAPPINGS: &[&str] = &["_docker_login_config", "_cluster_config_overrides"];
const INTERNAL_BOOLEANS: &[&str] = &[
    "_is_image_managed",
    "_requires_fuse",
    "_no_missing_accel_warnings",
];

/// Reads the rest of an alternative.
pub(super) fn decode(sink: &mut Sink<'_>, merged: &Merged<'_>, candidate: &mut ResourceCandidate) {
    for node in labels(merged) {
        strings(sink, node, "resources.labels", &mut candidate.labels);
    }
    candidate.image_id = merged
        .get("image_id")
        .and_then(|node| image_id(sink, node, candidate));
    let mut take = |key: &str, read: fn(&mut Sink<'_>, &Node) -> Option<Json>| {
        let value = merged.get(key).and_then(|node| read(sink, node));
        keep(&mut candidate.other, key, value);
    };
    take("accelerator_args", accelerator_args);
    take("local_disk", local_disk);
    take("max_hourly_cost", max_hourly_cost);
    take("autostop", autostop);
    take("priority", priority);
    take("priority_class", |sink, node| {
        text(sink, node, "resources.priority_class")
    });
    take("volumes", volumes);
    take("job_recovery", |sink, node| {
        to_json(sink, node, "resources.job_recovery")
    });
    for key in INTERNAL_MAPPINGS {
        take(key, |sink, node| {
            if node.entries().is_none() {
                sink.wrong_type(node, "resources", "a mapping");
            }
            to_json(sink, node, "resources")
        });
    }
    for key in INTERNAL_BOOLEANS {
        take(key, |sink, node| {
            boolean(sink, node, "resources").map(Json::from)
        });
    }
    if let Some(node) = merged.get("ephemeral_storage") {
        // SkyPilot reads this older name of `disk_size` and does nothing with it.
        let fits = match &node.value {
            Value::Int(_) => true,
            Value::Float(number) => number.fract() == 0.0,
            Value::Str(text) => is_whole(text),
            _ => false,
        };
        if !fits {
            sink.wrong_type(
                node,
                "resources.ephemeral_storage",
                "an integer, or a string such as 100GB",
            );
        }
    }
}

fn text(sink: &mut Sink<'_>, node: &Node, path: &str) -> Option<Json> {
    string(sink, node, path).map(|text| json!(text))
}

/// A mapping of strings to strings.
pub(crate) fn strings(
    sink: &mut Sink<'_>,
    node: &Node,
    path: &str,
    into: &mut std::collections::BTreeMap<String, String>,
) {
    let Some(entries) = node.entries() else {
        sink.wrong_type(node, path, "a mapping of strings");
        return;
    };
    for entry in entries {
        let (Some(key), Some(value)) = (entry.key.json_key(), entry.value.as_str()) else {
            let name = entry.key.json_key().unwrap_or_default();
            let message = format!(
                "the value of `{name}` must be a string, not {}",
                entry.value.kind()
            );
            sink.error("wrong-type", &entry.value, path, message).help =
                Some("quote it".to_owned());
            continue;
        };
        into.insert(key, value.to_owned());
    }
}

fn image_id(sink: &mut Sink<'_>, node: &Node, candidate: &ResourceCandidate) -> Option<Json> {
    const PATH: &str = "resources.image_id";
    const EXPECTED: &str = "a string, or a mapping of region to string";
    let prefixed = |image: &str| {
        let image = image.trim();
        let docker = candidate.cloud.as_deref() == Some("kubernetes");
        if docker && !image.starts_with("docker:") {
            format!("docker:{image}")
        } else {
            image.to_owned()
        }
    };
    match &node.value {
        Value::Str(image) => Some(json!(prefixed(image))),
        Value::Map(entries) => {
            let mut images = serde_json::Map::new();
            let has_docker = node.get("docker").is_some();
            for entry in entries {
                let (Some(region), Some(image)) = (entry.key.json_key(), entry.value.as_str())
                else {
                    sink.wrong_type(&entry.value, PATH, EXPECTED);
                    return None;
                };
                if has_docker && region != "docker" && image.starts_with("docker:") {
                    let message =
                        "`image_id` names a Docker image both with `docker` and with a region";
                    sink.error("conflict", &entry.value, PATH, message);
                    return None;
                }
                let image = if region == "docker" {
                    image.trim().to_owned()
                } else {
                    prefixed(image)
                };
                images.insert(region.trim().to_owned(), json!(image));
            }
            Some(Json::Object(images))
        }
        _ => {
            sink.wrong_type(node, PATH, EXPECTED);
            None
        }
    }
}

fn accelerator_args(sink: &mut Sink<'_>, node: &Node) -> Option<Json> {
    let section = Section::open(sink, node, "resources.accelerator_args", Nulls::Values)?;
    section.string(sink, "runtime_version");
    section.string(sink, "tpu_name");
    section.boolean(sink, "tpu_vm");
    section.boolean(sink, "gcp_queued_resource");
    to_json(sink, node, section.path)
}

fn local_disk(sink: &mut Sink<'_>, node: &Node) -> Option<Json> {
    const PATH: &str = "resources.local_disk";
    const EXPECTED: &str = "MODE[:SIZE[+]] with the mode `nvme` or `ssd`";
    let text = string(sink, node, PATH)?.to_ascii_lowercase();
    let text = text.trim();
    let (mode, size) = match text.split_once(':') {
        Some((mode, size)) => (mode, size),
        None if matches!(text, "nvme" | "ssd") => (text, "100+"),
        None => ("nvme", text),
    };
    let positive = finite(size.trim_end_matches('+')).is_some_and(|size| size > 0.0);
    if !matches!(mode, "nvme" | "ssd") || !positive {
        return refuse(sink, node, PATH, EXPECTED);
    }
    Some(json!(format!("{mode}:{size}")))
}

fn max_hourly_cost(sink: &mut Sink<'_>, node: &Node) -> Option<Json> {
    const PATH: &str = "resources.max_hourly_cost";
    let cost = number(sink, node, PATH)?;
    if cost <= 0.0 {
        return refuse(sink, node, PATH, "greater than 0");
    }
    Some(crate::decode::json_number(cost))
}

fn priority(sink: &mut Sink<'_>, node: &Node) -> Option<Json> {
    const PATH: &str = "resources.priority";
    let priority = integer(sink, node, PATH)?;
    if !(-1000..=1000).contains(&priority) {
        return refuse(sink, node, PATH, "between -1000 and 1000");
    }
    i64::try_from(priority).ok().map(Json::from)
}

fn autostop(sink: &mut Sink<'_>, node: &Node) -> Option<Json> {
    const PATH: &str = "resources.autostop";
    match &node.value {
        Value::Bool(_) | Value::Int(_) => {}
        Value::Float(minutes) if minutes.fract() == 0.0 => {}
        Value::Str(text) => {
            let digits = text.trim_end_matches(['m', 'h', 'd', 'w', 'M', 'H', 'D', 'W']);
            let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if !number || text.len() > digits.len() + 1 {
                return refuse(sink, node, PATH, "a time such as 10m or 2h");
            }
        }
        Value::Map(_) => {
            let section = Section::open(sink, node, PATH, Nulls::Values)?;
            section.count(sink, "idle_minutes", 0, u32::MAX);
            section.boolean(sink, "down");
            section.string(sink, "hook");
            section.count(sink, "hook_timeout", 1, u32::MAX);
            if let Some(node) = section.get("wait_for") {
                word(
                    sink,
                    node,
                    "resources.autostop.wait_for",
                    &["jobs_and_ssh", "jobs", "none"],
                );
            }
        }
        _ => {
            sink.wrong_type(
                node,
                PATH,
                "a boolean, a number of minutes, a time such as 10m, or a mapping",
            );
            return None;
        }
    }
    to_json(sink, node, PATH)
}

fn volumes(sink: &mut Sink<'_>, node: &Node) -> Option<Json> {
    const PATH: &str = "resources.volumes[]";
    let Value::Seq(items) = &node.value else {
        sink.wrong_type(node, "resources.volumes", "a list of mappings");
        return None;
    };
    for item in items {
        // SkyPilot lets unknown keys of a volume pass; they can only be misspelt.
        let Some(section) = Section::open(sink, item, PATH, Nulls::Values) else {
            continue;
        };
        for key in ["path", "name", "disk_tier", "storage_type", "attach_mode"] {
            section.string(sink, key);
        }
        section.boolean(sink, "auto_delete");
        if let Some(size) = section.get("disk_size") {
            crate::decode::amount::disk_size(sink, size, "resources.volumes[].disk_size");
        }
        if section.get("path").is_none() {
            sink.error("missing-field", item, PATH, "a volume needs `path`");
        }
        let local = section.get("storage_type").and_then(Node::as_str);
        let local = local.is_some_and(|kind| kind.eq_ignore_ascii_case("instance"));
        if !local && section.get("name").is_none() {
            sink.error("missing-field", item, PATH, "a network volume needs `name`");
        }
    }
    to_json(sink, node, "resources.volumes")
}
