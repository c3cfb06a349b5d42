//! Amounts: `4+` CPUs, `16GB` of memory, `1TB` of disk.

use super::{Sink, field};
use crate::node::{Node, Value};

/// Units of memory and disk, in KiB.
const UNITS: &[(&str, f64)] = &[
    ("kb", 1.0),
    ("ki", 1.0),
    ("mb", 1024.0),
    ("mi", 1024.0),
    ("gb", 1_048_576.0),
    ("gi", 1_048_576.0),
    ("tb", 1_073_741_824.0),
    ("ti", 1_073_741_824.0),
    ("pb", 1_099_511_627_776.0),
    ("pi", 1_099_511_627_776.0),
];
const KIB_PER_GIB: f64 = 1_048_576.0;

/// Python's `float()` of a text, finite numbers only.
pub(crate) fn finite(text: &str) -> Option<f64> {
    let text = text.trim();
    let bare = text
        .split('_')
        .all(|part| !part.is_empty())
        .then(|| text.replace('_', ""))?;
    bare.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// A positive amount without needless digits: `4`, `0.5`.
pub(crate) fn plain(number: f64) -> String {
    number.to_string()
}

/// `cpus`: `4`, `"4"`, `"4+"`, `0.5`.
pub(crate) fn cpus(sink: &mut Sink<'_>, node: &Node, path: &str) -> Option<String> {
    let text = text(sink, node, path)?;
    let (number, plus) = split_plus(&text);
    let Some(number) = finite(number) else {
        return refuse(sink, node, path, "a number, or a number followed by `+`");
    };
    positive(sink, node, path, number).map(|number| plain(number) + plus)
}

/// `memory` in GiB: `16`, `"16+"`, `"16GB"`, `"16Gi+"`.
pub(crate) fn memory(sink: &mut Sink<'_>, node: &Node, path: &str) -> Option<String> {
    let text = text(sink, node, path)?;
    let (amount, plus) = split_plus(&text);
    let Some(number) = finite(amount).or_else(|| gib(amount)) else {
        return refuse(sink, node, path, "an amount in GiB such as 16, 16+ or 16GB");
    };
    positive(sink, node, path, number).map(|number| plain(number) + plus)
}

/// `disk_size` in GB, a whole number.
pub(crate) fn disk_size(sink: &mut Sink<'_>, node: &Node, path: &str) -> Option<u64> {
    let size = match &node.value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::Str(text) => {
            let whole = is_whole(text);
            let size = finite(text).or_else(|| gib(text));
            size.filter(|size| whole && size.fract() == 0.0 && *size < 1e15)
                .map(|size| size as u64)
        }
        _ => {
            sink.wrong_type(node, path, "an integer, or a string such as 100GB");
            return None;
        }
    };
    match size {
        Some(size) if size > 0 => Some(size),
        _ => refuse(
            sink,
            node,
            path,
            "a whole number of GB greater than 0, such as 256 or 1TB",
        ),
    }
}

/// Digits, and a unit in lower case, upper case or capitalised.
pub(crate) fn is_whole(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let lower = unit.to_ascii_lowercase();
    let capitalised = unit.get(1..) == lower.get(1..);
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (unit.is_empty() || UNITS.iter().any(|(known, _)| *known == lower))
        && (capitalised || unit.to_ascii_uppercase() == unit)
}

/// The text of a number or string.
fn text(sink: &mut Sink<'_>, node: &Node, path: &str) -> Option<String> {
    match &node.value {
        Value::Str(text) => Some(text.clone()),
        Value::Int(_) | Value::Float(_) => node.python_str(),
        _ => {
            sink.wrong_type(node, path, "a number or a string");
            None
        }
    }
}

fn split_plus(text: &str) -> (&str, &'static str) {
    match text.strip_suffix('+') {
        Some(number) => (number, "+"),
        None => (text, ""),
    }
}

/// An amount with a unit, in GiB.
fn gib(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    UNITS
        .iter()
        .find_map(|(unit, kib)| Some(finite(lower.strip_suffix(unit)?)? * kib / KIB_PER_GIB))
}

fn positive(sink: &mut Sink<'_>, node: &Node, path: &str, number: f64) -> Option<f64> {
    if number > 0.0 {
        return Some(number);
    }
    let message = format!("`{}` must be greater than 0", field::last_name(path));
    sink.error("out-of-range", node, path, message);
    None
}

/// Reports an amount that cannot be read.
pub(crate) fn refuse<T>(sink: &mut Sink<'_>, node: &Node, path: &str, expected: &str) -> Option<T> {
    let found = node
        .shown()
        .map_or_else(String::new, |shown| format!(", not {shown}"));
    let message = format!("`{}` must be {expected}{found}", field::last_name(path));
    sink.error("invalid-value", node, path, message);
    None
}
