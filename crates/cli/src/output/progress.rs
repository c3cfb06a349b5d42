//! What is being waited for: one line that changes on a terminal, a line for each change elsewhere.

use std::io::{self, IsTerminal, Write};

use unicode_width::UnicodeWidthChar;

/// Columns assumed where the terminal does not say.
const COLUMNS_DEFAULT: usize = 80;

/// The present state of a wait.
#[derive(Default)]
pub(crate) struct Progress {
    shown: String,
}

impl Progress {
    /// Shows `text`, unless it is what is shown.
    pub(crate) fn show(&mut self, text: &str) {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        if text == self.shown {
            return;
        }
        if io::stderr().is_terminal() {
            // A line that wraps could not be taken back.
            let line = cut(&format!("⠿ {text}"), columns().saturating_sub(1));
            let _ = write!(io::stderr(), "\r\x1b[2K{line}");
            let _ = io::stderr().flush();
        } else if without_seconds(&text) != without_seconds(&self.shown) {
            // In a log, a line whose only news is that another second has passed is noise.
            let _ = writeln!(io::stderr(), "{text}");
        }
        self.shown = text;
    }

    /// Ends the line, so that what follows begins on its own.
    pub(crate) fn end(&mut self) {
        if !self.shown.is_empty() && io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\r\x1b[2K");
            let _ = io::stderr().flush();
        }
        self.shown.clear();
    }
}

fn columns() -> usize {
    rustix::termios::tcgetwinsize(io::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
        .unwrap_or(COLUMNS_DEFAULT)
}

/// As much of `text` as fits into `width` columns.
fn cut(text: &str, width: usize) -> String {
    let mut used = 0;
    let fits = |character: &char| {
        used += character.width().unwrap_or(0);
        used <= width
    };
    text.chars().take_while(fits).collect()
}

fn without_seconds(text: &str) -> String {
    let mut plain = String::new();
    for word in text.split(' ') {
        let seconds = word
            .strip_suffix('s')
            .is_some_and(|n| n.parse::<f64>().is_ok());
        if !seconds {
            plain.push_str(word);
            plain.push(' ');
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_to_the_terminal() {
        assert_eq!(cut("東京 abc", 5), "東京 ");
        assert_eq!(cut("東京", 3), "東");
        assert_eq!(cut("abc", 5), "abc");
    }

    #[test]
    fn passing_seconds_are_no_news() {
        let one = "waiting for replica 4: starting, 12s of 1200s";
        assert_eq!(
            without_seconds(one),
            without_seconds(&one.replace("12s", "13s"))
        );
        assert_ne!(
            without_seconds(one),
            without_seconds(&one.replace("replica 4", "replica 5"))
        );
    }
}
