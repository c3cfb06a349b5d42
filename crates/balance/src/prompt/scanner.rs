//! `Scanner`: walks over JSON that may be cut anywhere, without decoding it.

/// A value as written.
pub(super) struct Value<'a> {
    /// All of it, or what there is of it.
    pub(super) text: &'a [u8],
    /// Whether its end is there.
    closed: bool,
}

impl<'a> Value<'a> {
    /// Whether all of it is there.
    pub(super) fn is_whole(&self) -> bool {
        self.closed
    }

    /// What stands between the quotes of a string or the brackets of an array; `None` for other values.
    pub(super) fn inside(&self) -> Option<&'a [u8]> {
        let inside = match self.text.split_first()? {
            (b'"' | b'[', inside) => inside,
            _ => return None,
        };
        match inside.split_last() {
            Some((_, before)) if self.closed => Some(before),
            _ => Some(inside),
        }
    }
}

/// Where we are in a text.
pub(super) struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// How many bytes are still to come.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Steps over white space and this byte; `None` if another one stands there.
    pub(super) fn take(&mut self, byte: u8) -> Option<()> {
        self.skip_white_space();
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    /// Steps over a key and its colon. Returns the key as written, without its quotes; one with escapes is not a key
    /// that anyone looks for.
    pub(super) fn key(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let length = string_length(self.rest)?;
        let key = self.rest.get(..length)?.strip_suffix(b"\"")?;
        self.advance(length);
        self.take(b':')?;
        Some(key)
    }

    /// Steps over a value and returns it; what there is of it, when the text ends within it. `None` if there is
    /// nothing.
    pub(super) fn value(&mut self) -> Option<Value<'a>> {
        self.skip_white_space();
        let length = match self.rest.first()? {
            b'"' => string_length(self.rest.get(1..)?).map(|length| length + 1),
            b'[' | b'{' => container_length(self.rest),
            _ => self
                .rest
                .iter()
                .position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n')),
        };
        let text = self.rest.get(..length.unwrap_or(self.rest.len()))?;
        self.advance(text.len());
        Some(Value {
            text,
            closed: length.is_some(),
        })
    }

    fn skip_white_space(&mut self) {
        let length = self
            .rest
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        self.advance(length.unwrap_or(self.rest.len()));
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }
}

/// Bytes of a string from behind its opening quote, with the closing one; `None` if that is not there.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += quote_or_backslash(text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        // An escape: the byte after it is not a closing quote.
        at += 2;
    }
}

/// Bytes of an array or an object; `None` if its end is not there. Its kinds of brackets are not told apart: what is
/// not well formed need not be understood.
fn container_length(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        let byte = text.get(at)?;
        at += 1;
        match byte {
            b'"' => at += string_length(text.get(at..)?)?,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
}

/// Eight bytes a step: most of a body is the inside of strings.
fn quote_or_backslash(text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zero_bytes(word ^ repeated(b'"')) | zero_bytes(word ^ repeated(b'\\'));
        if found != 0 {
            return Some(number * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    rest.iter()
        .position(|byte| matches!(byte, b'"' | b'\\'))
        .map(|at| words.len() * 8 + at)
}

const fn repeated(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The top bit of the lowest byte that is zero, and of no byte below it (Mycroft, 1987).
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeated(0x01)) & !word & repeated(0x80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_found_wherever_they_stand() {
        for length in 0..40 {
            assert_eq!(quote_or_backslash(&vec![b'a'; length]), None);
            for at in 0..length {
                for mark in [b'"', b'\\'] {
                    for fill in [b'a', 0x00, 0x01, 0x21, 0x23, 0x5d, 0x80, 0xff] {
                        let mut text = vec![fill; length];
                        text[at] = mark;
                        assert_eq!(quote_or_backslash(&text), Some(at), "{at} of {length}");
                    }
                }
            }
        }
    }

    #[test]
    fn values_end_where_they_end() {
        for (text, value) in [
            (r#" "a\"b" , 1"#, r#""a\"b""#),
            (r#""a\\", 1"#, r#""a\\""#),
            (r#"[1, "]", {"a": "}"}], 2"#, r#"[1, "]", {"a": "}"}]"#),
            ("-1.5e3,", "-1.5e3"),
            ("null}", "null"),
            (r#"["cut"#, r#"["cut"#),
            (r#""cut\"#, r#""cut\"#),
            (r#""cut\""#, r#""cut\""#),
        ] {
            let found = Scanner::new(text.as_bytes()).value().unwrap();
            assert_eq!(found.text, value.as_bytes(), "{text}");
        }
        assert!(Scanner::new(b"  ").value().is_none());
    }

    #[test]
    fn depth_is_no_matter() {
        let deep = vec![b'['; 1 << 20];
        assert_eq!(
            Scanner::new(&deep).value().map(|value| value.text.len()),
            Some(1 << 20)
        );
    }
}
