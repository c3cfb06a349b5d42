//! `Overrides`: what command-line flags say about a task, put in place of what the file says.
//!
//! A flag replaces the field in every alternative of `resources`; `none` removes it. `--cloud`,
//! `--region` and `--zone` each replace their part of the place and leave the others.

mod update;

use crate::decode::infra;
use crate::node::{Entry, Node, Value};

pub use update::UpdateFlags;

/// Flags of `up`, `update` and `validate` that change the task. Everything is as typed; `None` and
/// empty mean not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--env NAME=VALUE` and `--env-file`, in rising precedence.
    pub envs: Vec<(String, String)>,
    /// `--secret NAME=VALUE` and `--secret-file`, in rising precedence.
    pub secrets: Vec<(String, String)>,
    /// Name of the task; for a service its name.
    pub name: Option<String>,
    /// `--workdir`
    pub workdir: Option<String>,
    /// `--infra`
    pub infra: Option<String>,
    /// `--cloud`
    pub cloud: Option<String>,
    /// `--region`
    pub region: Option<String>,
    /// `--zone`
    pub zone: Option<String>,
    /// `--num-nodes`
    pub num_nodes: Option<u32>,
    /// `--cpus`
    pub cpus: Option<String>,
    /// `--memory`
    pub memory: Option<String>,
    /// `--gpus`
    pub gpus: Option<String>,
    /// `--instance-type`
    pub instance_type: Option<String>,
    /// `--use-spot` and `--no-use-spot`
    pub use_spot: Option<bool>,
    /// `--image-id`
    pub image_id: Option<String>,
    /// `--disk-size`
    pub disk_size: Option<String>,
    /// `--disk-tier`
    pub disk_tier: Option<String>,
    /// `--network-tier`
    pub network_tier: Option<String>,
    /// `--local-disk`
    pub local_disk: Option<String>,
    /// `--ports`, each a port or a range
    pub ports: Vec<String>,
    /// Flags of `update` alone.
    pub update: UpdateFlags,
}

const LOCATION: [&str; 4] = ["infra", "cloud", "region", "zone"];

/// Puts the flags into the tree, but for those that concern variables and the name.
pub(crate) fn apply(root: &mut Node, overrides: &Overrides) {
    update::apply(root, &overrides.update);
    resources(root, overrides);
}

fn resources(root: &mut Node, overrides: &Overrides) {
    let fields = resource_fields(overrides);
    let location = location_fields(overrides);
    if fields.is_empty() && location.is_empty() && overrides.infra.is_none() {
        return;
    }
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    let at = match entries
        .iter()
        .position(|entry| entry.key.as_str() == Some("resources"))
    {
        Some(at) => at,
        None => {
            let key = Node::from_flag("", Value::Str("resources".to_owned()));
            entries.push(Entry {
                key,
                value: Node::new(Value::Map(Vec::new()), root.span),
            });
            entries.len() - 1
        }
    };
    let Some(resources) = entries.get_mut(at).map(|entry| &mut entry.value) else {
        return;
    };
    if resources.is_null() {
        resources.value = Value::Map(Vec::new());
    }
    let Value::Map(base) = &mut resources.value else {
        return;
    };
    if !location.is_empty() {
        // Take the places apart first, so that a flag can replace one part of them.
        split_infra(base);
        alternatives(base, split_infra);
    }
    if overrides.infra.is_some() {
        let clear = |entries: &mut Vec<Entry>| {
            entries.retain(|entry| !LOCATION.iter().any(|key| entry.key.as_str() == Some(key)));
        };
        clear(base);
        alternatives(base, clear);
    }
    let infra = overrides
        .infra
        .iter()
        .filter(|text| !text.eq_ignore_ascii_case("none"));
    let infra = infra.map(|text| ("infra", text_node("--infra", text)));
    for (key, value) in fields.into_iter().chain(location).chain(infra) {
        alternatives(base, |entries| remove(entries, key));
        remove(base, key);
        if !value.is_null() {
            let name = Node::from_flag("", Value::Str(key.to_owned()));
            base.push(Entry { key: name, value });
        }
    }
}

