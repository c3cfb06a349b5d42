//! The top level of a task file.

use serde_json::{Map, Value as Json};

use super::environment::Environment;
use super::{Nulls, Section, Sink, config, json, mounts, resources, service};
use crate::node::{Node, Value};
use crate::rules;
use crate::task::{Task, UNVALUED_SECRETS, Workdir};
use crate::{Overrides, Purpose};

/// Reads a whole task. `root` is a mapping, with variables already filled in.
pub(crate) fn decode(
    sink: &mut Sink<'_>,
    root: &Node,
    environment: Environment,
    overrides: &Overrides,
    purpose: Purpose,
) -> Option<Task> {
    let section = Section::open(sink, root, "", Nulls::Absent)?;
    let name = name(sink, &section, overrides, purpose);
    let workdir = match &overrides.workdir {
        Some(folder) => Some(Workdir::Local(folder.clone())),
        None => section.get("workdir").and_then(|node| workdir(sink, node)),
    };
    let file_mounts = section
        .get("file_mounts")
        .map(|node| mounts::decode(sink, node, workdir.is_some()))
        .unwrap_or_default();
    let setup = section.string(sink, "setup").map(ToOwned::to_owned);
    let run = section.string(sink, "run").map(ToOwned::to_owned);
    let num_nodes = num_nodes(sink, &section, overrides);
    let resources_node = section.get("resources");
    let resources = resources::decode(sink, resources_node, purpose == Purpose::Service);
    let service = service(sink, &section, &resources, purpose);
    let other = other(sink, &section, &environment);
    Some(Task {
        name,
        workdir,
        num_nodes,
        resources: resources.resources,
        file_mounts,
        envs: environment.envs,
        secrets: environment.secrets,
        setup,
        run,
        service,
        other,
    })
}

fn name(
    sink: &mut Sink<'_>,
    section: &Section<'_>,
    overrides: &Overrides,
    purpose: Purpose,
) -> Option<String> {
    let written = section.string(sink, "name");
    if let Some(name) = &overrides.name {
        return Some(name.clone());
    }
    // A service is named on the command line; the task's name is then only a label.
    if purpose == Purpose::Task
        && let (Some(name), Some(node)) = (written, section.get("name"))
        && !is_task_name(name)
    {
        let message = "a name has letters and digits, joined by at most two of `.`, `_` and `-`";
        sink.error("invalid-name", node, "name", message);
    }
    written.map(ToOwned::to_owned)
}

/// `[a-zA-Z0-9]+(?:[._-]{1,2}[a-zA-Z0-9]+)*`
fn is_task_name(name: &str) -> bool {
    let joint = |byte: &u8| matches!(byte, b'.' | b'_' | b'-');
    let bytes = name.as_bytes();
    bytes
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || joint(byte))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && !bytes.windows(3).any(|three| three.iter().all(joint))
}

fn workdir(sink: &mut Sink<'_>, node: &Node) -> Option<Workdir> {
    match &node.value {
        Value::Str(folder) => Some(Workdir::Local(folder.clone())),
        Value::Map(_) => {
            let section = Section::open(sink, node, "workdir", Nulls::Values)?;
            let url = section.string(sink, "url").map(ToOwned::to_owned);
            let reference = section.string(sink, "ref").map(ToOwned::to_owned);
            if section.get("url").is_none() {
                sink.error(
                    "missing-field",
                    node,
                    "workdir.url",
                    "a git `workdir` needs `url`",
                );
            }
            Some(Workdir::Git {
                url: url?,
                reference,
            })
        }
        _ => {
            sink.wrong_type(node, "workdir", "a path, or a mapping with `url`");
            None
        }
    }
}

