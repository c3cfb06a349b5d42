//! Dotenv files, given with `--env-file` and `--secret-file`.

use crate::decode::environment::is_variable_name;
use crate::diagnostic::Diagnostic;
use crate::source::{Source, SourceText, Span};

/// Reads a dotenv file: lines of `NAME=VALUE`, optionally with `export` before. `#` starts a
/// comment; a value may be in single quotes (taken as it is, over several lines if need be), in
/// double quotes (`\n`, `\t`, `\"`, `\\` and `\$` are replaced), or bare (up to a comment,
/// trimmed). A name without `=` is left out, as is one that python-dotenv gives no value. Values
/// are never quoted in findings.
///
/// # Errors
/// Every line that is not of this form.
pub fn parse_env_file(source: &SourceText) -> Result<Vec<(String, String)>, Vec<Diagnostic>> {
    let decoded = Source::decode(source).map_err(|diagnostic| vec![*diagnostic])?;
    let mut variables = Vec::new();
    let mut diagnostics = Vec::new();
    let mut rest = decoded.text;
    while !rest.is_empty() {
        let at = decoded.text.len() - rest.len();
        match entry(rest) {
            Ok((variable, after)) => {
                variables.extend(variable);
                rest = after;
            }
            Err(message) => {
                let line = rest.split_inclusive('\n').next().unwrap_or(rest);
                let span = Span {
                    start: at,
                    end: at + line.trim_end().len(),
                };
                let diagnostic = Diagnostic::at("env-file", &decoded, span, message.to_owned());
                // The line may hold a secret, so it is not shown.
                diagnostics.push(diagnostic.dropping_excerpt());
                rest = rest.get(line.len()..).unwrap_or_default();
            }
        }
    }
    if diagnostics.is_empty() {
        Ok(variables)
    } else {
        Err(diagnostics)
    }
}

type Variable = Option<(String, String)>;

/// Reads one line, or the lines of one quoted value.
fn entry(text: &str) -> Result<(Variable, &str), &'static str> {
    let line_end = text.find('\n').map_or(text.len(), |at| at + 1);
    let (line, after_line) = text.split_at(line_end);
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok((None, after_line));
    }
    let start = text.len() - text.trim_start().len();
    let body = text.get(start..).unwrap_or_default();
    let body = match body.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start_matches([' ', '\t']),
        _ => body,
    };
    let name_end = body.find(['=', '\n']).unwrap_or(body.len());
    let name = body.get(..name_end).unwrap_or_default().trim();
    if !is_variable_name(name) {
        return Err("the line must be NAME=VALUE, the name of letters, digits and `_`");
    }
    let Some(value) = body.get(name_end..).and_then(|rest| rest.strip_prefix('=')) else {
        return Ok((None, after_line));
    };
    let value = value.trim_start_matches([' ', '\t']);
    let (value, after) = match value.chars().next() {
        Some(quote @ ('\'' | '"')) => {
            let (value, after) = quoted(value, quote)?;
            let tail_end = after.find('\n').map_or(after.len(), |at| at + 1);
            let (tail, after) = after.split_at(tail_end);
            if !tail.trim().is_empty() && !tail.trim().starts_with('#') {
                return Err("there is text after the closing quote");
            }
            (value, after)
        }
        _ => {
            let end = value.find('\n').map_or(value.len(), |at| at + 1);
            let (line, after) = value.split_at(end);
            let comment = line.match_indices('#').map(|(at, _)| at).find(|at| {
                line.get(..*at)
                    .is_some_and(|before| before.is_empty() || before.ends_with([' ', '\t']))
            });
            let bare = line
                .get(..comment.unwrap_or(line.len()))
                .unwrap_or_default();
            (bare.trim().to_owned(), after)
        }
    };
    Ok((Some((name.to_owned(), value)), after))
}

/// Reads a quoted value that starts with its quote.
fn quoted(text: &str, quote: char) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == quote {
            return Ok((value, text.get(at + 1..).unwrap_or_default()));
        }
        if character != '\\' {
            value.push(character);
            continue;
        }
        let Some((_, escaped)) = characters.next() else {
            break;
        };
        match (quote, escaped) {
            ('"', 'n') => value.push('\n'),
            ('"', 't') => value.push('\t'),
            ('"', 'r') => value.push('\r'),
            ('"', '"' | '\\' | '$') | ('\'', '\'' | '\\') => value.push(escaped),
            _ => value.extend(['\\', escaped]),
        }
    }
    Err("the quoted value is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<(String, String)>, Vec<Diagnostic>> {
        parse_env_file(&SourceText::new(".env", text))
    }

    #[test]
    fn a_dotenv_file_is_read_as_shells_and_libraries_do() {
        let text = "# comment\nA=1\nexport B = two words # not this\nC='it''s\n'\n\
                    C='a # b\nc'\nD=\"x\\ty\\\"\"  # yes\nE=\nF\r\nG=a#b\n";
        let variables = parse(&text.replace("C='it''s\n'\n", "")).expect("accepted");
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "a # b\nc"),
            ("D", "x\ty\""),
            ("E", ""),
            ("G", "a#b"),
        ];
        assert_eq!(
            variables,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn bad_lines_are_reported_without_their_text() {
        let source = SourceText::new(".env", "A=1\n1B=hunter2\nC='open\n");
        let diagnostics = parse_env_file(&source).expect_err("rejected");
        let lines: Vec<usize> = diagnostics
            .iter()
            .map(|diagnostic| diagnostic.line)
            .collect();
        assert_eq!(lines, [2, 3]);
        assert!(!diagnostics[0].render(&source, false).contains("hunter2"));
    }
}
