//! `config`: settings for this task alone.

use serde_json::Value as Json;

use super::{Nulls, Section, Sink, boolean, integer, json, string, unknown_key, unknown_word};
use crate::node::{Node, Value};
use crate::{field, suggest};

const EVENTS: &[&str] = &["stop", "preemption", "down"];
const MAX_HOOKS: usize = 32;
const MAX_HOOK_CHARS: usize = 16 * 1024;

/// Reads the section. Keys that are not known are accepted with a warning, as SkyPilot's client
/// does: a server may know more of them.
pub(crate) fn decode(sink: &mut Sink<'_>, node: &Node) -> Option<Json> {
    const PATH: &str = "config";
    let Some(entries) = node.entries() else {
        sink.wrong_type(node, PATH, "a mapping");
        return None;
    };
    for entry in entries {
        let name = entry.key.json_key().unwrap_or_default();
        let path = field::join(PATH, &name);
        match name.as_str() {
            "hooks" => hooks(sink, &entry.value),
            "active_workspace" => {
                string(sink, &entry.value, &path);
            }
            _ if field::is_known(PATH, &name) => settings(sink, &entry.value, &path),
            _ => unknown(sink, &entry.key, PATH),
        }
    }
    json(sink, node, PATH)
}

/// Sections whose further fields SkyPilot's client lets pass.
const OPEN: &[&str] = &["config.kubernetes", "config.slurm"];
const BOOLEANS: &[&str] = &[
    "disable_ecc",
    "enable_gvnic",
    "enable_gpu_direct",
    "datacenter_only",
];
const STRINGS: &[&str] = &["placement_policy", "cpu_partition"];
const MAPPINGS: &[&str] = &[
    "pod_config",
    "custom_metadata",
    "kueue",
    "quota",
    "dws",
    "managed_instance_group",
    "sbatch_options",
    "create_instance_kwargs",
];

/// Reads the settings of one infra.
fn settings(sink: &mut Sink<'_>, node: &Node, section: &str) {
    let Some(entries) = node.entries() else {
        sink.wrong_type(node, section, "a mapping");
        return;
    };
    for entry in entries {
        let name = entry.key.json_key().unwrap_or_default();
        let path = field::join(section, &name);
        match name.as_str() {
            _ if !field::is_known(section, &name) => {
                if OPEN.contains(&section) {
                    unknown(sink, &entry.key, section);
                } else {
                    unknown_key(sink, &entry.key, section);
                }
            }
            name if BOOLEANS.contains(&name) => {
                boolean(sink, &entry.value, &path);
            }
            name if STRINGS.contains(&name) => {
                string(sink, &entry.value, &path);
            }
            "provision_timeout" => {
                integer(sink, &entry.value, &path);
            }
            "run_options" => {
                let fits = match &entry.value.value {
                    Value::Str(_) => true,
                    Value::Seq(items) => items.iter().all(|item| item.as_str().is_some()),
                    _ => false,
                };
                if !fits {
                    sink.wrong_type(&entry.value, &path, "a string, or a list of strings");
                }
            }
            name if MAPPINGS.contains(&name) && entry.value.entries().is_none() => {
                sink.wrong_type(&entry.value, &path, "a mapping");
            }
            _ => {}
        }
    }
}

/// Warns of a field that may be known elsewhere.
fn unknown(sink: &mut Sink<'_>, key: &Node, section: &str) {
    let name = key.json_key().unwrap_or_default();
    let near = suggest::nearest(&name, field::names(section));
    let help = near.map(|near| format!("did you mean `{near}`?"));
    let message = format!("`{section}` has no field `{name}`; it has no effect");
    sink.warning("unknown-field", key, section, message).help = help;
}

fn hooks(sink: &mut Sink<'_>, node: &Node) {
    const PATH: &str = "config.hooks[]";
    let items = match &node.value {
        Value::Seq(items) if items.len() <= MAX_HOOKS => items,
        _ => {
            sink.wrong_type(node, "config.hooks", "a list of at most 32 mappings");
            return;
        }
    };
    for item in items {
        let Some(section) = Section::open(sink, item, PATH, Nulls::Values) else {
            continue;
        };
        section.count(sink, "timeout", 1, u32::MAX);
        match section.get("run") {
            None => {
                sink.error(
                    "missing-field",
                    item,
                    "config.hooks[].run",
                    "a hook needs `run`",
                );
            }
            Some(run) => {
                let text = string(sink, run, "config.hooks[].run");
                let fits = |text: &str| (1..=MAX_HOOK_CHARS).contains(&text.chars().count());
                if text.is_some_and(|text| !fits(text)) {
                    let message = "`run` of a hook must have 1 to 16384 characters";
                    sink.error("out-of-range", run, "config.hooks[].run", message);
                }
            }
        }
        if let Some(events) = section.get("events") {
            hook_events(sink, events);
        }
    }
}

fn hook_events(sink: &mut Sink<'_>, node: &Node) {
    const PATH: &str = "config.hooks[].events";
    let Value::Seq(items) = &node.value else {
        sink.wrong_type(node, PATH, "a list");
        return;
    };
    for (at, item) in items.iter().enumerate() {
        match string(sink, item, PATH) {
            Some(event) if !EVENTS.contains(&event) => unknown_word(sink, item, PATH, EVENTS),
            Some(_) if items.iter().take(at).any(|earlier| earlier == item) => {
                sink.error("duplicate", item, PATH, "the same event is named twice");
            }
            _ => {}
        }
    }
    if items.is_empty() {
        sink.error("empty", node, PATH, "`events` names no event");
    }
}
