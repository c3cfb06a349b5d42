//! Tree → meaning, collecting every error instead of stopping at the first.
//!
//! The functions here read one typed value each; the modules below read one section each. A
//! function that has reported an error returns `None`, and its caller goes on with the next field.

pub(crate) mod accelerators;
pub(crate) mod amount;
pub(crate) mod config;
pub(crate) mod environment;
pub(crate) mod infra;
mod load_balancer;
pub(crate) mod mounts;
pub(crate) mod ports;
pub(crate) mod probe;
pub(crate) mod resources;
pub(crate) mod service;
pub(crate) mod task;
mod update;

use crate::diagnostic::{Diagnostic, MAX_DIAGNOSTICS, Severity};
use crate::field;
use crate::node::{Entry, Node, Value, shortened};
use crate::source::{Source, Span};
use crate::suggest;

/// Where findings are collected.
pub(crate) struct Sink<'s> {
    pub(crate) source: &'s Source<'s>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Values of `secrets`, hidden in every excerpt.
    pub(crate) secrets: Vec<Span>,
    /// Whether there were errors beyond [`MAX_DIAGNOSTICS`].
    more_errors: bool,
    /// What the last of them would have been.
    unshown: Option<Diagnostic>,
}

impl<'s> Sink<'s> {
    pub(crate) fn new(source: &'s Source<'s>) -> Self {
        Self {
            source,
            diagnostics: Vec::new(),
            secrets: Vec::new(),
            more_errors: false,
            unshown: None,
        }
    }

    /// Reports an error at a node. `path` names the field whose rule was broken.
    pub(crate) fn error(
        &mut self,
        code: &'static str,
        at: &Node,
        path: &str,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        if self.diagnostics.len() >= MAX_DIAGNOSTICS {
            // Finding the line and column takes time, and nobody reads on.
            self.more_errors = true;
            return self.unplaced(code);
        }
        let mut diagnostic = match at.flag {
            Some(flag) => Diagnostic::without_excerpt(code, flag, message.into()),
            None => Diagnostic::at(code, self.source, at.span, message.into()),
        };
        diagnostic.rule = field::rule(path);
        self.push(diagnostic)
    }

    /// Reports something that is accepted but surely not meant.
    pub(crate) fn warning(
        &mut self,
        code: &'static str,
        at: &Node,
        path: &str,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        if self.diagnostics.len() >= MAX_DIAGNOSTICS {
            return self.unplaced(code);
        }
        let diagnostic = self.error(code, at, path, message);
        diagnostic.severity = Severity::Warning;
        diagnostic
    }

    fn unplaced(&mut self, code: &'static str) -> &mut Diagnostic {
        self.unshown
            .insert(Diagnostic::without_excerpt(code, "", String::new()))
    }

    fn push(&mut self, diagnostic: Diagnostic) -> &mut Diagnostic {
        self.diagnostics.push(diagnostic);
        let last = self.diagnostics.len() - 1;
        &mut self.diagnostics[last]
    }

    /// Reports a value of the wrong type.
    pub(crate) fn wrong_type(&mut self, at: &Node, path: &str, expected: &str) {
        let name = field::last_name(path);
        let found = match at.shown() {
            Some(shown) => format!("{} ({shown})", at.kind()),
            None => at.kind().to_owned(),
        };
        let message = format!("`{name}` must be {expected}, not {found}");
        self.error("wrong-type", at, path, message);
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.more_errors
            || self
                .diagnostics
                .iter()
                .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The findings in the order of the file, each once, with secrets hidden.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(Diagnostic::order);
        let mut unique: Vec<Diagnostic> = Vec::new();
        for mut diagnostic in self.diagnostics {
            diagnostic.hide(&self.secrets);
            let known = unique
                .iter()
                .rev()
                .take_while(|other| other.order() == diagnostic.order());
            if known
                .into_iter()
                .all(|other| (other.code, &other.message) != (diagnostic.code, &diagnostic.message))
            {
                unique.push(diagnostic);
            }
        }
        if self.more_errors {
            let message = "the file has more errors than are shown".to_owned();
            let end = self.source.text.len();
            let end = Span { start: end, end };
            unique.push(Diagnostic::at("more-errors", self.source, end, message));
        }
        unique
    }
}

/// What a null means to a section.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// `key:` without a value is as if the key were not there (the top level of a schema).
    Absent,
    /// `key:` without a value has a value of the wrong type.
    Values,
}

