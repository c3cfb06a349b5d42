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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Amount, Checked, Overrides, Purpose, SourceText, Surge, Update, check_task};

    fn check(update: &str, flags: UpdateFlags) -> Checked {
        let yaml = format!(
            "service:\n  readiness_probe: /\n  replicas: 2\n{update}resources: {{ports: 80}}\nrun: x\n"
        );
        let overrides = Overrides {
            update: flags,
            ..Overrides::default()
        };
        let source = SourceText::new("task.yaml", yaml.into_bytes());
        check_task(&source, &overrides, Purpose::Service)
    }

    fn read(update: &str, flags: UpdateFlags) -> Update {
        let checked = check(update, flags);
        let task = checked
            .task
            .unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
        task.service.expect("a service").update
    }

    #[test]
    fn flags_replace_fields_and_leave_the_others() {
        let written = "  update: {max_surge: 1, max_unavailable: 1, auto_rollback: true}\n";
        let flags = || UpdateFlags {
            max_surge: Some("25%".to_owned()),
            min_healthy_seconds: Some("2.5".to_owned()),
            auto_rollback: Some(false),
            ..UpdateFlags::default()
        };
        for (yaml, unavailable) in [(written, 1), ("  update:\n", 0), ("", 0)] {
            let update = read(yaml, flags());
            assert_eq!(
                update.max_surge,
                Surge::Amount(Amount::Percent(25.0)),
                "{yaml}"
            );
            assert_eq!(update.max_unavailable, Amount::Count(unavailable), "{yaml}");
            assert_eq!(
                (update.min_healthy_seconds, update.auto_rollback),
                (2.5, false)
            );
        }
        let none = read(written, UpdateFlags::default());
        assert_eq!(none.max_surge, Surge::Amount(Amount::Count(1)));
        let auto = UpdateFlags {
            max_surge: Some("auto".to_owned()),
            ..UpdateFlags::default()
        };
        assert_eq!(read(written, auto).max_surge, Surge::Auto);
    }

    #[test]
    fn a_flag_that_is_wrong_is_named() {
        let flags = UpdateFlags {
            undo_window_seconds: Some("soon".to_owned()),
            ..UpdateFlags::default()
        };
        let checked = check("", flags);
        assert!(checked.task.is_none());
        let told = format!("{:?}", checked.diagnostics);
        assert!(told.contains("undo_window_seconds"), "{told}");
    }
}
