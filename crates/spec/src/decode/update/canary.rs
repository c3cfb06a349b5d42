//! `service.update.canary` → [`Canary`].

use crate::decode::amount::{finite, refuse};
use crate::decode::probe::{Least, bounded};
use crate::decode::{Nulls, Section, Sink, is_token, number, string, whole, word};
use crate::node::{Node, Value};
use crate::update::{Analysis, Canary, CanaryMatch, CanaryStep, StepEnd};

/// Most steps of a canary.
const MAX_STEPS: usize = 100;
/// The largest count: what JSON and SQL readers hold without loss.
const MOST_REQUESTS: u64 = (1 << 53) - 1;

pub(super) fn decode(sink: &mut Sink<'_>, node: &Node) -> Option<Canary> {
    let section = Section::open(sink, node, "service.update.canary", Nulls::Values)?;
    let mut canary = Canary::default();
    if let Some(node) = section.get("steps")
        && let Some(steps) = steps(sink, node)
    {
        canary.steps = steps;
    }
    canary.header = section.get("header").and_then(|node| {
        let mut wanted = wanted(sink, node, "service.update.canary.header", "an HTTP header")?;
        wanted.name.make_ascii_lowercase();
        Some(wanted)
    });
    canary.cookie = section
        .get("cookie")
        .and_then(|node| wanted(sink, node, "service.update.canary.cookie", "a cookie"));
    canary.analysis = section
        .get("analysis")
        .and_then(|node| analysis(sink, node));
    Some(canary)
}

fn steps(sink: &mut Sink<'_>, node: &Node) -> Option<Vec<CanaryStep>> {
    const PATH: &str = "service.update.canary.steps";
    let Value::Seq(items) = &node.value else {
        sink.wrong_type(node, PATH, "a list of steps");
        return None;
    };
    if items.is_empty() || items.len() > MAX_STEPS {
        let message = format!(
            "`steps` must have 1 to {MAX_STEPS} steps, not {}",
            items.len()
        );
        sink.error("out-of-range", node, PATH, message).help =
            Some("write a step such as `{weight: 10, until: promoted}`".to_owned());
        return None;
    }
    let mut steps: Vec<CanaryStep> = Vec::new();
    for item in items {
        let Some(step) = step(sink, item) else {
            continue;
        };
        if let Some(before) = steps.last()
            && before.weight_percent >= step.weight_percent
        {
            let message = format!(
                "the weights of steps must rise: {} follows {}",
                step.weight_percent, before.weight_percent
            );
            let at = item.get("weight").unwrap_or(item);
            sink.error(
                "conflict",
                at,
                "service.update.canary.steps[].weight",
                message,
            );
        }
        steps.push(step);
    }
    (!steps.is_empty()).then_some(steps)
}

fn step(sink: &mut Sink<'_>, node: &Node) -> Option<CanaryStep> {
    const PATH: &str = "service.update.canary.steps[]";
    let section = Section::open(sink, node, PATH, Nulls::Values)?;
    let weight = match section.get("weight") {
        Some(node) => weight(sink, node),
        None => {
            let message = "a step needs `weight`: the share of requests that the new version gets, in percent";
            sink.error("missing-field", node, PATH, message);
            None
        }
    };
    let until = match (section.get("pause_seconds"), section.get("until")) {
        (Some(_), None) => {
            bounded(sink, &section, "pause_seconds", Least::Zero).map(StepEnd::Seconds)
        }
        (None, Some(node)) => {
            word(sink, node, &section.path_of("until"), &["promoted"]).map(|_| StepEnd::Promoted)
        }
        (Some(_), Some(at)) => {
            let message = "a step takes either `pause_seconds` or `until`, not both";
            sink.error("conflict", at, PATH, message);
            None
        }
        (None, None) => {
            let message = "a step needs `pause_seconds`, or `until: promoted`";
            sink.error("missing-field", node, PATH, message);
            None
        }
    };
    Some(CanaryStep {
        weight_percent: weight?,
        until: until?,
    })
}

/// `5` or `5%`.
fn weight(sink: &mut Sink<'_>, node: &Node) -> Option<f64> {
    const PATH: &str = "service.update.canary.steps[].weight";
    let percent = match node.as_str() {
        Some(text) => text.strip_suffix('%').and_then(finite),
        None => Some(number(sink, node, PATH)?),
    };
    match percent {
        Some(percent) if percent > 0.0 && percent <= 100.0 => Some(percent),
        _ => refuse(sink, node, PATH, "greater than 0 and at most 100"),
    }
}

fn wanted(sink: &mut Sink<'_>, node: &Node, path: &'static str, what: &str) -> Option<CanaryMatch> {
    let section = Section::open(sink, node, path, Nulls::Values)?;
    let mut text = |key: &str| {
        let Some(node) = section.get(key) else {
            let message = format!("this needs `{key}`");
            sink.error(
                "missing-field",
                section.node,
                &section.path_of(key),
                message,
            );
            return None;
        };
        let text = string(sink, node, &section.path_of(key))?;
        let fits = match key {
            "name" => is_token(text),
            _ => !text.is_empty() && !text.chars().any(char::is_control),
        };
        if fits {
            return Some(text.to_owned());
        }
        let shown = node.shown().unwrap_or_else(|| "this".to_owned());
        let message = format!("{shown} cannot be the {key} of {what}");
        sink.error("invalid-header", node, &section.path_of(key), message);
        None
    };
    let (name, value) = (text("name"), text("value"));
    Some(CanaryMatch {
        name: name?,
        value: value?,
    })
}

fn analysis(sink: &mut Sink<'_>, node: &Node) -> Option<Analysis> {
    let section = Section::open(sink, node, "service.update.canary.analysis", Nulls::Values)?;
    let mut analysis = Analysis::default();
    if let Some(share) = share(sink, &section, "max_error_increase") {
        analysis.max_error_increase = share;
    }
    analysis.max_latency_ratio = ratio(sink, &section, "max_latency_ratio");
    analysis.max_ttfb_ratio = ratio(sink, &section, "max_ttfb_ratio");
    if let Some(node) = section.get("min_requests") {
        let path = section.path_of("min_requests");
        if let Some(count) = whole(sink, node, &path, 1, MOST_REQUESTS) {
            analysis.min_requests = count;
        }
    }
    if let Some(confidence) = section.number(sink, "confidence") {
        if confidence > 0.5 && confidence < 1.0 {
            analysis.confidence = confidence;
        } else {
            let message = format!("`confidence` must be between 0.5 and 1, not {confidence}");
            out_of_range(sink, &section, "confidence", message);
        }
    }
    Some(analysis)
}

fn share(sink: &mut Sink<'_>, section: &Section<'_>, key: &str) -> Option<f64> {
    let number = section.number(sink, key)?;
    if (0.0..1.0).contains(&number) {
        return Some(number);
    }
    let message = format!("`{key}` must be a share, at least 0 and less than 1, not {number}");
    out_of_range(sink, section, key, message);
    None
}

fn ratio(sink: &mut Sink<'_>, section: &Section<'_>, key: &str) -> Option<f64> {
    let number = section.number(sink, key)?;
    if number >= 1.0 {
        return Some(number);
    }
    let message = format!("`{key}` must be at least 1, not {number}");
    out_of_range(sink, section, key, message);
    None
}

fn out_of_range(sink: &mut Sink<'_>, section: &Section<'_>, key: &str, message: String) {
    let at = section.get(key).unwrap_or(section.node);
    sink.error("out-of-range", at, &section.path_of(key), message);
}
