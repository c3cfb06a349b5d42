//! `envs`, `secrets` and `managed_secrets`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Nulls, Section, Sink, field};
use crate::node::{Node, Value};
use crate::overrides::Overrides;
use crate::task::Secret;

/// Most secrets of one task: each is looked for in everything that is shown.
const MAX_SECRETS: usize = 500;

/// What a replica finds in its environment, and what is filled into the file.
#[derive(Default)]
pub(crate) struct Environment {
    pub(crate) envs: BTreeMap<String, String>,
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// Secrets that are named without a value.
    pub(crate) unvalued: BTreeSet<String>,
}

impl Environment {
    /// What `$NAME` stands for; a secret wins over a variable of the same name.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        match self.secrets.get(name) {
            Some(secret) => Some(secret.reveal()),
            None => self.envs.get(name).map(String::as_str),
        }
    }
}

/// Reads the environment and adds what the command line says.
pub(crate) fn decode(sink: &mut Sink<'_>, root: &Node, overrides: &Overrides) -> Environment {
    let mut environment = Environment::default();
    if let Some(node) = root.get("secrets") {
        secrets(sink, node, overrides, &mut environment);
    }
    if let Some(node) = root.get("envs") {
        envs(sink, node, overrides, &mut environment);
    }
    if let Some(node) = root.get("managed_secrets") {
        managed_secrets(sink, node);
    }
    for (name, value) in &overrides.envs {
        if !is_variable_name(name) {
            let at = Node::from_flag("--env", Value::Null);
            let message = format!("`{name}` cannot be the name of an environment variable");
            sink.error("invalid-name", &at, "envs", message);
        }
        environment.envs.insert(name.clone(), value.clone());
    }
    for (name, value) in &overrides.secrets {
        environment.unvalued.remove(name);
        environment
            .secrets
            .insert(name.clone(), Secret::new(value.clone()));
    }
    docker_login(sink, root, &environment);
    environment
}

/// `^[a-zA-Z_][a-zA-Z0-9_]*$`
pub(crate) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn envs(sink: &mut Sink<'_>, node: &Node, overrides: &Overrides, into: &mut Environment) {
    const PATH: &str = "envs";
    let Some(entries) = node.entries() else {
        sink.wrong_type(node, PATH, "a mapping of names to values");
        return;
    };
    for entry in entries {
        let Some(name) = entry.key.python_str().filter(|name| is_variable_name(name)) else {
            let shown = entry
                .key
                .shown()
                .unwrap_or_else(|| entry.key.kind().to_owned());
            let message = format!(
                "{} cannot be the name of an environment variable",
                shown.replace('"', "`")
            );
            sink.error("invalid-name", &entry.key, PATH, message).help =
                Some("use letters, digits and `_`, not starting with a digit".to_owned());
            continue;
        };
        let given = overrides.envs.iter().any(|(known, _)| *known == name);
        match entry.value.python_str() {
            Some(value) => {
                into.envs.insert(name, value);
            }
            None if given => {}
            None if entry.value.is_null() => {
                let message = format!("the environment variable `{name}` has no value");
                let help = format!(
                    "give it one with `--env {name}=VALUE` or in the file; \
                     to set it to nothing write `{name}: \"\"`"
                );
                sink.error("env-without-value", &entry.value, PATH, message)
                    .help = Some(help);
            }
            None => not_scalar(sink, &entry.value, PATH, &name),
        }
    }
}

fn not_scalar(sink: &mut Sink<'_>, value: &Node, path: &str, name: &str) {
    let message = format!(
        "the value of `{name}` must be a string or a number, not {}",
        value.kind()
    );
    sink.error("wrong-type", value, path, message).help =
        Some("quote it to make it text".to_owned());
}

fn secrets(sink: &mut Sink<'_>, node: &Node, overrides: &Overrides, into: &mut Environment) {
    const PATH: &str = "secrets";
    const PREFIX: &str = "secrets:";
    match &node.value {
        Value::Null => {}
        Value::Seq(items) => {
            for item in items {
                let Some(name) = item.python_str() else {
                    sink.wrong_type(item, PATH, "a list of names");
                    continue;
                };
                let name = name
                    .strip_prefix(PREFIX)
                    .map_or(name.clone(), ToOwned::to_owned);
                if !overrides.secrets.iter().any(|(known, _)| *known == name) {
                    into.unvalued.insert(name);
                }
            }
        }
        Value::Map(entries) if entries.len() > MAX_SECRETS => {
            sink.secrets.push(node.span);
            let message = format!("`secrets` has more than {MAX_SECRETS} entries");
            sink.error("too-many-secrets", node, PATH, message);
        }
        Value::Map(entries) => {
            for entry in entries {
                sink.secrets.push(entry.value.span);
                let Some(name) = entry.key.python_str() else {
                    sink.wrong_type(&entry.key, PATH, "a mapping of names to values");
                    continue;
                };
                let reference = name.strip_prefix(PREFIX);
                let given = overrides.secrets.iter().any(|(known, _)| *known == name);
                match entry.value.python_str() {
                    Some(_) if reference.is_some() => {
                        let message = format!(
                            "`{name}` refers to a secret kept elsewhere, so it takes no value"
                        );
                        sink.error("invalid-value", &entry.value, PATH, message);
                    }
                    Some(value) => {
                        into.secrets.insert(name, Secret::new(value));
                    }
                    None if given => {}
                    None if entry.value.is_null() => {
                        into.unvalued
                            .insert(reference.map_or(name.clone(), ToOwned::to_owned));
                    }
                    None => not_scalar(sink, &entry.value, PATH, &name),
                }
            }
        }
        _ => {
            sink.secrets.push(node.span);
            let message = "`secrets` must be a mapping of names to values, or a list of names";
            sink.error("wrong-type", node, PATH, message);
        }
    }
}

fn managed_secrets(sink: &mut Sink<'_>, node: &Node) {
    const PATH: &str = "managed_secrets";
    let items = match &node.value {
        Value::Null => return,
        Value::Seq(items) => items,
        _ => {
            sink.wrong_type(node, PATH, "a list of names");
            return;
        }
    };
    for item in items {
        match &item.value {
            Value::Str(_) => {}
            Value::Map(entries) if entries.len() <= 1 => {
                for entry in entries {
                    let section =
                        Section::open(sink, &entry.value, "managed_secrets[]", Nulls::Values);
                    section.and_then(|section| section.string(sink, "mount_path"));
                }
            }
            _ => sink.wrong_type(
                item,
                PATH,
                "a list of names, or of mappings with one name each",
            ),
        }
    }
}

/// The three variables of a Docker login belong together, in `envs` or in `secrets`.
fn docker_login(sink: &mut Sink<'_>, root: &Node, environment: &Environment) {
    const NAMES: [&str; 3] = [
        "SKYPILOT_DOCKER_USERNAME",
        "SKYPILOT_DOCKER_PASSWORD",
        "SKYPILOT_DOCKER_SERVER",
    ];
    let count = |has: &dyn Fn(&str) -> bool| NAMES.iter().filter(|name| has(name)).count();
    let envs = count(&|name| environment.envs.contains_key(name));
    let secrets = count(&|name| environment.secrets.contains_key(name));
    if matches!((envs, secrets), (0, 0 | 3) | (3, 0)) {
        return;
    }
    let section = if envs > 0 { "envs" } else { "secrets" };
    let at = root.get(section).unwrap_or(root);
    let message = format!(
        "{} belong together: write all three, either in `envs` or in `secrets`",
        NAMES.join(", ")
    );
    sink.error("docker-login", at, field::last_name(section), message);
}
