//! The event log: one line per thing that happened to the proxy itself.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use plan::time::Timestamp;
use serde_json::json;

use crate::clock;

/// One line of the event log.
#[derive(Debug)]
pub(crate) struct Event {
    at: Timestamp,
    name: &'static str,
    service: Option<String>,
    detail: String,
}

impl Event {
    /// Something that happened now: a short fixed name, and what there is to say for a person.
    pub(crate) fn new(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            at: clock::now(),
            name,
            service: None,
            detail: detail.into(),
        }
    }

    /// Says which service it concerns.
    pub(crate) fn of(mut self, service: &str) -> Self {
        self.service = Some(service.to_owned());
        self
    }

    pub(super) fn to_line(&self) -> String {
        json!({
            "time": format_time(self.at),
            "process": std::process::id(),
            "event": self.name,
            "service": self.service,
            "detail": self.detail,
        })
        .to_string()
    }
}

/// Appends one event at once, for the process that has no writer thread. A log that cannot be
/// written must not stop the proxy, so there is no error.
pub(crate) fn append_event(path: &Path, event: &Event) {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path);
    if let Ok(mut file) = file {
        let _ = file.write_all(format!("{}\n", event.to_line()).as_bytes());
    }
}

/// RFC 3339 in UTC; the number of microseconds where the calendar has no such instant.
pub(crate) fn format_time(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0)
        .map_or_else(|_| at.0.to_string(), |time| format!("{time:.3}"))
}
