//! The last lines of a log, for a person to see at a glance.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// As much of the end of a log as is looked at. A secret of many lines is recognised in it as a whole.
const WINDOW_BYTES: u64 = 64 * 1024;
/// Characters of a line that are shown.
const LINE_CHARS_MAX: usize = 400;

/// The last `count` lines that say something, as `mask` leaves them. Blank lines and control characters are left out.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn last_lines(
    path: &Path,
    count: usize,
    mask: impl Fn(&str) -> String,
) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(WINDOW_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(WINDOW_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = match text.split_once('\n') {
        // Where the window begins within a line, half a secret could be left of it.
        Some((_cut, rest)) if start > 0 => rest,
        _ => &text,
    };
    let masked = mask(text);
    let lines = masked
        .lines()
        .map(printable)
        .filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.collect();
    let first = lines.len().saturating_sub(count);
    Ok(lines.into_iter().skip(first).collect())
}

fn printable(line: &str) -> String {
    let line = line.replace('\t', " ");
    let shown = line.trim_end().chars().filter(|c| !c.is_control());
    let shown: String = shown.collect();
    if shown.chars().count() <= LINE_CHARS_MAX {
        return shown;
    }
    let mut cut: String = shown.chars().take(LINE_CHARS_MAX).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(content: &str, count: usize) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, content).unwrap();
        last_lines(&path, count, |text| {
            text.replace("s3cret\nof two lines", "***")
        })
        .unwrap()
    }

    #[test]
    fn the_last_lines_that_say_something_are_shown() {
        assert_eq!(last("a\nb\n\nc\n  \n", 2), ["b", "c"]);
        assert_eq!(last("a\tb\u{1b}[2J", 5), ["a b[2J"]);
        assert!(last("", 5).is_empty());
    }

    #[test]
    fn a_secret_of_many_lines_is_masked_even_where_only_its_end_would_be_shown() {
        assert_eq!(last("token: s3cret\nof two lines\n", 1), ["token: ***"]);
    }

    #[test]
    fn a_long_log_is_not_read_whole_and_a_long_line_is_cut() {
        let long = "x".repeat(2 * LINE_CHARS_MAX);
        let before = "y".repeat(usize::try_from(WINDOW_BYTES).unwrap());
        let lines = last(&format!("{before}\n{long}\nend"), 9);
        assert_eq!(
            lines.len(),
            2,
            "a line that begins before the window is left out"
        );
        assert_eq!(lines[0].chars().count(), LINE_CHARS_MAX + 1);
        assert_eq!(lines[1], "end");
    }
}
