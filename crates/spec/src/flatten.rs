//! Flow collections and quoted scalars, indented as the parser wants them.
//!
//! YAML 1.1 readers do not care how the lines of `{…}`, `[…]` and `"…"` are indented, and people
//! close them at the start of a line. The parser does care, as YAML 1.2 does. Where it complains,
//! the text is read again with the line breaks inside flow collections replaced by spaces, and with
//! spaces put before the further lines of quoted scalars: both mean the same.

/// A text that means the same as another, and where the two differ.
pub(crate) struct Rewritten {
    pub(crate) text: String,
    /// Runs of spaces that were put in: where in the new text, and how many; ascending.
    inserted: Vec<(usize, usize)>,
}

impl Rewritten {
    /// The place in the old text of a place in the new one.
    pub(crate) fn original(&self, offset: usize) -> usize {
        let before = self.inserted.partition_point(|(at, _)| *at < offset);
        let earlier = self.inserted.get(..before).unwrap_or_default();
        let shift: usize = earlier
            .iter()
            .map(|(at, count)| (offset - at).min(*count))
            .sum();
        offset - shift
    }
}

/// The text rewritten; `None` when nothing is to be changed, or something is not closed.
pub(crate) fn flattened(text: &str) -> Option<Rewritten> {
    let mut walker = Walker {
        bytes: text.as_bytes().to_vec(),
        at: 0,
        column: 0,
        changed: false,
        indents: Vec::new(),
    };
    while walker.at < walker.bytes.len() {
        walker.line()?;
    }
    if !walker.changed && walker.indents.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(walker.bytes.len());
    let mut inserted = Vec::new();
    let mut done = 0;
    for (at, count) in walker.indents {
        let at = at.min(walker.bytes.len());
        out.extend_from_slice(walker.bytes.get(done..at)?);
        inserted.push((out.len(), count));
        out.extend(std::iter::repeat_n(b' ', count));
        done = at;
    }
    out.extend_from_slice(walker.bytes.get(done..)?);
    Some(Rewritten {
        text: String::from_utf8(out).ok()?,
        inserted,
    })
}

struct Walker {
    bytes: Vec<u8>,
    at: usize,
    /// Column of the value that is being walked over, or of its key.
    column: usize,
    changed: bool,
    /// Spaces to put in: before which byte, and how many.
    indents: Vec<(usize, usize)>,
}

impl Walker {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn blank(byte: Option<u8>) -> bool {
        matches!(byte, None | Some(b' ' | b'\t' | b'\n' | b'\r'))
    }

    fn skip(&mut self, fits: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&fits) {
            self.at += 1;
        }
    }

    fn skip_line(&mut self) {
        self.skip(|byte| byte != b'\n');
        self.at += 1;
    }

    /// Walks over one line of block context, and over what begins in it and goes on below.
    fn line(&mut self) -> Option<()> {
        let start = self.at;
        let mut key_column = None;
        loop {
            self.skip(|byte| matches!(byte, b' ' | b'\t'));
            let column = self.at - start;
            self.column = key_column.unwrap_or(column);
            match self.peek(0) {
                Some(b'-' | b'?') if Self::blank(self.peek(1)) => {
                    self.at += 1;
                    continue;
                }
                Some(b'&' | b'!') => {
                    self.skip(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
                    continue;
                }
                Some(b'|' | b'>') => {
                    self.skip_line();
                    self.skip_block_scalar(key_column.unwrap_or(column));
                    return Some(());
                }
                Some(quote @ (b'"' | b'\'')) => self.quoted(quote)?,
                Some(b'[' | b'{') => self.flow()?,
                Some(b'#' | b'\n' | b'\r') | None => {}
                Some(_) => self.plain(),
            }
            self.skip(|byte| matches!(byte, b' ' | b'\t'));
            if self.peek(0) != Some(b':') || !Self::blank(self.peek(1)) {
                self.skip_line();
                return Some(());
            }
            key_column = Some(column);
            self.at += 1;
        }
    }

    /// An unquoted scalar, up to a `: ` or the end of the line.
    fn plain(&mut self) {
        while let Some(byte) = self.peek(0) {
            if byte == b'\n' || (byte == b':' && Self::blank(self.peek(1))) {
                return;
            }
            self.at += 1;
        }
    }

    /// Lines that are empty or indented more than the key.
    fn skip_block_scalar(&mut self, key_column: usize) {
        loop {
            let start = self.at;
            self.skip(|byte| byte == b' ');
            match self.peek(0) {
                None => return,
                Some(b'\n' | b'\r') => {}
                Some(_) if self.at - start > key_column => {}
                Some(_) => {
                    self.at = start;
                    return;
                }
            }
            self.skip_line();
        }
    }

    fn quoted(&mut self, quote: u8) -> Option<()> {
        self.at += 1;
        loop {
            match self.peek(0)? {
                b'\\' if quote == b'"' && self.peek(1) != Some(b'\n') => self.at += 2,
                b'\n' => {
                    self.at += 1;
                    self.indents.push((self.at, self.column + 1));
                }
                byte if byte == quote && quote == b'\'' && self.peek(1) == Some(quote) => {
                    self.at += 2;
                }
                byte => {
                    self.at += 1;
                    if byte == quote {
                        return Some(());
                    }
                }
            }
        }
    }

    fn flow(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        let mut after_blank = true;
        loop {
            let byte = self.peek(0)?;
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                b'"' | b'\'' if after_blank => {
                    self.quoted(byte)?;
                    after_blank = false;
                    continue;
                }
                b'\n' | b'\r' => self.clear(),
                b'#' if after_blank => {
                    while self.peek(0).is_some_and(|byte| byte != b'\n') {
                        self.clear();
                        self.at += 1;
                    }
                    continue;
                }
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
            after_blank = matches!(
                byte,
                b' ' | b'\t' | b'\n' | b'\r' | b'[' | b'{' | b',' | b':'
            );
        }
    }

    fn clear(&mut self) {
        if let Some(byte) = self.bytes.get_mut(self.at) {
            *byte = b' ';
            self.changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_spans_lines_is_rewritten_and_every_place_is_found_again() {
        let text = "run: |\n  { not\n  flow\na: {b: 'it''s }\n',  # c }\n}\n- [1,\r\n2]\nc: x [y\n";
        let flat = flattened(text).expect("changed");
        assert_eq!(
            flat.text,
            "run: |\n  { not\n  flow\na: {b: 'it''s }\n ',        }\n- [1,  2]\nc: x [y\n"
        );
        let at = |text: &str| text.find("c: x").expect("there");
        assert_eq!(flat.original(at(&flat.text)), at(text));
        for unchanged in ["a: {b: 1}\nc: [1]\n", "a: {b: 1\n", "run: |\n  [a,\n  b]\n"] {
            assert!(flattened(unchanged).is_none(), "{unchanged}");
        }
    }
}
