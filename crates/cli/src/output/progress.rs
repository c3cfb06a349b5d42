//! What is being waited for: one line that changes on a terminal, a line for each change elsewhere.

use std::io::{self, IsTerminal, Write};

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
            let _ = write!(io::stderr(), "\r\x1b[2K⠿ {text}");
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
