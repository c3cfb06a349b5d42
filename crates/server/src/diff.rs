//! What differs between two versions of a service: field by field of the canonical form, so that another spelling of
//! the same YAML differs in nothing. Values that are secret are compared and never shown.

use std::collections::BTreeSet;

use api::{Change, ChangeKind};
use serde_json::{Map, Value as Json};
use spec::Masks;
use store::{FileSource, VersionRecord};

/// Digits of a content digest that are shown.
const DIGEST_CHARS: usize = 12;
/// A variable whose name has one of these words is taken for a secret.
const SECRET_WORDS: [&str; 8] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "KEY",
    "AUTH",
];

/// What differs between two versions. `same_content`: their content hashes are equal, so that what differs in their
/// files does not count (the YAML itself, where it lies in the workdir).
pub(crate) fn compare(old: &VersionRecord, new: &VersionRecord, same_content: bool) -> Vec<Change> {
    let mut masks = Masks::default();
    masks.add(&old.task);
    masks.add(&new.task);
    let mut comparison = Comparison {
        masks,
        changes: Vec::new(),
    };
    let (before, after) = (old.task.canonical(), new.task.canonical());
    comparison.walk(&mut Vec::new(), Some(&before), Some(&after));
    if !same_content {
        comparison.files(old, new);
    }
    comparison.changes
}

struct Comparison {
    masks: Masks,
    changes: Vec<Change>,
}

/// One step of a path.
#[derive(Clone)]
enum Step {
    Field(String),
    Item(usize),
}

impl Comparison {
    fn walk(&mut self, path: &mut Vec<Step>, old: Option<&Json>, new: Option<&Json>) {
        if old == new {
            return;
        }
        let (old_fields, new_fields) = (fields(old), fields(new));
        let (old_items, new_items) = (items(old), items(new));
        if (old_fields.is_some() || old.is_none()) && (new_fields.is_some() || new.is_none()) {
            let none = Map::new();
            let (old, new) = (old_fields.unwrap_or(&none), new_fields.unwrap_or(&none));
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                path.push(Step::Field(key.clone()));
                self.walk(path, old.get(key), new.get(key));
                path.pop();
            }
        } else if let (Some(old), Some(new)) = (old_items, new_items) {
            for index in 0..old.len().max(new.len()) {
                path.push(Step::Item(index));
                self.walk(path, old.get(index), new.get(index));
                path.pop();
            }
        } else {
            self.leaf(path, old, new);
        }
    }

    fn leaf(&mut self, path: &[Step], old: Option<&Json>, new: Option<&Json>) {
        let hidden = is_secret(path)
            || [old, new]
                .into_iter()
                .flatten()
                .any(|v| self.is_env_secret(path, v));
        let shown = |value: Option<&Json>| {
            let mut value = value.filter(|_| !hidden)?.clone();
            self.masks.json(&mut value);
            Some(value)
        };
        let (old_shown, new_shown) = (shown(old), shown(new));
        let path = self.masks.text(&written(path));
        self.add(
            path,
            kind(old.is_some(), new.is_some()),
            old_shown,
            new_shown,
            hidden,
        );
    }

    /// A variable that is, or holds, one of the task's secrets.
    fn is_env_secret(&self, path: &[Step], value: &Json) -> bool {
        let text = value.as_str().unwrap_or_default();
        matches!(path, [Step::Field(section), _] if section == "envs")
            && self.masks.text(text) != text
    }

    fn files(&mut self, old: &VersionRecord, new: &VersionRecord) {
        self.content(
            "workdir",
            old.files.workdir.as_ref(),
            new.files.workdir.as_ref(),
        );
        for (destination, source) in &old.files.mounts {
            let mut mounts = new.files.mounts.iter();
            let other = mounts.find(|(other, _)| other == destination);
            let path = written(&[
                Step::Field("file_mounts".to_owned()),
                Step::Field(destination.clone()),
            ]);
            self.content(&path, Some(source), other.map(|(_, source)| source));
        }
    }

    /// The content of one tree, where both versions have it; else its own field tells.
    fn content(&mut self, path: &str, old: Option<&FileSource>, new: Option<&FileSource>) {
        let (Some(old), Some(new)) = (old, new) else {
            return;
        };
        if old.digest != new.digest {
            let shown = |source: &FileSource| {
                let digits: String = source.digest.chars().take(DIGEST_CHARS).collect();
                Some(Json::String(digits))
            };
            let path = format!("{path} (content)");
            self.add(path, ChangeKind::Changed, shown(old), shown(new), false);
        }
    }

    fn add(
        &mut self,
        path: String,
        kind: ChangeKind,
        old: Option<Json>,
        new: Option<Json>,
        hidden: bool,
    ) {
        self.changes.push(Change {
            path,
            kind,
            old,
            new,
            hidden,
        });
    }
}

fn fields(value: Option<&Json>) -> Option<&Map<String, Json>> {
    value.and_then(Json::as_object)
}

fn items(value: Option<&Json>) -> Option<&Vec<Json>> {
    value.and_then(Json::as_array)
}

fn kind(was: bool, is: bool) -> ChangeKind {
    match (was, is) {
        (false, _) => ChangeKind::Added,
        (true, false) => ChangeKind::Removed,
        (true, true) => ChangeKind::Changed,
    }
}

/// Whether a value may be a credential by where it stands, whatever it is.
fn is_secret(path: &[Step]) -> bool {
    let fields: Vec<&str> = path
        .iter()
        .map(|step| match step {
            Step::Field(name) => name.as_str(),
            Step::Item(_) => "",
        })
        .collect();
    match fields.as_slice() {
        ["secrets", ..]
        | ["service", "readiness_probe", "headers", ..]
        | ["service", "update", "canary", "header" | "cookie", "value"] => true,
        ["envs", name] => {
            let name = name.to_ascii_uppercase();
            SECRET_WORDS.iter().any(|word| name.contains(word))
        }
        _ => false,
    }
}

/// `service.update.canary.steps[0].weight`; a field that would be unclear so is quoted: `file_mounts["/data"]`.
fn written(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Item(index) => text.push_str(&format!("[{index}]")),
            Step::Field(name) if is_plain(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            Step::Field(name) => text.push_str(&format!("[{}]", Json::from(name.as_str()))),
        }
    }
    text
}

fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !name.is_empty() && name.chars().all(plain)
}

#[cfg(test)]
mod tests;
