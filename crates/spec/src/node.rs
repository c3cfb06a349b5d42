//! The document as a tree in which every value knows where it was written.

use crate::source::Span;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
    /// The command-line flag that this value came from; `None` when it was written in the file.
    pub(crate) flag: Option<&'static str>,
    /// Whether an environment variable or a secret was filled in; then the value is never quoted in
    /// a message.
    pub(crate) substituted: bool,
}

/// What a node holds, with PyYAML's types.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(String),
    /// A date or a date and time, as Python's `str` shows it.
    Timestamp(String),
    Seq(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Node,
    pub(crate) value: Node,
}

impl PartialEq for Node {
    /// Places do not count: two spellings of one value are equal.
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Node {
    pub(crate) fn new(value: Value, span: Span) -> Self {
        Self {
            value,
            span,
            flag: None,
            substituted: false,
        }
    }

    /// A string that was given with a command-line flag.
    pub(crate) fn from_flag(flag: &'static str, value: Value) -> Self {
        Self {
            value,
            span: Span::default(),
            flag: Some(flag),
            substituted: false,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let entry = self
            .entries()?
            .iter()
            .find(|entry| entry.key.as_str() == Some(key))?;
        Some(&entry.value)
    }

    /// What the value is, with its article, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Str(_) => "a string",
            Value::Timestamp(_) => "a date",
            Value::Seq(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The value as a message may show it: short scalars only, and nothing that was filled in.
    pub(crate) fn shown(&self) -> Option<String> {
        if self.substituted {
            return None;
        }
        let text = match &self.value {
            Value::Str(text) => format!("{text:?}"),
            Value::Seq(_) | Value::Map(_) | Value::Null => return None,
            _ => self.python_str()?,
        };
        (text.chars().count() <= 60).then_some(text)
    }

    /// Python's `str()` of a scalar, which is what SkyPilot makes of environment values; `None` for
    /// null, lists and mappings.
    pub(crate) fn python_str(&self) -> Option<String> {
        Some(match &self.value {
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => python_float(*number),
            Value::Str(text) | Value::Timestamp(text) => text.clone(),
            Value::Null | Value::Seq(_) | Value::Map(_) => return None,
        })
    }

    /// The key as JSON writes it; `None` for keys that JSON cannot have.
    pub(crate) fn json_key(&self) -> Option<String> {
        Some(match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Timestamp(_) => return None,
            _ => self.python_str()?,
        })
    }
}

/// A name as a message may show it.
pub(crate) fn shortened(name: &str) -> String {
    const CHARS_MAX: usize = 80;
    match name.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

/// Python's `repr` of a float: shortest digits, always a point or an exponent.
pub(crate) fn python_float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    if number.fract() == 0.0 {
        format!("{number:.1}")
    } else {
        number.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (number, text) in [
            (5.0, "5.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (1.5e-7, "1.5e-07"),
            (123_456_789.25, "123456789.25"),
            (-0.0, "-0.0"),
        ] {
            assert_eq!(python_float(number), text);
        }
    }
}
