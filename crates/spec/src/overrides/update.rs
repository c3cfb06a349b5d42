//! Flags of `sky serve update` that replace fields of `service.update`.

use crate::node::{Entry, Node, Value};

/// Flags named as the fields are. Everything is as typed; `None` means not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateFlags {
    /// `--max-surge`
    pub max_surge: Option<String>,
    /// `--max-unavailable`
    pub max_unavailable: Option<String>,
    /// `--min-healthy-seconds`
    pub min_healthy_seconds: Option<String>,
    /// `--progress-deadline-seconds`
    pub progress_deadline_seconds: Option<String>,
    /// `--drain-timeout-seconds`
    pub drain_timeout_seconds: Option<String>,
    /// `--auto-rollback` and `--no-auto-rollback`
    pub auto_rollback: Option<bool>,
    /// `--undo-window-seconds`
    pub undo_window_seconds: Option<String>,
}

impl UpdateFlags {
    fn fields(&self) -> Vec<(&'static str, Node)> {
        let texts = [
            ("max_surge", "--max-surge", &self.max_surge),
            (
                "max_unavailable",
                "--max-unavailable",
                &self.max_unavailable,
            ),
            (
                "min_healthy_seconds",
                "--min-healthy-seconds",
                &self.min_healthy_seconds,
            ),
            (
                "progress_deadline_seconds",
                "--progress-deadline-seconds",
                &self.progress_deadline_seconds,
            ),
            (
                "drain_timeout_seconds",
                "--drain-timeout-seconds",
                &self.drain_timeout_seconds,
            ),
            (
                "undo_window_seconds",
                "--undo-window-seconds",
                &self.undo_window_seconds,
            ),
        ];
        let flag = if self.auto_rollback == Some(false) {
            "--no-auto-rollback"
        } else {
            "--auto-rollback"
        };
        let auto = self.auto_rollback.map(Value::Bool);
        let auto = auto.map(|value| ("auto_rollback", Node::from_flag(flag, value)));
        texts
            .into_iter()
            .filter_map(|(field, flag, text)| {
                Some((field, Node::from_flag(flag, value(text.as_ref()?))))
            })
            .chain(auto)
            .collect()
    }
}

/// What a YAML would make of the text, as far as these fields are concerned.
fn value(text: &str) -> Value {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Value::Int(number);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Value::Float(number),
        _ => Value::Str(text.to_owned()),
    }
}

/// Puts the flags into `service.update`. A task without a service has no use for them.
pub(super) fn apply(root: &mut Node, flags: &UpdateFlags) {
    let fields = flags.fields();
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    let service = entries
        .iter_mut()
        .find(|entry| entry.key.as_str() == Some("service"));
    let (Some(service), false) = (service, fields.is_empty()) else {
        return;
    };
    let span = service.value.span;
    let Value::Map(service) = &mut service.value.value else {
        return;
    };
    let at = service
        .iter()
        .position(|entry| entry.key.as_str() == Some("update"));
    let at = at.unwrap_or_else(|| {
        service.push(Entry {
            key: Node::from_flag("", Value::Str("update".to_owned())),
            value: Node::new(Value::Map(Vec::new()), span),
        });
        service.len() - 1
    });
    let Some(update) = service.get_mut(at).map(|entry| &mut entry.value) else {
        return;
    };
    if update.is_null() {
        update.value = Value::Map(Vec::new());
    }
    if let Value::Map(update) = &mut update.value {
        for (field, value) in fields {
            update.retain(|entry| entry.key.as_str() != Some(field));
            let key = Node::from_flag("", Value::Str(field.to_owned()));
            update.push(Entry { key, value });
        }
    }
}
