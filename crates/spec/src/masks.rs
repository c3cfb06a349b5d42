//! Keeps the secrets of tasks out of what is told: their values show as `***`.

use std::fmt;

use serde_json::Value as Json;

use crate::task::{Secret, Task};

/// Secrets shorter than this are masked only where they are a whole string: a secret `1` would hide
/// every digit.
const MASKED_PART_CHARS_MIN: usize = 4;
const MASK: &str = "***";

/// The secrets of some tasks, of several versions of a service say.
#[derive(Clone, Default)]
pub struct Masks {
    /// The longest first: one may be a part of another.
    secrets: Vec<Secret>,
}

impl Masks {
    /// Adds the secrets of a task.
    pub fn add(&mut self, task: &Task) {
        for secret in task.secrets.values() {
            if !secret.reveal().is_empty() && !self.secrets.contains(secret) {
                self.secrets.push(secret.clone());
            }
        }
        self.secrets
            .sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
    }

    /// `text` without secrets.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        masked(&self.secrets, text)
    }

    /// Lines of one text without secrets, those of several lines included.
    #[must_use]
    pub fn lines(&self, lines: &[String]) -> Vec<String> {
        let text = self.text(&lines.join("\n"));
        text.lines().map(str::to_owned).collect()
    }

    /// Takes secrets out of every string of a JSON value, keys included.
    pub fn json(&self, value: &mut Json) {
        mask_json(value, &|text| self.text(text));
    }
}

impl fmt::Debug for Masks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Masks({} secrets)", self.secrets.len())
    }
}

/// `text` with these secrets masked.
pub(crate) fn masked<'a>(secrets: impl IntoIterator<Item = &'a Secret>, text: &str) -> String {
    let mut masked = text.to_owned();
    for secret in secrets {
        let secret = secret.reveal();
        if masked == secret && !secret.is_empty() {
            return MASK.to_owned();
        }
        if secret.chars().count() >= MASKED_PART_CHARS_MIN {
            masked = masked.replace(secret, MASK);
        }
    }
    masked
}

/// Applies `mask` to every string of a JSON value, keys included.
pub(crate) fn mask_json(value: &mut Json, mask: &impl Fn(&str) -> String) {
    match value {
        Json::String(text) => *text = mask(text),
        Json::Array(items) => items.iter_mut().for_each(|item| mask_json(item, mask)),
        Json::Object(fields) => {
            let old = std::mem::take(fields);
            for (key, mut value) in old {
                mask_json(&mut value, mask);
                fields.insert(mask(&key), value);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn masks(secrets: &[&str]) -> Masks {
        let mut masks = Masks::default();
        for secret in secrets {
            masks.secrets.push(Secret::new(*secret));
        }
        masks
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let masks = masks(&["hunter2-and-more", "hunter2", "7", "two\nlines"]);
        assert_eq!(masks.text("a hunter2 b hunter2-and-more"), "a *** b ***");
        assert_eq!(masks.text("7"), "***");
        assert_eq!(
            masks.text("77 of 7"),
            "77 of 7",
            "too short to be told from other text"
        );
        let lines = ["x two".to_owned(), "lines y".to_owned()];
        assert_eq!(masks.lines(&lines), ["x *** y"]);
        let mut value = json!({"hunter2": ["hunter2", 7, {"a": "is hunter2"}]});
        masks.json(&mut value);
        assert_eq!(value, json!({"***": ["***", 7, {"a": "is ***"}]}));
        assert_eq!(format!("{masks:?}"), "Masks(4 secrets)");
    }
}