/// A mapping of known keys.
pub(crate) struct Section<'n> {
    pub(crate) node: &'n Node,
    /// The path of the section in the table of fields, such as `service.readiness_probe`.
    pub(crate) path: &'static str,
    nulls: Nulls,
}

impl<'n> Section<'n> {
    /// Opens a mapping and reports keys that are not in the table of fields.
    pub(crate) fn open(
        sink: &mut Sink<'_>,
        node: &'n Node,
        path: &'static str,
        nulls: Nulls,
    ) -> Option<Self> {
        let Some(entries) = node.entries() else {
            sink.wrong_type(node, path, "a mapping");
            return None;
        };
        for entry in entries {
            if sink.more_errors {
                break;
            }
            if !entry
                .key
                .as_str()
                .is_some_and(|key| field::is_known(path, key))
            {
                unknown_key(sink, &entry.key, path);
                hide_misspelt_secrets(sink, entry, path);
            }
        }
        Some(Self { node, path, nulls })
    }

    /// The value of a key; `None` when it is not written (or null where that means the same).
    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        let node = self.node.get(key)?;
        if self.nulls == Nulls::Absent && node.is_null() {
            None
        } else {
            Some(node)
        }
    }

    pub(crate) fn entries(&self) -> &'n [Entry] {
        self.node.entries().unwrap_or_default()
    }

    /// The full path of one of its fields.
    pub(crate) fn path_of(&self, key: &str) -> String {
        field::join(self.path, key)
    }

    pub(crate) fn string(&self, sink: &mut Sink<'_>, key: &str) -> Option<&'n str> {
        string(sink, self.get(key)?, &self.path_of(key))
    }

    pub(crate) fn boolean(&self, sink: &mut Sink<'_>, key: &str) -> Option<bool> {
        boolean(sink, self.get(key)?, &self.path_of(key))
    }

    pub(crate) fn number(&self, sink: &mut Sink<'_>, key: &str) -> Option<f64> {
        number(sink, self.get(key)?, &self.path_of(key))
    }

    pub(crate) fn count(&self, sink: &mut Sink<'_>, key: &str, min: u32, max: u32) -> Option<u32> {
        count(sink, self.get(key)?, &self.path_of(key), min, max)
    }
}

/// Reports a key that its section does not have.
pub(crate) fn unknown_key(sink: &mut Sink<'_>, key: &Node, section: &str) {
    let place = if section.is_empty() {
        "a task"
    } else {
        section
    };
    let Some(name) = key.as_str() else {
        let shown = key.shown().unwrap_or_else(|| key.kind().to_owned());
        let message = format!("{place} has no field {shown}: names of fields are strings");
        sink.error("unknown-field", key, section, message);
        return;
    };
    let shown = shortened(name);
    let message = match section {
        "" => format!("a task has no field `{shown}`"),
        _ => format!("`{section}` has no field `{shown}`"),
    };
    if sink.diagnostics.len() >= MAX_DIAGNOSTICS {
        sink.error("unknown-field", key, section, String::new());
        return;
    }
    let help = match suggest::nearest(name, field::names(section)) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => field::elsewhere(name).map(|path| format!("there is a field `{path}`")),
    };
    let diagnostic = sink.error("unknown-field", key, section, message);
    diagnostic.help = help;
}

/// Hides the value of a key that was meant to be `secrets`.
fn hide_misspelt_secrets(sink: &mut Sink<'_>, entry: &Entry, section: &str) {
    if sink.diagnostics.len() >= MAX_DIAGNOSTICS {
        return;
    }
    let near = entry
        .key
        .as_str()
        .and_then(|name| suggest::nearest(name, field::names(section)));
    if near == Some("secrets") {
        sink.secrets.push(entry.value.span);
    }
}

pub(crate) fn string<'n>(sink: &mut Sink<'_>, node: &'n Node, path: &str) -> Option<&'n str> {
    let text = node.as_str();
    if text.is_none() {
        sink.wrong_type(node, path, "a string");
    }
    text
}

pub(crate) fn boolean(sink: &mut Sink<'_>, node: &Node, path: &str) -> Option<bool> {
    if let Value::Bool(flag) = node.value {
        return Some(flag);
    }
    sink.wrong_type(node, path, "a boolean (true or false)");
    None
}

