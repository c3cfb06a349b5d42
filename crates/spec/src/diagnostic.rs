//! `Diagnostic`: one thing that is wrong in a file, where, and what to do about it.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use crate::source::{Source, SourceText, Span};

/// Most lines of the file that an excerpt shows.
const EXCERPT_LINES_MAX: usize = 4;

/// Longest text that an excerpt shows; longer lines are not made for people.
const EXCERPT_BYTES_MAX: usize = 4096;
/// Most findings about one file; the rest is counted.
pub(crate) const MAX_DIAGNOSTICS: usize = 200;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is rejected.
    Error,
    /// The file is accepted all the same.
    Warning,
}

/// One finding about a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Short stable name of the rule that was broken, such as `unknown-field`.
    pub code: &'static str,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// The file, as the user named it, or the command-line flag the value came from.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// Line of the end, from 1.
    pub end_line: usize,
    /// Column just after the end, from 1.
    pub end_column: usize,
    /// What to do.
    pub help: Option<String>,
    /// The rule itself: what the field takes.
    pub rule: Option<String>,
    #[serde(skip)]
    span: Option<Span>,
    /// Parts of the text that are secret and must not appear in an excerpt.
    #[serde(skip)]
    secrets: Vec<Span>,
}

impl Diagnostic {
    /// A finding about the file as a whole.
    pub(crate) fn without_excerpt(code: &'static str, file: &str, message: String) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message,
            file: file.to_owned(),
            line: 1,
            column: 1,
            end_line: 1,
            end_column: 1,
            help: None,
            rule: None,
            span: None,
            secrets: Vec::new(),
        }
    }

    /// A finding about a place in the text.
    pub(crate) fn at(code: &'static str, source: &Source<'_>, span: Span, message: String) -> Self {
        let mut diagnostic = Self::without_excerpt(code, source.name, message);
        diagnostic.place(source, span);
        diagnostic
    }

    /// Sets the place.
    pub(crate) fn place(&mut self, source: &Source<'_>, span: Span) {
        (self.line, self.column) = source.position(span.start);
        (self.end_line, self.end_column) = source.position(span.end.max(span.start));
        self.span = Some(span);
    }

    /// Adds what to do.
    #[must_use]
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Keeps line and column but shows no text (which may not be printable).
    #[must_use]
    pub(crate) fn dropping_excerpt(mut self) -> Self {
        self.span = None;
        self
    }

    /// Marks parts of the text that must not be shown.
    pub(crate) fn hide(&mut self, secrets: &[Span]) {
        self.secrets = secrets.to_vec();
    }

    /// The order in which findings are shown.
    pub(crate) fn order(&self) -> (usize, usize, usize, usize) {
        (self.line, self.column, self.end_line, self.end_column)
    }

    /// The finding as text for a terminal: message, excerpt of the file with a marker, rule and
    /// help. `source` is the text that was parsed; with `color` the text holds ANSI escapes. Values
    /// of `secrets` are masked in the excerpt.
    #[must_use]
    pub fn render(&self, source: &SourceText, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let decoded = Source::decode(source).ok();
        let excerpt = decoded.as_ref().and_then(|decoded| self.excerpt(decoded));
        let title = level.primary_title(self.message.as_str()).id(self.code);
        let place = format!("at {}:{}:{}", self.file, self.line, self.column);
        let mut group = Group::with_title(title);
        group = match &excerpt {
            Some((text, range)) => group.element(
                Snippet::source(text.as_str())
                    .path(self.file.as_str())
                    .line_start(self.line)
                    .annotation(AnnotationKind::Primary.span(range.clone())),
            ),
            None => group.element(Level::NOTE.message(place.as_str())),
        };
        if let Some(rule) = &self.rule {
            group = group.element(Level::NOTE.message(rule.as_str()));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }

    /// The lines to show and the marked range within them.
    fn excerpt(&self, source: &Source<'_>) -> Option<(String, Range<usize>)> {
        let span = self.span?;
        let last = self.end_line.min(self.line + EXCERPT_LINES_MAX - 1);
        let shown = source.line_range(self.line, last);
        let text = source.text.get(shown.start..shown.end)?;
        if text.len() > EXCERPT_BYTES_MAX {
            return None;
        }
        let mut secrets = self.secrets.clone();
        secrets.extend(secret_lines(source));
        let masked = mask(text, shown.start, &secrets);
        let start = span.start.checked_sub(shown.start)?.min(masked.len());
        let end = span
            .end
            .saturating_sub(shown.start)
            .clamp(start, masked.len());
        Some((masked, start..end))
    }
}

/// `text`, which starts at `offset` of the file, with every visible secret byte replaced by `*`.
fn mask(text: &str, offset: usize, secrets: &[Span]) -> String {
    let hidden = |at: usize| secrets.iter().any(|span| span.start <= at && at < span.end);
    let mut masked = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        if !character.is_whitespace() && hidden(offset + at) {
            // One star per byte keeps every offset of the excerpt where it was.
            masked.extend(std::iter::repeat_n('*', character.len_utf8()));
        } else {
            masked.push(character);
        }
    }
    masked
}

/// Values under a top-level `secrets:`, found by indentation alone: a text that cannot be parsed
/// has no other.
fn secret_lines(source: &Source<'_>) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut inside = false;
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        let top_level = !line.starts_with([' ', '\t', '\n', '\r', '#']);
        if top_level {
            inside = line.contains("secrets");
        }
        if inside {
            let name = line.find("secrets").unwrap_or(0);
            let colon = line.get(name..).and_then(|rest| rest.find(':'));
            let value = colon.map_or(0, |colon| name + colon + 1);
            spans.push(Span {
                start: start + value,
                end: start + line.len(),
            });
        }
        start += line.len();
    }
    spans
}
