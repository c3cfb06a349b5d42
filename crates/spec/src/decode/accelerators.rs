//! `resources.accelerators`: one, a choice, or an order of preference.

use std::collections::HashSet;

use super::amount::finite;
use super::{Sink, amount};
use crate::node::{Entry, Node, Value};
use crate::task::Choice;

const PATH: &str = "resources.accelerators";

/// Accelerators by memory in GB, for requests such as `80GB+`. The clouds' catalogues know more;
/// these are the ones that people serve models on.
const BY_MEMORY: &[(&str, &str, u64)] = &[
    ("T4", "NVIDIA", 16),
    ("P100", "NVIDIA", 16),
    ("V100", "NVIDIA", 16),
    ("V100-32GB", "NVIDIA", 32),
    ("RTX3090", "NVIDIA", 24),
    ("RTX4090", "NVIDIA", 24),
    ("RTX5090", "NVIDIA", 32),
    ("RTXA6000", "NVIDIA", 48),
    ("RTX6000-Ada", "NVIDIA", 48),
    ("L4", "NVIDIA", 24),
    ("A10", "NVIDIA", 24),
    ("A10G", "NVIDIA", 24),
    ("A40", "NVIDIA", 48),
    ("L40", "NVIDIA", 48),
    ("L40S", "NVIDIA", 48),
    ("A100", "NVIDIA", 40),
    ("A100-80GB", "NVIDIA", 80),
    ("H100", "NVIDIA", 80),
    ("H200", "NVIDIA", 141),
    ("B200", "NVIDIA", 180),
    ("GH200", "NVIDIA", 96),
    ("MI210", "AMD", 64),
    ("MI250", "AMD", 128),
    ("MI300X", "AMD", 192),
];

/// Name and count.
pub(crate) type Accelerator = (String, f64);

/// Reads `accelerators`. `item` is set inside `any_of` and `ordered`, where only one may be named
/// and a list may not.
pub(crate) fn decode(
    sink: &mut Sink<'_>,
    node: &Node,
    item: bool,
) -> Option<(Vec<Accelerator>, Choice)> {
    let (mut found, choice) = match &node.value {
        Value::Str(text) => (one(sink, node, text)?, Choice::AnyOf),
        Value::Map(entries) if item && entries.len() > 1 => {
            let message = "an alternative names one accelerator; write one alternative for each";
            sink.error("too-many-accelerators", node, PATH, message);
            return None;
        }
        Value::Map(entries) => (mapped(sink, entries, item)?, Choice::AnyOf),
        Value::Seq(items) if !item => (listed(sink, items)?, Choice::Ordered),
        _ => {
            let expected = match item {
                true => "a string such as H100:8, or a mapping of one name to a count",
                false => {
                    "a string such as H100:8, a mapping of names to counts, or a list of strings"
                }
            };
            sink.wrong_type(node, PATH, expected);
            return None;
        }
    };
    if found.is_empty() {
        let message = "`accelerators` names no accelerator";
        sink.error("empty", node, PATH, message).help =
            Some("remove it to ask for none".to_owned());
        return None;
    }
    let mut seen = HashSet::new();
    found.retain(|(name, count)| seen.insert((name.clone(), count.to_bits())));
    Some((found, choice))
}

/// `{H100: 8}`, and `{H100:8, L4}` without values outside alternatives.
fn mapped(sink: &mut Sink<'_>, entries: &[Entry], item: bool) -> Option<Vec<Accelerator>> {
    let mut found = Vec::new();
    for entry in entries {
        let text = match (entry.key.python_str(), &entry.value.value) {
            (Some(name), Value::Int(_) | Value::Float(_)) => {
                format!("{name}:{}", entry.value.python_str()?)
            }
            (Some(name), Value::Null) if !item => name,
            _ => {
                sink.wrong_type(&entry.value, PATH, "a mapping of names to counts");
                return None;
            }
        };
        found.extend(one(sink, &entry.value, &text)?);
    }
    Some(found)
}

/// `[H100:8, L4]`
fn listed(sink: &mut Sink<'_>, items: &[Node]) -> Option<Vec<Accelerator>> {
    let mut found = Vec::new();
    for item in items {
        let Some(text) = item.as_str() else {
            sink.wrong_type(item, PATH, "a list of strings such as H100:8");
            return None;
        };
        found.extend(one(sink, item, text)?);
    }
    Some(found)
}

/// `NAME[:COUNT]`, or by memory: `[MANUFACTURER:]40GB[+][:COUNT]`.
fn one(sink: &mut Sink<'_>, at: &Node, text: &str) -> Option<Vec<Accelerator>> {
    let parts: Vec<&str> = text.split(':').collect();
    let (manufacturer, memory, number) = match parts.as_slice() {
        [memory] if is_memory(memory) => (None, *memory, "1"),
        [memory, count] if is_memory(memory) => (None, *memory, *count),
        [manufacturer, memory] if is_memory(memory) => (Some(*manufacturer), *memory, "1"),
        [manufacturer, memory, count] if is_memory(memory) => {
            (Some(*manufacturer), *memory, *count)
        }
        [name] if !name.is_empty() => return Some(vec![((*name).to_owned(), 1.0)]),
        [name, number] if !name.is_empty() => {
            let number = count(sink, at, number)?;
            return Some(vec![((*name).to_owned(), number)]);
        }
        _ => return amount::refuse(sink, at, PATH, "NAME or NAME:COUNT"),
    };
    let number = count(sink, at, number)?;
    let (plain, plus) = match memory.strip_suffix('+') {
        Some(plain) => (plain, true),
        None => (memory, false),
    };
    let wanted = plain[..plain.len() - 2]
        .parse::<u64>()
        .ok()
        .and_then(
            |amount| match plain.as_bytes()[plain.len() - 2].to_ascii_lowercase() {
                b't' => amount.checked_mul(1024),
                b'm' => (amount % 1024 == 0).then_some(amount / 1024),
                _ => Some(amount),
            },
        );
    let matching: Vec<Accelerator> = BY_MEMORY
        .iter()
        .filter(|(_, maker, _)| manufacturer.is_none_or(|name| name.eq_ignore_ascii_case(maker)))
        .filter(|(_, _, size)| {
            wanted.is_some_and(|wanted| *size == wanted || (plus && *size > wanted))
        })
        .map(|(name, _, _)| ((*name).to_owned(), number))
        .collect();
    if matching.is_empty() {
        let message = "no known accelerator has this much memory; name one instead";
        sink.error("unknown-value", at, PATH, message);
        return None;
    }
    Some(matching)
}

/// `40GB`, `40GB+`, in any case.
fn is_memory(text: &str) -> bool {
    let plain = text.strip_suffix('+').unwrap_or(text).to_ascii_lowercase();
    ["gb", "mb", "tb"].iter().any(|unit| {
        plain.strip_suffix(unit).is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    })
}

fn count(sink: &mut Sink<'_>, at: &Node, text: &str) -> Option<f64> {
    let Some(number) = finite(text) else {
        return amount::refuse(sink, at, PATH, "NAME or NAME:COUNT, the count a number");
    };
    if number <= 0.0 {
        let message = "the count of an accelerator must be greater than 0";
        sink.error("out-of-range", at, PATH, message);
        return None;
    }
    Some(number)
}
