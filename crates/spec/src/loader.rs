//! Events of the YAML parser → [`Node`] trees, with every budget checked while the text is read.
//!
//! The tree is built with a stack of our own, so that neither nesting nor aliases can exhaust the
//! thread's stack; the depth limit keeps the later recursive walks (and dropping the tree) shallow.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as EventSpan, Tag};

use crate::diagnostic::{Diagnostic, MAX_DIAGNOSTICS};
use crate::flatten::{self, Rewritten};
use crate::merge::merge;
use crate::node::{Entry, Node, Value, shortened};
use crate::scalar;
use crate::source::{Source, Span, character_offsets};

/// Deepest nesting of lists and mappings.
pub const MAX_DEPTH: usize = 200;
/// Most values in a file, counted after aliases are filled in.
pub const MAX_NODES: usize = 100_000;
/// Most bytes of text in a file, counted after aliases are filled in.
pub const MAX_EXPANDED_BYTES: usize = 8 << 20;
/// Most documents (`---`) in a file.
pub const MAX_DOCUMENTS: usize = 16;

/// Most bytes read again because of tabs between a key and its value.
const MAX_REREAD_BYTES: usize = 16 << 20;

/// What a tree costs when it is copied.
#[derive(Clone, Copy)]
struct Cost {
    nodes: usize,
    bytes: usize,
    height: usize,
}

/// A list or mapping that is not finished.
struct Frame {
    start: Span,
    anchor: usize,
    cost: Cost,
    content: Content,
}

enum Content {
    Seq(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        merges: Vec<Node>,
        key: Option<Key>,
        seen: HashSet<String>,
    },
}

impl Content {
    fn empty_map() -> Self {
        let (entries, merges) = (Vec::new(), Vec::new());
        Self::Map {
            entries,
            merges,
            key: None,
            seen: HashSet::new(),
        }
    }
}

struct Key {
    node: Node,
    merge: bool,
}

struct Loader<'s> {
    source: &'s Source<'s>,
    /// Byte offset of each character that is read; empty when every one is a byte.
    offsets: Vec<usize>,
    /// How the text that is read differs from the source.
    rewritten: Option<&'s Rewritten>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, (Node, Cost)>,
    documents: Vec<Node>,
    nodes: usize,
    bytes: usize,
    diagnostics: Vec<Diagnostic>,
}

/// Reads every document of a text.
pub(crate) fn load(source: &Source<'_>) -> Result<Vec<Node>, Vec<Diagnostic>> {
    let mut text = Cow::Borrowed(source.text);
    let mut rewritten = None;
    let mut budget_bytes = MAX_REREAD_BYTES;
    loop {
        let mut loader = Loader {
            source,
            offsets: character_offsets(&text),
            rewritten: rewritten.as_ref(),
            stack: Vec::new(),
            anchors: HashMap::new(),
            documents: Vec::new(),
            nodes: 0,
            bytes: 0,
            diagnostics: Vec::new(),
        };
        let complaint = loader
            .read(&text)
            .err()
            .filter(|_| budget_bytes >= text.len());
        let outcome = (loader.documents, loader.diagnostics);
        budget_bytes = budget_bytes.saturating_sub(text.len());
        match complaint {
            Some(Complaint::Tab(at)) => text.to_mut().replace_range(at..=at, " "),
            Some(Complaint::Syntax) if rewritten.is_none() => match flatten::flattened(&text) {
                Some(other) => {
                    text = Cow::Owned(other.text.clone());
                    rewritten = Some(other);
                }
                None => return Err(outcome.1),
            },
            _ if outcome.1.is_empty() => return Ok(outcome.0),
            _ => return Err(outcome.1),
        }
    }
}

/// A complaint of the parser that YAML 1.1 does not share.
enum Complaint {
    /// The tab at this offset separates a key from its value.
    Tab(usize),
    /// Anything else; indentation, perhaps.
    Syntax,
}

