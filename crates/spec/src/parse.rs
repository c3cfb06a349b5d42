//! From a text to a task: the entrance of this crate.

use crate::decode::{self, Sink, environment};
use crate::diagnostic::{Diagnostic, Severity};
use crate::loader;
use crate::node::{Node, Value};
use crate::overrides::{self, Overrides};
use crate::source::{Source, SourceText, Span};
use crate::substitute;
use crate::task::Task;

/// What the file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A task; a `service` section is optional.
    Task,
    /// A service: what `sky serve up` and `update` require must hold.
    Service,
}

/// The outcome of reading a file, with warnings.
#[derive(Debug)]
pub struct Checked {
    /// The task, when no finding is an error.
    pub task: Option<Task>,
    /// Every finding, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a task file.
///
/// # Errors
/// Everything that is wrong with the file, in the order of the file, with warnings among it.
pub fn parse_task(
    source: &SourceText,
    overrides: &Overrides,
    purpose: Purpose,
) -> Result<Task, Vec<Diagnostic>> {
    let checked = check_task(source, overrides, purpose);
    checked.task.ok_or(checked.diagnostics)
}

/// Reads a task file and keeps the warnings of an accepted one.
#[must_use]
pub fn check_task(source: &SourceText, overrides: &Overrides, purpose: Purpose) -> Checked {
    let decoded = match Source::decode(source) {
        Ok(decoded) => decoded,
        Err(diagnostic) => {
            return Checked {
                task: None,
                diagnostics: vec![*diagnostic],
            };
        }
    };
    let document = loader::load(&decoded).and_then(|documents| one_document(&decoded, documents));
    let mut root = match document {
        Ok(root) => root,
        Err(diagnostics) => {
            return Checked {
                task: None,
                diagnostics,
            };
        }
    };
    overrides::apply(&mut root, overrides);
    let mut sink = Sink::new(&decoded);
    let environment = environment::decode(&mut sink, &root, overrides);
    fill(&mut root, &environment);
    let task = decode::task::decode(&mut sink, &root, environment, overrides, purpose);
    let rejected = sink.has_errors();
    let diagnostics = sink.finish();
    Checked {
        task: task.filter(|_| !rejected),
        diagnostics,
    }
}

fn fill(root: &mut Node, environment: &environment::Environment) {
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    for entry in entries {
        if entry
            .key
            .as_str()
            .is_some_and(|key| substitute::SECTIONS.contains(&key))
        {
            substitute::fill(&mut entry.value, environment);
        }
    }
}

/// The one document that is a task. A first document that holds only `name` (and `execution`) is
/// the header of a pipeline, and empty documents do not count.
fn one_document(source: &Source<'_>, documents: Vec<Node>) -> Result<Node, Vec<Diagnostic>> {
    let header = documents.len() > 1
        && documents
            .first()
            .and_then(Node::entries)
            .is_some_and(|entries| {
                let is = |name: &str| entries.iter().any(|entry| entry.key.as_str() == Some(name));
                is("name") && (entries.len() == 1 || (entries.len() == 2 && is("execution")))
            });
    let mut tasks = documents
        .into_iter()
        .skip(usize::from(header))
        .filter(|document| !document.is_null());
    let Some(root) = tasks.next() else {
        let message = "the file is empty or holds no task".to_owned();
        let diagnostic = Diagnostic::at("empty-file", source, Span::default(), message)
            .with_help("add at least `run:` and `service:`");
        return Err(vec![diagnostic]);
    };
    if let Some(second) = tasks.next() {
        let message = "the file holds several documents, but a service is one task".to_owned();
        let diagnostic = Diagnostic::at("several-documents", source, second.span, message)
            .with_help("put each service into a file of its own");
        return Err(vec![diagnostic]);
    }
    if root.entries().is_none() {
        let message = format!("a task file is a mapping of fields, not {}", root.kind());
        return Err(vec![Diagnostic::at(
            "wrong-type",
            source,
            root.span,
            message,
        )]);
    }
    Ok(root)
}

/// Whether any finding is an error.
pub(crate) fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
}
