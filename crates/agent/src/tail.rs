//! The last lines of a stage's output, fit to be shown to a person.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// How many lines are kept.
const LINES_MAX: usize = 20;

/// How many characters of a line are kept.
const LINE_CHARACTERS_MAX: usize = 400;

/// How much of the log is looked at, in bytes.
const TAIL_BYTES_MAX: u64 = 32 * 1024;

/// Secrets shorter than this are not looked for: hiding every `1` would make the text useless.
const SECRET_BYTES_MIN: usize = 4;

/// The last lines of `log` from byte `start` on: bounded in number and length, without control
/// characters, and without the values of `secrets`.
pub(crate) fn tail(
    log: &Path,
    start: u64,
    secrets: &BTreeMap<String, String>,
) -> io::Result<Vec<String>> {
    let mut file = File::open(log)?;
    let end = file.metadata()?.len();
    // A log that was moved aside meanwhile is shorter than where the stage began.
    let start = if start > end { 0 } else { start };
    let from = start.max(end.saturating_sub(TAIL_BYTES_MAX));
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if from > start {
        // The first line is cut somewhere, perhaps inside a secret.
        text = text
            .split_once('\n')
            .map(|(_, rest)| rest.to_owned())
            .unwrap_or_default();
    }
    let mut hidden: Vec<&String> = secrets
        .values()
        .filter(|secret| secret.len() >= SECRET_BYTES_MIN)
        .collect();
    hidden.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in hidden {
        text = text.replace(secret.as_str(), "***");
    }
    let lines: Vec<String> = text
        .lines()
        .map(clean)
        .filter(|line| !line.is_empty())
        .collect();
    Ok(lines[lines.len().saturating_sub(LINES_MAX)..].to_vec())
}

/// One line without terminal sequences and control characters, cut to a bearable length.
fn clean(line: &str) -> String {
    let mut plain = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => skip_escape(&mut characters),
            '\t' => plain.push(' '),
            character if character.is_control() => {}
            character => plain.push(character),
        }
    }
    let plain = plain.trim_end();
    if plain.chars().count() <= LINE_CHARACTERS_MAX {
        return plain.to_owned();
    }
    let cut: String = plain.chars().take(LINE_CHARACTERS_MAX).collect();
    format!("{cut}…")
}

/// Skips a terminal sequence after its ESC: `[`, parameters, and one closing letter.
fn skip_escape(characters: &mut std::str::Chars<'_>) {
    if characters.next() != Some('[') {
        return;
    }
    for character in characters {
        if ('\u{40}'..='\u{7e}').contains(&character) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(text: &str, start: u64, secrets: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, text).unwrap();
        let secrets = secrets
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        tail(&path, start, &secrets).unwrap()
    }

    #[test]
    fn keeps_the_last_lines_of_the_stage_only() {
        assert_eq!(tail_of("old\nnew\n\nlast\n", 4, &[]), ["new", "last"]);
        let many: String = (0..100).map(|i| format!("line {i}\n")).collect();
        let lines = tail_of(&many, 0, &[]);
        assert_eq!(lines.len(), LINES_MAX);
        assert_eq!(lines.last().unwrap(), "line 99");
    }

    #[test]
    fn bounds_hostile_output() {
        let lines = tail_of(&"x".repeat(3_000_000), 0, &[]);
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() <= LINE_CHARACTERS_MAX + 1)
        );
        assert_eq!(tail_of("\u{1b}[31mred\u{1b}[0m\u{7}\r\n", 0, &[]), ["red"]);
        assert!(tail_of("", 0, &[]).is_empty());
        assert_eq!(tail_of("short", 4000, &[]), ["short"]);
    }

    #[test]
    fn hides_secrets_longest_first() {
        let secrets = [("A", "hunter2"), ("B", "hunter2-long"), ("C", "1")];
        assert_eq!(
            tail_of("key=hunter2-long hunter2 1\n", 0, &secrets),
            ["key=*** *** 1"]
        );
    }
}
