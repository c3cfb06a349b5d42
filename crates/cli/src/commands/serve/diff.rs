//! `sky serve diff`.

use std::process::ExitCode;

use api::{Change, ChangeKind, Diff};
use serde_json::Value;

use crate::args::DiffArguments;
use crate::failure::Failure;
use crate::output::{self, line_diff, one_line};
use crate::server_process;

pub(crate) fn run(arguments: &DiffArguments) -> Result<ExitCode, Failure> {
    let name = &arguments.service_name;
    server_process::block_on(async {
        let client = server_process::connect_to(name).await?;
        let diff = client.diff(name, arguments.from, arguments.to).await?;
        if arguments.json {
            output::json(&diff)?;
        } else {
            output::print(&text(&diff))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn text(diff: &Diff) -> String {
    let (from, to) = (diff.from, diff.to);
    let mut text = format!(
        "Service '{}', version {from} → {to}\n",
        one_line(&diff.name)
    );
    for change in &diff.changes {
        text.push_str(&shown(change));
    }
    if diff.changes.is_empty() {
        text.push_str("  nothing differs\n");
    }
    text.push_str(&if diff.replaces_replicas {
        format!("Replicas of version {from} are not what version {to} asks for: an update replaces them.\n")
    } else {
        format!("Replicas of version {from} already are what version {to} asks for: an update replaces none.\n")
    });
    text
}

fn shown(change: &Change) -> String {
    let path = one_line(&change.path);
    if change.hidden {
        let kind = match change.kind {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::Changed => "changed",
        };
        return format!("  {path}: {kind} (hidden)\n");
    }
    if let (Some(Value::String(old)), Some(Value::String(new))) = (&change.old, &change.new)
        && (old.trim_end().contains('\n') || new.trim_end().contains('\n'))
    {
        return lines(&path, old, new);
    }
    match (&change.old, &change.new) {
        (None, Some(new)) => format!("  {path}: added {}\n", value(new)),
        (Some(old), None) => format!("  {path}: removed (was {})\n", value(old)),
        // What differs is a part that is masked.
        (Some(old), Some(new)) if old == new => format!("  {path}: changed (hidden)\n"),
        (Some(old), Some(new)) => format!("  {path}: {} → {}\n", value(old), value(new)),
        (None, None) => format!("  {path}: changed\n"),
    }
}

/// Text of several lines: only those that differ.
fn lines(path: &str, old: &str, new: &str) -> String {
    let differing = line_diff::differing(old, new);
    let Some(lines) = differing.filter(|lines| !lines.is_empty()) else {
        return format!("  {path}: changed\n");
    };
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("    {}\n", one_line(line)))
        .collect();
    format!("  {path}:\n{}", lines.concat())
}

fn value(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && !text.contains([' ', '"']) => one_line(text),
        other => one_line(&other.to_string()),
    }
}
