//! Lines of the access log as web servers write them: NCSA common log format, and the duration.
//!
//!     - - - [02/Jan/2026:03:04:05 +0000] "GET /v1/chat HTTP/1.1" 200 1234 0.012345
//!
//! Host, identity and user are `-`: the proxy keeps none of them. So is what a request does not have. The path is without
//! its query, since the access log has none. The duration is in seconds. What is not a line of the access log stays as it is.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::Value;

/// A line that is longer is written as it is.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Writes to `output` what is written to it, line by line in the other format.
#[derive(Debug)]
pub(super) struct CommonFormat<'a, W: Write> {
    output: &'a mut W,
    /// The beginning of a line.
    rest: Vec<u8>,
    /// Whether `rest` is the end of a line that was too long.
    is_too_long: bool,
}

impl<'a, W: Write> CommonFormat<'a, W> {
    pub(super) fn new(output: &'a mut W) -> Self {
        Self {
            output,
            rest: Vec::new(),
            is_too_long: false,
        }
    }

    /// Writes a last line that has no end.
    pub(super) fn finish(self) -> io::Result<()> {
        self.output.write_all(&self.rest)?;
        self.output.flush()
    }

    fn write_line(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.rest);
        let common = (!self.is_too_long).then(|| to_common(&line)).flatten();
        self.is_too_long = false;
        match common {
            Some(text) => writeln!(self.output, "{text}"),
            None => {
                self.output.write_all(&line)?;
                self.output.write_all(b"\n")
            }
        }
    }
}

impl<W: Write> Write for CommonFormat<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    self.rest.extend_from_slice(end);
                    self.write_line()?;
                }
                None => self.rest.extend_from_slice(piece),
            }
            if self.rest.len() > MAX_LINE_BYTES {
                self.output.write_all(&self.rest)?;
                self.rest.clear();
                self.is_too_long = true;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Nothing of a line is shown but what is named here.
fn to_common(line: &[u8]) -> Option<String> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let word = |name: &str| line.get(name).and_then(Value::as_str);
    let number = |name: &str| line.get(name).and_then(Value::as_u64);
    let time: jiff::Timestamp = word("time")?.parse().ok()?;
    let seconds = line.get("duration_ms")?.as_f64()? / 1000.0;
    let time = time.strftime("%d/%b/%Y:%H:%M:%S +0000");
    let mut text = format!("- - - [{time}] \"");
    match word("method")? {
        // It could not be read as a request.
        "" => text.push('-'),
        method => {
            push_escaped(&mut text, method);
            for part in [word("path"), word("protocol")].into_iter().flatten() {
                text.push(' ');
                push_escaped(&mut text, part);
            }
        }
    }
    text.push('"');
    for count in [
        number("status"),
        number("bytes_out").filter(|bytes| *bytes > 0),
    ] {
        match count {
            Some(count) => write!(text, " {count}").ok()?,
            None => text.push_str(" -"),
        }
    }
    write!(text, " {seconds:.6}").ok()?;
    Some(text)
}

/// As Apache has it since 2.0.46: quotes and backslashes behind a backslash, what a terminal would obey as `\xHH`.
fn push_escaped(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            character if character.is_control() => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "\\x{byte:02x}");
                }
            }
            character => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"time":"2026-01-02T03:04:05.678Z","service":"web","method":"GET","path":"/v1/chat","status":200,"replica":1,"version":1,"duration_ms":12.345,"bytes_in":0,"bytes_out":1234,"attempts":1,"outcome":"completed","protocol":"HTTP/1.1","request_id":"s3cret"}"#;

    fn common(pieces: &[&str]) -> String {
        let mut output = Vec::new();
        let mut format = CommonFormat::new(&mut output);
        for piece in pieces {
            format.write_all(piece.as_bytes()).unwrap();
        }
        format.finish().unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_request_is_written_as_web_servers_do() {
        assert_eq!(
            common(&[LINE, "\n"]),
            "- - - [02/Jan/2026:03:04:05 +0000] \"GET /v1/chat HTTP/1.1\" 200 1234 0.012345\n"
        );
    }

    #[test]
    fn what_a_request_does_not_have_is_a_dash() {
        let line = LINE
            .replace(":200", ":null")
            .replace(":1234", ":0")
            .replace("\"GET\"", "\"\"");
        assert_eq!(
            common(&[&line, "\n"]),
            "- - - [02/Jan/2026:03:04:05 +0000] \"-\" - - 0.012345\n"
        );
        let old = LINE.replace(",\"protocol\":\"HTTP/1.1\",\"request_id\":\"s3cret\"", "");
        assert!(common(&[&old, "\n"]).contains("\"GET /v1/chat\" 200"));
    }

    #[test]
    fn nothing_in_a_path_can_forge_a_line_or_steer_a_terminal() {
        let line = LINE.replace("/v1/chat", r#"/a\"b\\c\n\u001b[2J\u009bd"#);
        let text = common(&[&line, "\n"]);
        assert!(
            text.contains(r#""GET /a\"b\\c\x0a\x1b[2J\xc2\x9bd HTTP/1.1" 200"#),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn lines_may_come_in_any_pieces() {
        let two = format!("{LINE}\n{LINE}\n");
        let expected = common(&[&two]);
        assert_eq!(expected.lines().count(), 2);
        for cut in 1..two.len() {
            let (one, other) = two.split_at(cut);
            assert_eq!(common(&[one, other]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        let long = format!("{{\"path\":\"{}\"}}\n", "x".repeat(3 * MAX_LINE_BYTES));
        for text in ["not json\n", "{}\n", "no end", "\n", &long] {
            assert_eq!(common(&[text, LINE, "\n"]).find(text), Some(0));
        }
        assert!(common(&[&long, LINE, "\n"]).ends_with("200 1234 0.012345\n"));
    }
}
