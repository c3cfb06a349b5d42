//! JSON text with keys in the order written, as Python's `json.dumps` writes it.
//! `serde_json::Value` sorts keys, but a probe's body is shown, and sent, as the user wrote it.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::node::{Node, Value, python_float};

/// A JSON value that remembers the order of its keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ordered {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Ordered>),
    Object(Vec<(String, Ordered)>),
}

impl Ordered {
    /// The value of a node; `None` where JSON has none.
    pub(crate) fn from_node(node: &Node) -> Option<Self> {
        Some(match &node.value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Int(number) => Self::Number(number.to_string()),
            Value::Float(number) if number.is_finite() => Self::Number(python_float(*number)),
            Value::Float(_) | Value::Timestamp(_) => return None,
            Value::Str(text) => Self::Text(text.clone()),
            Value::Seq(items) => {
                Self::List(items.iter().map(Self::from_node).collect::<Option<_>>()?)
            }
            Value::Map(entries) => {
                let pairs = entries
                    .iter()
                    .map(|entry| Some((entry.key.json_key()?, Self::from_node(&entry.value)?)));
                Self::Object(pairs.collect::<Option<_>>()?)
            }
        })
    }
}

impl fmt::Display for Ordered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => out.write_str("null"),
            Self::Bool(flag) => write!(out, "{flag}"),
            Self::Number(number) => out.write_str(number),
            Self::Text(text) => quote(out, text),
            Self::List(items) => {
                out.write_char('[')?;
                for (at, item) in items.iter().enumerate() {
                    out.write_str(if at == 0 { "" } else { ", " })?;
                    item.fmt(out)?;
                }
                out.write_char(']')
            }
            Self::Object(pairs) => {
                out.write_char('{')?;
                for (at, (key, value)) in pairs.iter().enumerate() {
                    out.write_str(if at == 0 { "" } else { ", " })?;
                    quote(out, key)?;
                    out.write_str(": ")?;
                    value.fmt(out)?;
                }
                out.write_char('}')
            }
        }
    }
}

/// A JSON string in ASCII.
fn quote(out: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\u{8}' => out.write_str("\\b")?,
            '\u{c}' => out.write_str("\\f")?,
            ' '..='~' => out.write_char(character)?,
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
        }
    }
    out.write_char('"')
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrderedVisitor)
    }
}

struct OrderedVisitor;

impl<'de> Visitor<'de> for OrderedVisitor {
    type Value = Ordered;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Ordered, E> {
        Ok(Ordered::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Ordered, E> {
        Ok(Ordered::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Ordered, E> {
        Ok(Ordered::Number(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Ordered, E> {
        Ok(Ordered::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Ordered, E> {
        Ok(Ordered::Number(python_float(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Ordered, E> {
        Ok(Ordered::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Ordered, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Ordered::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
        let mut pairs: Vec<(String, Ordered)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Ordered>()? {
            match pairs.iter_mut().find(|(known, _)| *known == key) {
                Some(pair) => pair.1 = value,
                None => pairs.push((key, value)),
            }
        }
        Ok(Ordered::Object(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_and_text_is_ascii() {
        let text = r#"{"z": [1, 2.50, null], "a": "é😀\n", "z2": {}}"#;
        let value: Ordered = serde_json::from_str(text).expect("JSON");
        assert_eq!(
            value.to_string(),
            r#"{"z": [1, 2.5, null], "a": "\u00e9\ud83d\ude00\n", "z2": {}}"#
        );
    }
}
