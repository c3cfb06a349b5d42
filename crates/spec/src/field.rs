//! The one table of fields: name, type, default, meaning. Unknown-key suggestions, the rule shown
//! with an error and the reference page of the task YAML all read it, so they cannot disagree.

mod resources;
mod service;
mod task;
mod update;

/// What is done with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Acted upon.
    Honoured,
    /// Read, validated and kept in the version, but not acted upon by the local infra.
    Accepted,
    /// Refused with an explanation.
    Refused,
    /// Written by SkyPilot itself, not by people; accepted and not documented.
    Internal,
}

/// One field of a task YAML.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Path from the top of the file, such as `service.readiness_probe.path`; `[]` is an item of a
    /// list.
    pub path: &'static str,
    /// What may be written, such as `integer, at least 0`.
    pub kind: &'static str,
    /// What holds when it is not written; empty where there is nothing to say.
    pub default: &'static str,
    /// What it means, in one line.
    pub doc: &'static str,
    /// What is done with it.
    pub support: Support,
}

const fn field(
    path: &'static str,
    kind: &'static str,
    default: &'static str,
    doc: &'static str,
    support: Support,
) -> Field {
    Field {
        path,
        kind,
        default,
        doc,
        support,
    }
}

/// Acted upon.
const fn honoured(
    path: &'static str,
    kind: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Field {
    field(path, kind, default, doc, Support::Honoured)
}

/// Kept but not acted upon.
const fn accepted(
    path: &'static str,
    kind: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Field {
    field(path, kind, default, doc, Support::Accepted)
}

/// Not for people.
const fn internal(path: &'static str, kind: &'static str) -> Field {
    field(path, kind, "", "", Support::Internal)
}

/// Every field, parents before children.
pub fn all() -> impl Iterator<Item = &'static Field> {
    task::FIELDS
        .iter()
        .chain(resources::FIELDS)
        .chain(service::FIELDS)
        .chain(update::FIELDS)
}

/// The path of a field of a section; the empty section is the top of the file.
pub(crate) fn join(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        format!("{section}.{name}")
    }
}

/// The last part of a path: how a message calls the field.
pub(crate) fn last_name(path: &str) -> &str {
    let path = path.trim_end_matches("[]");
    path.rsplit('.').next().unwrap_or(path)
}

/// The name of a field of a section, if it is a direct one.
fn direct_name<'f>(section: &str, field: &'f Field) -> Option<&'f str> {
    let rest = match section {
        "" => field.path,
        _ => field.path.strip_prefix(section)?.strip_prefix('.')?,
    };
    (!rest.is_empty() && !rest.contains(['.', '['])).then_some(rest)
}

/// Names of the fields of a section that people write.
pub(crate) fn names(section: &str) -> impl Iterator<Item = &'static str> {
    all()
        .filter(|field| field.support != Support::Internal)
        .filter_map(move |field| direct_name(section, field))
}

/// Whether a section has a field of that name.
pub(crate) fn is_known(section: &str, name: &str) -> bool {
    all().any(|field| direct_name(section, field) == Some(name))
}

/// A field of that name in another section, for keys written in the wrong place.
pub(crate) fn elsewhere(name: &str) -> Option<&'static str> {
    all()
        .filter(|field| field.support == Support::Honoured && !field.path.contains("[]"))
        .find(|field| last_name(field.path) == name)
        .map(|field| field.path)
}

/// The rule of a field, for messages: `service.replicas: integer, at least 0`.
pub(crate) fn rule(path: &str) -> Option<String> {
    let field = all().find(|field| field.path == path)?;
    Some(format!("{}: {}", field.path, field.kind))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_names_each_field_once_and_after_its_parent() {
        let mut seen = HashSet::new();
        for field in all() {
            assert!(seen.insert(field.path), "{} is there twice", field.path);
            if let Some((parent, _)) = field.path.rsplit_once('.') {
                let parent = parent.trim_end_matches("[]");
                assert!(
                    seen.contains(parent),
                    "{} comes before its parent",
                    field.path
                );
            }
            let internal = field.support == Support::Internal;
            assert!(
                internal || !field.doc.is_empty(),
                "{} has no meaning",
                field.path
            );
        }
    }

    #[test]
    fn sections_know_their_direct_fields_only() {
        assert!(is_known("", "service") && is_known("service.tls", "keyfile"));
        assert!(!is_known("", "replicas") && !is_known("service", "keyfile"));
        assert_eq!(elsewhere("replicas"), Some("service.replicas"));
    }
}
