//! The text of a task file: what was handed in, checked to be text at all, with a map from bytes to
//! lines.

use crate::diagnostic::Diagnostic;

/// Largest accepted file, in bytes. A task file is written by a person; a bigger one is a mistake
/// or an attack.
pub const MAX_SOURCE_BYTES: usize = 1 << 20;

/// A task file or a dotenv file as it was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// What to call it in messages: the path as the user typed it.
    pub name: String,
    /// Its bytes, unchecked.
    pub text: Vec<u8>,
}

impl SourceText {
    /// Pairs a name with bytes.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }
}

/// A place in the text: byte offsets, end exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A [`SourceText`] that is known to be printable UTF-8 of a bounded size.
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    /// Without a leading byte order mark.
    pub(crate) text: &'a str,
    /// Byte offset at which each line starts.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    /// Checks size, encoding and characters, as PyYAML's reader does.
    pub(crate) fn decode(source: &'a SourceText) -> Result<Self, Box<Diagnostic>> {
        let bytes = source.text.as_slice();
        if bytes.len() > MAX_SOURCE_BYTES {
            return Err(Box::new(Diagnostic::without_excerpt(
                "file-too-large",
                &source.name,
                format!(
                    "the file has {} bytes; at most {MAX_SOURCE_BYTES} are read",
                    bytes.len()
                ),
            )));
        }
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Err(Box::new(
                Diagnostic::without_excerpt(
                    "not-utf8",
                    &source.name,
                    "the file is UTF-16, not UTF-8".to_owned(),
                )
                .with_help("save it as UTF-8"),
            ));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let (valid, complete) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, true),
            Err(error) => {
                let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
                (std::str::from_utf8(valid).unwrap_or_default(), false)
            }
        };
        let decoded = Self::index(&source.name, valid);
        if !complete {
            let mut diagnostic = Diagnostic::without_excerpt(
                "not-utf8",
                &source.name,
                "the file is not valid UTF-8 text".to_owned(),
            );
            diagnostic.place(
                &decoded,
                Span {
                    start: valid.len(),
                    end: valid.len(),
                },
            );
            return Err(Box::new(
                diagnostic.with_help("save it as UTF-8").dropping_excerpt(),
            ));
        }
        decoded.refuse_control_characters()?;
        Ok(decoded)
    }

    /// Splits checked text into lines.
    pub(crate) fn index(name: &'a str, text: &'a str) -> Self {
        let mut lines = vec![0];
        lines.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        Self { name, text, lines }
    }

    fn refuse_control_characters(&self) -> Result<(), Box<Diagnostic>> {
        let found = self
            .text
            .char_indices()
            .find(|(_, character)| !is_printable(*character));
        let Some((at, character)) = found else {
            return Ok(());
        };
        let message = if character == '\0' {
            "the file holds a NUL byte, so it is not a text file".to_owned()
        } else {
            format!(
                "the file holds the control character U+{:04X}",
                u32::from(character)
            )
        };
        let mut diagnostic = Diagnostic::without_excerpt("control-character", self.name, message);
        diagnostic.place(
            self,
            Span {
                start: at,
                end: at + character.len_utf8(),
            },
        );
        Err(Box::new(diagnostic.dropping_excerpt()))
    }

    /// Line and column of a byte offset, both from 1, the column in characters.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// The bytes of the lines `first..=last` (from 1), without the last line's end.
    pub(crate) fn line_range(&self, first: usize, last: usize) -> Span {
        let start = self
            .lines
            .get(first.saturating_sub(1))
            .copied()
            .unwrap_or(0);
        let end = self
            .lines
            .get(last)
            .map_or(self.text.len(), |next| next.saturating_sub(1));
        Span {
            start,
            end: end.max(start),
        }
    }
}

/// Byte offset of each character; empty when every character is one byte.
pub(crate) fn character_offsets(text: &str) -> Vec<usize> {
    let wide = !text.is_ascii();
    text.char_indices()
        .filter(|_| wide)
        .map(|(at, _)| at)
        .collect()
}

/// The characters that YAML 1.1 allows in a stream.
fn is_printable(character: char) -> bool {
    matches!(character,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}'
        | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let source = Source::index("t", "a: é\nb: x\n");
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position("a: é".len()), (1, 5));
        assert_eq!(source.position("a: é\nb".len()), (2, 2));
        assert_eq!(source.position(10_000), (3, 1));
    }

    #[test]
    fn what_is_not_text_is_refused_with_its_place() {
        let nul = SourceText::new("t", *b"a: 1\nb\0");
        let diagnostic = Source::decode(&nul).err().expect("refused");
        assert_eq!(
            (diagnostic.line, diagnostic.column, diagnostic.code),
            (2, 2, "control-character")
        );
        let latin1 = SourceText::new("t", *b"a: 1\nb: \xe9\n");
        let diagnostic = Source::decode(&latin1).err().expect("refused");
        assert_eq!(
            (diagnostic.line, diagnostic.column, diagnostic.code),
            (2, 4, "not-utf8")
        );
        let big = SourceText::new("t", vec![b'a'; MAX_SOURCE_BYTES + 1]);
        assert_eq!(
            Source::decode(&big).err().expect("refused").code,
            "file-too-large"
        );
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        let source = SourceText::new("t", *b"\xef\xbb\xbfa: 1");
        assert_eq!(Source::decode(&source).expect("accepted").text, "a: 1");
    }
}