fn text_node(flag: &'static str, text: &str) -> Node {
    Node::from_flag(flag, Value::Str(text.to_owned()))
}

/// The text of a flag; `none` asks for the field to be removed.
fn flag(
    key: &'static str,
    flag: &'static str,
    text: Option<&String>,
) -> Option<(&'static str, Node)> {
    let text = text?;
    if text.eq_ignore_ascii_case("none") {
        return Some((key, Node::from_flag(flag, Value::Null)));
    }
    Some((key, text_node(flag, text)))
}

fn resource_fields(overrides: &Overrides) -> Vec<(&'static str, Node)> {
    let mut fields: Vec<(&'static str, Node)> = [
        flag("cpus", "--cpus", overrides.cpus.as_ref()),
        flag("memory", "--memory", overrides.memory.as_ref()),
        flag("accelerators", "--gpus", overrides.gpus.as_ref()),
        flag(
            "instance_type",
            "--instance-type",
            overrides.instance_type.as_ref(),
        ),
        flag("image_id", "--image-id", overrides.image_id.as_ref()),
        flag("disk_size", "--disk-size", overrides.disk_size.as_ref()),
        flag("disk_tier", "--disk-tier", overrides.disk_tier.as_ref()),
        flag(
            "network_tier",
            "--network-tier",
            overrides.network_tier.as_ref(),
        ),
        flag("local_disk", "--local-disk", overrides.local_disk.as_ref()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(spot) = overrides.use_spot {
        fields.push(("use_spot", Node::from_flag("--use-spot", Value::Bool(spot))));
    }
    if let Some(only) = overrides
        .ports
        .first()
        .filter(|_| overrides.ports.len() == 1)
    {
        fields.extend(flag("ports", "--ports", Some(only)));
    } else if !overrides.ports.is_empty() {
        let ports = overrides
            .ports
            .iter()
            .map(|port| text_node("--ports", port))
            .collect();
        fields.push(("ports", Node::from_flag("--ports", Value::Seq(ports))));
    }
    fields
}

fn location_fields(overrides: &Overrides) -> Vec<(&'static str, Node)> {
    let part = |key, name, text: Option<&String>| {
        let any = text.filter(|text| text.as_str() == "*");
        if any.is_some() {
            return Some((key, Node::from_flag(name, Value::Null)));
        }
        flag(key, name, text)
    };
    [
        part("cloud", "--cloud", overrides.cloud.as_ref()),
        part("region", "--region", overrides.region.as_ref()),
        part("zone", "--zone", overrides.zone.as_ref()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Applies a change to each item of `any_of` and `ordered`.
fn alternatives(base: &mut [Entry], change: impl Fn(&mut Vec<Entry>)) {
    for entry in base {
        if !matches!(entry.key.as_str(), Some("any_of" | "ordered")) {
            continue;
        }
        let Value::Seq(items) = &mut entry.value.value else {
            continue;
        };
        for item in items {
            if let Value::Map(entries) = &mut item.value {
                change(entries);
            }
        }
    }
}

fn remove(entries: &mut Vec<Entry>, key: &str) {
    let alias = if key == "accelerators" { "gpus" } else { key };
    entries
        .retain(|entry| !matches!(entry.key.as_str(), Some(name) if name == key || name == alias));
}

/// Replaces a readable `infra` by `cloud`, `region` and `zone`.
fn split_infra(entries: &mut Vec<Entry>) {
    let Some(at) = entries
        .iter()
        .position(|entry| entry.key.as_str() == Some("infra"))
    else {
        return;
    };
    let place = entries
        .get(at)
        .and_then(|entry| infra::parse(entry.value.as_str()?));
    let Some(place) = place else { return };
    let span = entries.remove(at).value.span;
    let parts = [
        ("cloud", place.cloud),
        ("region", place.region),
        ("zone", place.zone),
    ];
    for (key, value) in parts {
        if let Some(value) = value {
            let key = Node::new(Value::Str(key.to_owned()), span);
            entries.push(Entry {
                key,
                value: Node::new(Value::Str(value), span),
            });
        }
    }
}