/// A finite number.
pub(crate) fn number(sink: &mut Sink<'_>, node: &Node, path: &str) -> Option<f64> {
    match node.value {
        Value::Int(number) => Some(number as f64),
        Value::Float(number) if number.is_finite() => Some(number),
        Value::Float(_) => {
            let message = format!("`{}` must be a finite number", field::last_name(path));
            sink.error("not-finite", node, path, message);
            None
        }
        _ => {
            sink.wrong_type(node, path, "a number");
            None
        }
    }
}

/// An integer; `2.0` counts as one, as it does for JSON schema.
pub(crate) fn integer(sink: &mut Sink<'_>, node: &Node, path: &str) -> Option<i128> {
    match node.value {
        Value::Int(number) => Some(number),
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Some(number as i128)
        }
        _ => {
            sink.wrong_type(node, path, "an integer");
            None
        }
    }
}

/// An integer between two bounds.
pub(crate) fn count(
    sink: &mut Sink<'_>,
    node: &Node,
    path: &str,
    min: u32,
    max: u32,
) -> Option<u32> {
    let number = whole(sink, node, path, u64::from(min), u64::from(max))?;
    u32::try_from(number).ok()
}

/// An integer between two bounds that may lie far apart.
pub(crate) fn whole(
    sink: &mut Sink<'_>,
    node: &Node,
    path: &str,
    min: u64,
    max: u64,
) -> Option<u64> {
    let number = integer(sink, node, path)?;
    if let Ok(number) = u64::try_from(number)
        && (min..=max).contains(&number)
    {
        return Some(number);
    }
    let name = field::last_name(path);
    let message = format!("`{name}` must be between {min} and {max}, not {number}");
    sink.error("out-of-range", node, path, message);
    None
}

/// Whether a text is a token (RFC 9110 section 5.6.2), as names of headers and cookies are.
pub(crate) fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// One of a few words, compared without regard to case; returned as listed.
pub(crate) fn word<'w>(
    sink: &mut Sink<'_>,
    node: &Node,
    path: &str,
    words: &[&'w str],
) -> Option<&'w str> {
    let text = string(sink, node, path)?;
    let found = words.iter().find(|word| word.eq_ignore_ascii_case(text));
    if found.is_none() {
        unknown_word(sink, node, path, words);
    }
    found.copied()
}

/// Reports a word that is not one of those allowed.
pub(crate) fn unknown_word(sink: &mut Sink<'_>, node: &Node, path: &str, words: &[&str]) {
    let name = field::last_name(path);
    let found = node
        .shown()
        .map_or_else(String::new, |shown| format!(", not {shown}"));
    let message = format!("`{name}` must be one of {}{found}", words.join(", "));
    let near = node
        .as_str()
        .and_then(|text| suggest::nearest(text, words.iter().copied()));
    let help = near.map(|near| format!("did you mean `{near}`?"));
    sink.error("unknown-value", node, path, message).help = help;
}

/// Any value as JSON. Dates and non-finite numbers have no JSON and are reported.
pub(crate) fn json(sink: &mut Sink<'_>, node: &Node, path: &str) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    Some(match &node.value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Int(number) => json_integer(*number),
        Value::Float(number) if number.is_finite() => json_number(*number),
        Value::Str(text) => Json::String(text.clone()),
        Value::Float(_) | Value::Timestamp(_) => {
            let message = format!(
                "`{}` holds {}, which cannot be written as JSON",
                field::last_name(path),
                node.shown().unwrap_or_else(|| node.kind().to_owned())
            );
            sink.error("not-json", node, path, message).help =
                Some("quote it to make it text".to_owned());
            return None;
        }
        Value::Seq(items) => {
            let items: Vec<_> = items.iter().map(|item| json(sink, item, path)).collect();
            Json::Array(items.into_iter().collect::<Option<Vec<_>>>()?)
        }
        Value::Map(entries) => {
            let mut object = serde_json::Map::new();
            for entry in entries {
                let Some(key) = entry.key.json_key() else {
                    sink.wrong_type(&entry.key, path, "a mapping with names as keys");
                    return None;
                };
                object.insert(key, json(sink, &entry.value, path)?);
            }
            Json::Object(object)
        }
    })
}

fn json_integer(number: i128) -> serde_json::Value {
    if let Ok(number) = i64::try_from(number) {
        return number.into();
    }
    u64::try_from(number).map_or_else(|_| serde_json::json!(number as f64), Into::into)
}

/// A number as JSON: without a point when it is whole, so that `5` and `5.0` are one spelling.
pub(crate) fn json_number(number: f64) -> serde_json::Value {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        return (number as i64).into();
    }
    serde_json::json!(number)
}
