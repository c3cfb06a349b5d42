//! `$NAME` and `${NAME}` in `service`, `file_mounts`, `workdir` and `volumes`.
//!
//! Names that are neither variables nor secrets are left as they are; there is no syntax for
//! defaults. A value is put in once and not searched again. Unlike SkyServe, which edits the
//! section as JSON text, a value may hold quotes and backslashes.

use crate::decode::environment::Environment;
use crate::node::{Node, Value};

/// The sections that variables are filled into.
pub(crate) const SECTIONS: &[&str] = &["service", "file_mounts", "workdir", "volumes"];

/// Fills variables into every key and string of a tree.
pub(crate) fn fill(node: &mut Node, environment: &Environment) {
    match &mut node.value {
        Value::Str(text) => {
            if let Some(filled) = filled(text, environment) {
                *text = filled;
                node.substituted = true;
            }
        }
        Value::Seq(items) => items.iter_mut().for_each(|item| fill(item, environment)),
        Value::Map(entries) => {
            for entry in entries {
                fill(&mut entry.key, environment);
                fill(&mut entry.value, environment);
            }
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Timestamp(_) => {}
    }
}

/// The text with variables filled in; `None` when it names none.
fn filled(text: &str, environment: &Environment) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let name_start = if from[1..].starts_with('{') { 2 } else { 1 };
        let after = &from[name_start..];
        let length = after
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(after.len());
        let name = &after[..length];
        let starts_well = !name.starts_with(|c: char| c.is_ascii_digit());
        match environment.value(name).filter(|_| starts_well) {
            Some(value) => {
                out.push_str(value);
                changed = true;
                rest = after[length..]
                    .strip_prefix('}')
                    .unwrap_or(&after[length..]);
            }
            None => {
                out.push('$');
                rest = &from[1..];
            }
        }
    }
    out.push_str(rest);
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Secret;

    #[test]
    fn variables_and_secrets_are_filled_in_once() {
        let mut environment = Environment::default();
        environment.envs.insert("A".into(), "x\"$B".into());
        environment.envs.insert("B".into(), "never".into());
        environment
            .secrets
            .insert("S".into(), Secret::new("s3cret"));
        let fill = |text: &str| filled(text, &environment).unwrap_or_else(|| "-".to_owned());
        assert_eq!(fill("/$A/${A}"), "/x\"$B/x\"$B");
        assert_eq!(fill("Bearer $S"), "Bearer s3cret");
        assert_eq!(fill("$$A"), "$x\"$B");
        assert_eq!(fill("${A"), "x\"$B");
        assert_eq!(
            fill("$AB ${NOT} $ $1 ${A:-d}é"),
            "$AB ${NOT} $ $1 x\"$B:-d}é"
        );
        assert_eq!(fill("nothing $AB"), "-");
    }
}
