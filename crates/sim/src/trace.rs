//! What happened, one line per event in virtual time.

use plan::Timestamp;

use crate::history::START;

/// A timeline, if one is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn wanted() -> Self {
        Self {
            lines: Some(Vec::new()),
        }
    }

    pub(crate) fn line(&mut self, now: Timestamp, who: &str, what: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let seconds = (now - START).as_seconds();
            lines.push(format!("{seconds:9.3}  {who:<10}  {}", what()));
        }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
