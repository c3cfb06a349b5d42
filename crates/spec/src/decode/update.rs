//! `service.update` → [`Update`]: names and ranges as in its documentation, and the combinations that cannot be meant.

mod canary;

use super::amount::{finite, refuse};
use super::probe::{Least, bounded};
use super::{Nulls, Section, Sink, count, string, word};
use crate::decode::service::MAX_REPLICAS;
use crate::node::{Node, Value};
use crate::update::{Amount, DEFAULT_VERIFY_TIMEOUT_SECONDS, Surge, Update, UpdateMode, Verify};

/// Reads the section; what is not written, or is wrong and was reported, has its default.
pub(super) fn decode(sink: &mut Sink<'_>, node: Option<&Node>) -> Update {
    let mut update = Update::default();
    let Some(section) =
        node.and_then(|node| Section::open(sink, node, "service.update", Nulls::Values))
    else {
        return update;
    };
    update.mode = section.get("mode").and_then(|node| mode(sink, node));
    if let Some(node) = section.get("max_surge")
        && let Some(surge) = surge(sink, node)
    {
        update.max_surge = surge;
    }
    if let Some(node) = section.get("max_unavailable")
        && let Some(amount) = amount(sink, node, "service.update.max_unavailable")
    {
        update.max_unavailable = amount;
    }
    seconds(sink, &section, &mut update);
    if let Some(flag) = section.boolean(sink, "auto_rollback") {
        update.auto_rollback = flag;
    }
    update.canary = section
        .get("canary")
        .and_then(|node| canary::decode(sink, node));
    update.verify = section.get("verify").and_then(|node| verify(sink, node));
    standstill(sink, &section, &update);
    deadline(sink, &section, &update);
    no_effect(sink, &section, &update);
    update
}

fn mode(sink: &mut Sink<'_>, node: &Node) -> Option<UpdateMode> {
    let names = UpdateMode::ALL.map(UpdateMode::as_str);
    let name = word(sink, node, "service.update.mode", &names)?;
    UpdateMode::ALL
        .into_iter()
        .find(|mode| mode.as_str() == name)
}

fn surge(sink: &mut Sink<'_>, node: &Node) -> Option<Surge> {
    if node
        .as_str()
        .is_some_and(|text| text.eq_ignore_ascii_case("auto"))
    {
        return Some(Surge::Auto);
    }
    amount(sink, node, "service.update.max_surge").map(Surge::Amount)
}

/// `2` or `25%`.
fn amount(sink: &mut Sink<'_>, node: &Node, path: &str) -> Option<Amount> {
    let Some(text) = node.as_str() else {
        return match node.value {
            Value::Int(_) | Value::Float(_) => {
                count(sink, node, path, 0, MAX_REPLICAS).map(Amount::Count)
            }
            _ => {
                sink.wrong_type(node, path, "a number of replicas or a share such as 25%");
                None
            }
        };
    };
    let percent = text.strip_suffix('%').and_then(finite);
    match percent {
        Some(percent) if (0.0..=100.0).contains(&percent) => Some(Amount::Percent(percent)),
        _ => refuse(
            sink,
            node,
            path,
            "a number of replicas or a share between 0% and 100%",
        ),
    }
}

fn seconds(sink: &mut Sink<'_>, section: &Section<'_>, update: &mut Update) {
    for (key, into) in [
        ("min_healthy_seconds", &mut update.min_healthy_seconds),
        ("drain_timeout_seconds", &mut update.drain_timeout_seconds),
        ("undo_window_seconds", &mut update.undo_window_seconds),
    ] {
        if let Some(number) = bounded(sink, section, key, Least::Zero) {
            *into = number;
        }
    }
    update.progress_deadline_seconds =
        bounded(sink, section, "progress_deadline_seconds", Least::AboveZero);
}

fn verify(sink: &mut Sink<'_>, node: &Node) -> Option<Verify> {
    const RUN: &str = "service.update.verify.run";
    let section = Section::open(sink, node, "service.update.verify", Nulls::Values)?;
    let timeout_seconds = bounded(sink, &section, "timeout_seconds", Least::AboveZero);
    let Some(run) = section.get("run") else {
        sink.error("missing-field", node, RUN, "`verify` needs `run`");
        return None;
    };
    let text = string(sink, run, RUN)?;
    if text.trim().is_empty() {
        let message = "`run` is empty: nothing would be verified";
        sink.error("empty", run, RUN, message);
        return None;
    }
    Some(Verify {
        run: text.to_owned(),
        timeout_seconds: timeout_seconds.unwrap_or(DEFAULT_VERIFY_TIMEOUT_SECONDS),
    })
}

/// With nothing more and nothing less than what is wanted, no replica could ever be replaced.
fn standstill(sink: &mut Sink<'_>, section: &Section<'_>, update: &Update) {
    let none_more = matches!(update.max_surge, Surge::Amount(amount) if amount.is_zero());
    if none_more && update.max_unavailable.is_zero() {
        let at = section.get("max_surge").unwrap_or(section.node);
        let message = "with no replica more (`max_surge` is 0) and none fewer (`max_unavailable` is 0) than are \
             wanted, none can be replaced";
        sink.error("conflict", at, "service.update.max_surge", message)
            .help = Some("set `max_unavailable: 1` to replace them one at a time".to_owned());
    }
    let restarts = update.mode == Some(UpdateMode::InPlace);
    if let Some(at) = section.get("max_unavailable")
        && restarts
        && update.max_unavailable.is_zero()
    {
        let message = "`mode: in_place` restarts replicas where they are, so one at least is missing meanwhile";
        sink.error("conflict", at, "service.update.max_unavailable", message)
            .help = Some("set `max_unavailable: 1`, or leave it out".to_owned());
    }
}

/// No replica could become available in time.
fn deadline(sink: &mut Sink<'_>, section: &Section<'_>, update: &Update) {
    let (Some(deadline), Some(at)) = (
        update.progress_deadline_seconds,
        section.get("progress_deadline_seconds"),
    ) else {
        return;
    };
    let healthy = update.min_healthy_seconds;
    if deadline <= healthy {
        let message = format!(
            "`progress_deadline_seconds` ({deadline}) must be greater than `min_healthy_seconds` ({healthy}), or no \
             replica could count in time"
        );
        sink.error(
            "conflict",
            at,
            "service.update.progress_deadline_seconds",
            message,
        );
    }
}

/// A setting that the mode leaves without effect is surely not meant. Only the mode that is written is judged; a flag
/// may say another.
fn no_effect(sink: &mut Sink<'_>, section: &Section<'_>, update: &Update) {
    let Some(mode) = update.mode else { return };
    let idle: &[&str] = match mode {
        UpdateMode::Rolling => &["canary", "undo_window_seconds"],
        UpdateMode::BlueGreen => &["canary", "max_surge", "max_unavailable"],
        UpdateMode::Canary => &[],
        UpdateMode::InPlace => &["canary", "max_surge", "undo_window_seconds"],
    };
    for key in idle {
        if let Some(at) = section.get(key) {
            let message = format!("`{key}` has no effect with `mode: {}`", mode.as_str());
            sink.warning("no-effect", at, &section.path_of(key), message);
        }
    }
}
