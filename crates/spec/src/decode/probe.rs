//! `service.readiness_probe`.

use std::collections::BTreeMap;

use super::resources::strings;
use super::{Nulls, Section, Sink, is_token, json, string};
use crate::node::{Node, Value};
use crate::ordered_json::Ordered;
use crate::service::ReadinessProbe;

const PATH: &str = "service.readiness_probe";

/// Reads the probe: a path alone, or a mapping.
pub(super) fn decode(sink: &mut Sink<'_>, node: Option<&Node>) -> ReadinessProbe {
    let mut probe = ReadinessProbe::default();
    let Some(node) = node else { return probe };
    if node.as_str().is_some() {
        path(sink, node, &mut probe);
        return probe;
    }
    if node.entries().is_none() {
        sink.wrong_type(node, PATH, "a path starting with `/`, or a mapping");
        return probe;
    }
    let Some(section) = Section::open(sink, node, PATH, Nulls::Values) else {
        return probe;
    };
    match section.get("path") {
        Some(node) => path(sink, node, &mut probe),
        None => {
            sink.error(
                "missing-field",
                node,
                "service.readiness_probe.path",
                "`readiness_probe` needs `path`",
            );
        }
    }
    let mut seconds = |key: &str, least: Least, into: &mut f64| {
        if let Some(number) = bounded(sink, &section, key, least) {
            *into = number;
        }
    };
    seconds(
        "initial_delay_seconds",
        Least::Zero,
        &mut probe.initial_delay_seconds,
    );
    seconds(
        "timeout_seconds",
        Least::AboveZero,
        &mut probe.timeout_seconds,
    );
    seconds(
        "endpoint_probe_interval_seconds",
        Least::AboveZero,
        &mut probe.endpoint_probe_interval_seconds,
    );
    probe.consecutive_failure_threshold_timeout = bounded(
        sink,
        &section,
        "consecutive_failure_threshold_timeout",
        Least::Zero,
    );
    if let Some(node) = section.get("post_data") {
        post_data(sink, node, &mut probe);
    }
    if let Some(node) = section.get("headers") {
        headers(sink, node, &mut probe.headers);
    }
    probe
}

/// The lower bound of a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Least {
    Zero,
    AboveZero,
}

/// A number of seconds, or of anything else that cannot be negative.
pub(super) fn bounded(
    sink: &mut Sink<'_>,
    section: &Section<'_>,
    key: &str,
    least: Least,
) -> Option<f64> {
    let number = section.number(sink, key)?;
    let (fits, bound) = match least {
        Least::Zero => (number >= 0.0, "at least 0"),
        Least::AboveZero => (number > 0.0, "greater than 0"),
    };
    if fits {
        return Some(number);
    }
    let at = section.get(key).unwrap_or(section.node);
    let message = format!("`{key}` must be {bound}, not {number}");
    sink.error("out-of-range", at, &section.path_of(key), message);
    None
}

fn path(sink: &mut Sink<'_>, node: &Node, probe: &mut ReadinessProbe) {
    const PATH: &str = "service.readiness_probe.path";
    let Some(path) = string(sink, node, PATH) else {
        return;
    };
    if path.starts_with('/') && !path.chars().any(char::is_control) {
        path.clone_into(&mut probe.path);
        return;
    }
    let found = node
        .shown()
        .map_or_else(String::new, |shown| format!(", not {shown}"));
    let message = format!("the path of the readiness probe must start with `/`{found}");
    let help = match path.split_once("://").map(|(_, rest)| rest.split_once('/')) {
        Some(Some((_, path))) if !node.substituted => format!("write the path alone: `/{path}`"),
        Some(_) => "write the path alone, such as `/health`".to_owned(),
        None => "write a path such as `/health`".to_owned(),
    };
    sink.error("probe-path", node, PATH, message).help = Some(help);
}

fn post_data(sink: &mut Sink<'_>, node: &Node, probe: &mut ReadinessProbe) {
    const PATH: &str = "service.readiness_probe.post_data";
    let (value, text) = match &node.value {
        Value::Map(_) => (
            json(sink, node, PATH),
            Ordered::from_node(node).map(|ordered| ordered.to_string()),
        ),
        Value::Str(text) => match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) => {
                let ordered = serde_json::from_str::<Ordered>(text).ok();
                (Some(value), ordered.map(|ordered| ordered.to_string()))
            }
            Err(error) => {
                let message = match node.substituted {
                    true => "`post_data` is a string that is not valid JSON".to_owned(),
                    false => format!("`post_data` is a string that is not valid JSON: {error}"),
                };
                sink.error("post-data-json", node, PATH, message).help =
                    Some("write a mapping, or correct the JSON".to_owned());
                return;
            }
        },
        _ => {
            sink.wrong_type(node, PATH, "a mapping, or a string that holds JSON");
            return;
        }
    };
    probe.post_data = value.filter(|value| !value.is_null());
    probe.post_data_json = if probe.post_data.is_some() {
        text
    } else {
        None
    };
}

fn headers(sink: &mut Sink<'_>, node: &Node, into: &mut BTreeMap<String, String>) {
    const PATH: &str = "service.readiness_probe.headers";
    strings(sink, node, PATH, into);
    for entry in node.entries().unwrap_or_default() {
        // A header's value may be a credential, wherever it was written.
        sink.secrets.push(entry.value.span);
        let name = entry.key.as_str().unwrap_or_default();
        let value = entry.value.as_str().unwrap_or_default();
        if !is_token(name) && entry.key.as_str().is_some() {
            let message = format!("`{name}` cannot be the name of an HTTP header");
            sink.error("invalid-header", &entry.key, PATH, message);
        }
        if value
            .chars()
            .any(|character| character.is_control() && character != '\t')
        {
            let message = format!(
                "the value of the header `{name}` holds a line break or another control character"
            );
            sink.error("invalid-header", &entry.value, PATH, message);
        }
    }
}