impl Loader<'_> {
    /// Reads the whole text. An error is one that another reading of the text may not have.
    fn read(&mut self, text: &str) -> Result<(), Complaint> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let step = match event {
                Ok((event, span)) => self.event(event, span),
                Err(error) => {
                    self.diagnostics.push(self.syntax_error(&error));
                    if let Some(tab) = self.separating_tab(text, &error) {
                        return Err(Complaint::Tab(tab));
                    }
                    return Err(Complaint::Syntax);
                }
            };
            if let Err(diagnostic) = step {
                self.diagnostics.push(*diagnostic);
                break;
            }
            if self.diagnostics.len() >= MAX_DIAGNOSTICS {
                break;
            }
        }
        Ok(())
    }

    /// The tab just after the `:` or `-` that the parser complains of.
    fn separating_tab(&self, text: &str, error: &ScanError) -> Option<usize> {
        if !error
            .info()
            .contains("must be followed by a valid YAML whitespace")
        {
            return None;
        }
        let before = text.get(..self.offset(error.marker().index()).min(text.len()))?;
        let indicator = before.trim_end_matches(['\t', ' ']);
        (indicator.ends_with([':', '-']) && before.get(indicator.len()..)?.starts_with('\t'))
            .then_some(indicator.len())
    }

    fn event(&mut self, event: Event<'_>, at: EventSpan) -> Result<(), Box<Diagnostic>> {
        let span = self.span(at);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| tag_name(&tag));
                self.scalar(&text, style, anchor, tag.as_deref(), span)
            }
            Event::SequenceStart(anchor, tag) => {
                self.container_tag(tag.as_deref(), "tag:yaml.org,2002:seq", span)?;
                self.open(span, anchor, Content::Seq(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.container_tag(tag.as_deref(), "tag:yaml.org,2002:map", span)?;
                self.open(span, anchor, Content::empty_map())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                if self.documents.len() < MAX_DOCUMENTS {
                    return Ok(());
                }
                let message = format!("the file has more than {MAX_DOCUMENTS} documents");
                Err(self.refuse("too-many-documents", span, message))
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => Ok(()),
        }
    }

    /// Whether the next value is the key of a mapping.
    fn awaits_key(&self) -> bool {
        let content = self.stack.last().map(|frame| &frame.content);
        matches!(content, Some(Content::Map { key: None, .. }))
    }

    /// An error at a place.
    fn refuse(&self, code: &'static str, at: Span, message: String) -> Box<Diagnostic> {
        Box::new(Diagnostic::at(code, self.source, at, message))
    }

    /// Byte offset in the text that is read.
    fn offset(&self, index: usize) -> usize {
        if self.offsets.is_empty() {
            return index;
        }
        self.offsets.get(index).copied().unwrap_or(usize::MAX)
    }

    fn span(&self, at: EventSpan) -> Span {
        let byte = |index: usize| {
            let offset = self.offset(index);
            let offset = self
                .rewritten
                .map_or(offset, |rewritten| rewritten.original(offset));
            offset.min(self.source.text.len())
        };
        let start = byte(at.start.index());
        let end = byte(at.end.index()).max(start);
        let text = self.source.text.get(start..end).unwrap_or_default();
        Span {
            start,
            end: start + text.trim_end().len(),
        }
    }

    fn syntax_error(&self, error: &ScanError) -> Diagnostic {
        let marker = *error.marker();
        let span = self.span(EventSpan::empty(marker));
        if error.info().contains("recursion limit") {
            let message = format!("lists and mappings are nested more than {MAX_DEPTH} deep");
            return *self.refuse("nested-too-deep", span, message);
        }
        let message = format!("the file is not valid YAML: {}", error.info());
        *self.refuse("yaml-syntax", span, message)
    }

    fn container_tag(
        &self,
        tag: Option<&Tag>,
        expected: &str,
        span: Span,
    ) -> Result<(), Box<Diagnostic>> {
        let Some(name) = tag
            .map(tag_name)
            .filter(|name| name != expected && name != "!")
        else {
            return Ok(());
        };
        let message = format!("the tag `{name}` is not supported");
        Err(self.refuse("yaml-tag", span, message))
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&str>,
        span: Span,
    ) -> Result<(), Box<Diagnostic>> {
        let plain = style == ScalarStyle::Plain;
        let text = self.without_invented_line_end(text, style, span);
        let merge = plain && tag.is_none() && text == "<<";
        let awaits_key = self.awaits_key();
        let value = match tag {
            _ if plain && text.starts_with(['|', '>', '@', '`', '%']) => {
                Err("unquoted text cannot start with this character; quote it".to_owned())
            }
            _ if plain && awaits_key && text.is_empty() && tag.is_none() => {
                Err("there is no key before `:`".to_owned())
            }
            Some(tag) => scalar::tagged(tag, text),
            None if merge && !awaits_key => Err("`<<` stands alone only as a key".to_owned()),
            None if plain && !merge => scalar::resolve(text),
            None => Ok(Value::Str(text.to_owned())),
        };
        let value = value.map_err(|message| self.refuse("yaml-scalar", span, message))?;
        let cost = Cost {
            nodes: 1,
            bytes: text.len(),
            height: 0,
        };
        self.spend(cost, span)?;
        if awaits_key {
            return self.key(Node::new(value, span), text, merge, cost);
        }
        self.finish(Node::new(value, span), anchor, cost)
    }

    /// A block scalar that ends with the file ends with a line break only if the file does; the
    /// parser adds one.
    fn without_invented_line_end<'t>(
        &self,
        text: &'t str,
        style: ScalarStyle,
        span: Span,
    ) -> &'t str {
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let whole = self.source.text;
        if !block || whole.ends_with(['\n', '\r']) || span.end < whole.trim_end().len() {
            return text;
        }
        text.strip_suffix('\n').unwrap_or(text)
    }

    /// Takes a scalar as the next key of the mapping on top of the stack.
    fn key(
        &mut self,
        node: Node,
        text: &str,
        merge: bool,
        cost: Cost,
    ) -> Result<(), Box<Diagnostic>> {
        let Some(Frame {
            content: Content::Map { key, seen, .. },
            cost: total,
            ..
        }) = self.stack.last_mut()
        else {
            return Ok(());
        };
        total.nodes += cost.nodes;
        total.bytes += cost.bytes;
        let new = seen.insert(text.to_owned());
        let span = node.span;
        *key = Some(Key { node, merge });
        if !new {
            let message = format!(
                "the key `{}` is written twice in one mapping",
                shortened(text)
            );
            let help = "remove one of the two, so that it is clear which value is meant";
            let diagnostic = self.refuse("duplicate-key", span, message).with_help(help);
            self.diagnostics.push(diagnostic);
        }
        Ok(())
    }

    fn open(
        &mut self,
        start: Span,
        anchor: usize,
        content: Content,
    ) -> Result<(), Box<Diagnostic>> {
        if self.awaits_key() {
            let message = "a key must be a single value, not a list or a mapping".to_owned();
            let help = "quote text that holds braces or brackets";
            return Err(Box::new(
                self.refuse("key-not-scalar", start, message)
                    .with_help(help),
            ));
        }
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("lists and mappings are nested more than {MAX_DEPTH} deep");
            return Err(self.refuse("nested-too-deep", start, message));
        }
        let cost = Cost {
            nodes: 1,
            bytes: 0,
            height: 1,
        };
        self.spend(cost, start)?;
        self.stack.push(Frame {
            start,
            anchor,
            cost,
            content,
        });
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Box<Diagnostic>> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let last = match &frame.content {
            Content::Seq(items) => items.last().map(|item| item.span.end),
            Content::Map { entries, .. } => entries.last().map(|entry| entry.value.span.end),
        };
        let flow = self
            .source
            .text
            .get(frame.start.start..)
            .is_some_and(|text| text.starts_with(['[', '{']));
        let end = if flow {
            end.end
        } else {
            last.unwrap_or(frame.start.end)
        };
        let span = Span {
            start: frame.start.start,
            end: end.max(frame.start.start),
        };
        let value = match frame.content {
            Content::Seq(items) => Value::Seq(items),
            Content::Map {
                entries, merges, ..
            } => Value::Map(merge(entries, merges).map_err(|at| {
                let message = "`<<` takes a mapping or a list of mappings".to_owned();
                self.refuse("merge-key", at, message)
            })?),
        };
        self.finish(Node::new(value, span), frame.anchor, frame.cost)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Box<Diagnostic>> {
        let Some((node, cost)) = self.anchors.get(&anchor) else {
            let message = "this alias stands inside the value it refers to".to_owned();
            return Err(self.refuse("alias-recursive", span, message));
        };
        let cost = *cost;
        if self.stack.len() + cost.height > MAX_DEPTH {
            let message = format!("aliases nest more than {MAX_DEPTH} deep");
            return Err(self.refuse("nested-too-deep", span, message));
        }
        let mut node = node.clone();
        self.spend(cost, span)?;
        node.span = span;
        if self.awaits_key() {
            let Some(text) = node.python_str() else {
                let message = "a key must be a single value, not a list or a mapping".to_owned();
                return Err(self.refuse("key-not-scalar", span, message));
            };
            return self.key(node, &text, false, cost);
        }
        self.finish(node, 0, cost)
    }

    /// Hands a finished value to its parent, or to the list of documents.
    fn finish(&mut self, mut node: Node, anchor: usize, cost: Cost) -> Result<(), Box<Diagnostic>> {
        if anchor != 0 {
            self.spend(cost, node.span)?;
            self.anchors.insert(anchor, (node.clone(), cost));
        }
        let Some(frame) = self.stack.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        frame.cost.nodes += cost.nodes;
        frame.cost.bytes += cost.bytes;
        frame.cost.height = frame.cost.height.max(cost.height + 1);
        match &mut frame.content {
            Content::Seq(items) => items.push(node),
            Content::Map {
                entries,
                merges,
                key,
                ..
            } => match key.take() {
                Some(Key { merge: true, .. }) => merges.push(node),
                Some(Key {
                    node: key,
                    merge: false,
                }) => {
                    if node.is_null() && node.span.start == node.span.end {
                        node.span = key.span;
                    }
                    entries.push(Entry { key, value: node });
                }
                None => {}
            },
        }
        Ok(())
    }

    fn spend(&mut self, cost: Cost, span: Span) -> Result<(), Box<Diagnostic>> {
        self.nodes += cost.nodes;
        self.bytes += cost.bytes;
        if self.nodes <= MAX_NODES && self.bytes <= MAX_EXPANDED_BYTES {
            return Ok(());
        }
        let message = format!(
            "the file is too large once its aliases are filled in: more than {MAX_NODES} values \
             or {MAX_EXPANDED_BYTES} bytes"
        );
        Err(self.refuse("file-too-large", span, message))
    }
}

/// A tag with its handle filled in.
fn tag_name(tag: &Tag) -> String {
    format!("{}{}", tag.handle, tag.suffix)
}