fn num_nodes(sink: &mut Sink<'_>, section: &Section<'_>, overrides: &Overrides) -> u32 {
    let written = match section.get("num_nodes") {
        // Unlike other integers it may not be written as `2.0`.
        Some(node) if matches!(node.value, Value::Float(_)) => {
            sink.wrong_type(node, "num_nodes", "an integer");
            None
        }
        _ => section.count(sink, "num_nodes", 1, u32::MAX),
    };
    match overrides.num_nodes {
        Some(0) => {
            let at = Node::from_flag("--num-nodes", Value::Int(0));
            sink.error(
                "out-of-range",
                &at,
                "num_nodes",
                "`num_nodes` must be at least 1",
            );
            1
        }
        Some(nodes) => nodes,
        None => written.unwrap_or(1),
    }
}

fn service(
    sink: &mut Sink<'_>,
    section: &Section<'_>,
    resources: &resources::Decoded<'_>,
    purpose: Purpose,
) -> Option<crate::ServiceSpec> {
    let pool = section.get("pool");
    if let Some(pool) = pool {
        service::refuse_pool(sink, pool, "pool");
    }
    let Some(node) = section.get("service") else {
        if purpose == Purpose::Service && pool.is_none() {
            let mut at = Node::new(Value::Null, section.node.span);
            at.span.end = at.span.start;
            let at = section.node.get("service").unwrap_or(&at);
            let message = "the file has no `service` section, so there is nothing to serve";
            sink.error("service-missing", at, "service", message).help =
                Some("add `service:` with at least `readiness_probe: /`".to_owned());
        }
        return None;
    };
    let mut decoded = service::decode(sink, node)?;
    rules::check(sink, &mut decoded, resources);
    Some(decoded.spec)
}

/// Everything else, checked and kept.
fn other(
    sink: &mut Sink<'_>,
    section: &Section<'_>,
    environment: &Environment,
) -> Map<String, Json> {
    let mut other = Map::new();
    let mut keep = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            other.insert(key.to_owned(), value);
        }
    };
    keep(
        "config",
        section
            .get("config")
            .and_then(|node| config::decode(sink, node)),
    );
    keep(
        "volumes",
        section
            .get("volumes")
            .and_then(|node| mounts::volumes(sink, node)),
    );
    keep(
        "event_callback",
        section.string(sink, "event_callback").map(Json::from),
    );
    let access = section.boolean(sink, "api_server_access");
    keep(
        "api_server_access",
        access.filter(|access| !access).map(Json::from),
    );
    for key in ["inputs", "outputs"] {
        keep(
            key,
            section
                .get(key)
                .and_then(|node| one_number(sink, node, key)),
        );
    }
    keep("volume_mounts", internal(sink, section, "volume_mounts"));
    keep(
        "file_mounts_mapping",
        internal(sink, section, "file_mounts_mapping"),
    );
    // `_metadata` says where a file came from, never what a replica runs.
    internal(sink, section, "_metadata");
    keep(
        "managed_secrets",
        section
            .get("managed_secrets")
            .and_then(|node| json(sink, node, "managed_secrets")),
    );
    if !environment.unvalued.is_empty() {
        keep(
            UNVALUED_SECRETS,
            Some(environment.unvalued.iter().cloned().collect()),
        );
    }
    other
}

/// A field that SkyPilot writes for itself: a mapping, or for `volume_mounts` a list of mappings.
fn internal(sink: &mut Sink<'_>, section: &Section<'_>, key: &str) -> Option<Json> {
    let node = section.get(key)?;
    let list = key == "volume_mounts";
    let fits = match &node.value {
        Value::Seq(items) => list && items.iter().all(|item| item.entries().is_some()),
        Value::Map(_) => !list,
        _ => false,
    };
    if !fits {
        sink.wrong_type(
            node,
            key,
            if list {
                "a list of mappings"
            } else {
                "a mapping"
            },
        );
        return None;
    }
    json(sink, node, key)
}

/// `inputs` and `outputs`: a mapping with one number.
fn one_number(sink: &mut Sink<'_>, node: &Node, path: &str) -> Option<Json> {
    match node.entries() {
        Some([entry]) => {
            super::number(sink, &entry.value, path)?;
        }
        _ => {
            sink.wrong_type(node, path, "a mapping with one number");
            return None;
        }
    }
    json(sink, node, path)
}
