//! `PromptView`: the prompt inside a request's body.
//!
//! The text of the prompt is taken as it stands in the JSON, escapes and roles included: a conversation that goes on
//! repeats its history byte for byte, so the bytes of one turn begin the bytes of the next, and nothing need be
//! decoded or copied.

mod scanner;

use scanner::{Scanner, Value};

use crate::hash::hash;

/// The prompt of one request, as it stands in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptView<'a> {
    text: &'a [u8],
    model: &'a [u8],
}

impl<'a> PromptView<'a> {
    /// A prompt with this text, meant for this model (empty: whichever).
    #[must_use]
    pub fn new(text: &'a [u8], model: &'a [u8]) -> Self {
        Self { text, model }
    }

    /// The text: the content of a string, or the elements of an array, without the closing mark; as much of it as the
    /// body has.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The value of `model`, if it came before the prompt. Replicas that serve several (adapters, say) cache each
    /// apart. One that comes after is not looked for: whether it is found would depend on how much of the body is
    /// there.
    #[must_use]
    pub fn model(&self) -> &'a [u8] {
        self.model
    }
}

impl PromptView<'_> {
    /// What tells this conversation from others, the same in each of its turns: the hash of its messages up to the user's
    /// first. `None` where the prompt is not a list of messages, or that message is not there as a whole.
    ///
    /// (The beginning alone would not do: it is the system prompt, which all conversations may have in common.)
    #[must_use]
    pub fn conversation(&self) -> Option<u64> {
        let mut messages = Scanner::new(self.text);
        loop {
            let message = messages.value().filter(Value::is_whole)?;
            if is_of_user(message.text) {
                let length = self.text.len().checked_sub(messages.left())?;
                return Some(hash(self.text.get(..length)?, hash(self.model, 0)));
            }
            messages.take(b',')?;
        }
    }
}

/// Whether a message is one of the user's.
fn is_of_user(message: &[u8]) -> bool {
    let mut fields = Scanner::new(message);
    let mut find = || {
        fields.take(b'{')?;
        loop {
            let key = fields.key()?;
            let value = fields.value()?;
            if key == b"role" {
                return Some(value.text == b"\"user\"");
            }
            fields.take(b',')?;
        }
    };
    find().unwrap_or(false)
}

/// Finds the prompt in the body of a request to `path` (a query is ignored). The body may be cut anywhere.
///
/// - `…/chat/completions`, `…/messages` (Anthropic) and `…/api/chat` (Ollama): `messages`
/// - `…/completions`: `prompt`
/// - `…/responses`: `input`
/// - `…/generate` and `…/generate_stream` (vLLM, SGLang, TGI, Ollama): `prompt`, `text`, `inputs`, or `input_ids`
///
/// `None` for other paths, and for bodies that are not a JSON object with such a key that holds a string or an array.
/// Any bytes are safe; JSON that is not well formed gives some view or none.
#[must_use]
pub fn extract<'a>(body: &'a [u8], path: &str) -> Option<PromptView<'a>> {
    let keys = keys_of(path)?;
    let mut scanner = Scanner::new(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));
    scanner.take(b'{')?;
    let mut model = &[][..];
    loop {
        let key = scanner.key()?;
        let value = scanner.value()?;
        if keys.contains(&key) {
            let text = value.inside().unwrap_or_default();
            if !text.is_empty() {
                return Some(PromptView { text, model });
            }
        } else if key == b"model" {
            model = value.text;
        }
        scanner.take(b',')?;
    }
}

fn keys_of(path: &str) -> Option<&'static [&'static [u8]]> {
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let path = path.trim_end_matches('/');
    let mut parts = path.rsplit('/');
    let (last, parent) = (parts.next()?, parts.next());
    match (parent, last) {
        (Some("chat"), "completions") | (_, "messages") | (Some("api"), "chat") => {
            Some(&[b"messages"])
        }
        (_, "completions") => Some(&[b"prompt"]),
        (_, "responses") => Some(&[b"input"]),
        (_, "generate" | "generate_stream") => Some(&[b"prompt", b"text", b"inputs", b"input_ids"]),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
