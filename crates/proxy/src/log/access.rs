//! The access log: one line per request, when it is over.
//!
//! A line is composed by the thread that served the request, into memory of that thread, and handed to the writer
//! together with many others.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

use plan::routing::{ReplicaId, Upstream, Version};

use super::event::format_time;
use super::writer::LogSender;
use crate::buffer::Text;
use crate::clock;
use crate::endpoint::Endpoint;
use crate::h2::UploadProgress;

/// Lines are handed to the writer when they have come to this many bytes, or with the next sweep.
const HAND_ON_BYTES: usize = 32 * 1024;

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The whole answer was passed on.
    Completed,
    /// The client went away first.
    #[default]
    ClientGone,
    /// The client sent its request, or took the answer, too slowly.
    ClientSlow,
    /// The replica failed before or within its answer.
    ReplicaFailed,
    /// The replica said nothing for the stream timeout.
    Silent,
    /// No replica could be asked.
    NoReplica,
    /// Too many waited already, or it waited too long.
    Shed,
    /// The proxy refused the request.
    Rejected,
    /// An upgraded connection broke at either end.
    Cut,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientGone => "client_gone",
            Self::ClientSlow => "client_slow",
            Self::ReplicaFailed => "replica_failed",
            Self::Silent => "silent",
            Self::NoReplica => "no_replica",
            Self::Shed => "shed",
            Self::Rejected => "rejected",
            Self::Cut => "cut",
        }
    }
}

/// What is known of one request; written when dropped.
#[derive(Debug)]
pub(crate) struct RequestRecord {
    endpoint: Rc<Endpoint>,
    /// Monotonic microseconds.
    started: u64,
    /// Method and path.
    text: Text,
    method_length: usize,
    status: u16,
    replica: Option<(ReplicaId, Version)>,
    bytes_in: u64,
    bytes_out: u64,
    attempts: u32,
    outcome: Outcome,
    upload: Option<Arc<UploadProgress>>,
}

impl RequestRecord {
    /// Begins with the method and the target, of which the query is left out.
    pub(crate) fn start(endpoint: &Rc<Endpoint>, method: &[u8], target: &[u8]) -> Self {
        let mut text = Text::new();
        text.push(method);
        let path = target
            .split(|byte| *byte == b'?')
            .next()
            .unwrap_or_default();
        text.push(path);
        Self {
            endpoint: Rc::clone(endpoint),
            started: clock::monotonic_micros(),
            method_length: method.len(),
            text,
            status: 0,
            replica: None,
            bytes_in: 0,
            bytes_out: 0,
            attempts: 0,
            outcome: Outcome::default(),
            upload: None,
        }
    }

    /// When it began, in monotonic microseconds.
    pub(crate) fn started(&self) -> u64 {
        self.started
    }

    /// The body whose bytes count as received.
    pub(crate) fn watch_upload(&mut self, upload: Option<Arc<UploadProgress>>) {
        self.upload = upload;
    }

    /// The request is given to this replica.
    pub(crate) fn attempt(&mut self, upstream: &Upstream) {
        self.attempts += 1;
        self.replica = Some((upstream.replica_id, upstream.version));
    }

    /// The head of the answer is passed on.
    pub(crate) fn answered(&mut self, status: u16) {
        self.status = status;
    }

    /// Bytes of the request's body are passed on.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.bytes_in += bytes;
    }

    /// Bytes of the answer's body are passed on.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.bytes_out += bytes;
    }

    pub(crate) fn outcome(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    fn write(&self, line: &mut Vec<u8>, micros: u64) {
        let (method, path) = self
            .text
            .split_at_checked(self.method_length)
            .unwrap_or_default();
        let number = |line: &mut Vec<u8>, name: &str, value: Option<u64>| {
            line.extend_from_slice(name.as_bytes());
            match value {
                Some(value) => push_number(line, value),
                None => line.extend_from_slice(b"null"),
            }
        };
        line.extend_from_slice(b"{\"time\":\"");
        push_time(line, self.started);
        line.extend_from_slice(b"\",\"service\":");
        push_json_string(line, self.endpoint.service.name().as_bytes());
        line.extend_from_slice(b",\"method\":");
        push_json_string(line, method);
        line.extend_from_slice(b",\"path\":");
        push_json_string(line, path);
        let status = (self.status != 0).then_some(u64::from(self.status));
        number(line, ",\"status\":", status);
        let replica = self.replica;
        number(line, ",\"replica\":", replica.map(|(id, _)| u64::from(id)));
        number(
            line,
            ",\"version\":",
            replica.map(|(_, version)| u64::from(version)),
        );
        number(line, ",\"duration_ms\":", Some(micros / 1000));
        let fraction = micros % 1000;
        line.push(b'.');
        line.extend(digits3(fraction));
        let upload = self.upload.as_ref().map_or(0, |upload| upload.bytes());
        number(line, ",\"bytes_in\":", Some(self.bytes_in + upload));
        number(line, ",\"bytes_out\":", Some(self.bytes_out));
        number(line, ",\"attempts\":", Some(u64::from(self.attempts)));
        line.extend_from_slice(b",\"outcome\":\"");
        line.extend_from_slice(self.outcome.name().as_bytes());
        line.extend_from_slice(b"\"}\n");
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let endpoint = Rc::clone(&self.endpoint);
        if endpoint.view().published.settings.access_log {
            let micros = clock::monotonic_micros().saturating_sub(self.started);
            endpoint.access(|line| self.write(line, micros));
        }
    }
}

fn digits3(number: u64) -> [u8; 3] {
    let digit = |value: u64| b'0' + u8::try_from(value % 10).unwrap_or(0);
    [digit(number / 100), digit(number / 10), digit(number)]
}

fn push_number(line: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    line.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// RFC 3339 in UTC with milliseconds; the calendar is asked once per second and thread.
fn push_time(line: &mut Vec<u8>, monotonic_micros: u64) {
    thread_local! {
        static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    let wall = clock::wall_of(monotonic_micros);
    let second = wall.0.div_euclid(1_000_000);
    let millisecond = wall.0.rem_euclid(1_000_000) / 1000;
    SECOND.with_borrow_mut(|(known, text)| {
        if *known != second {
            let whole = plan::time::Timestamp(second * 1_000_000);
            *text = format_time(whole);
            // "2026-01-02T03:04:05.000Z" up to its dot; another form (an impossible year) stays as it is.
            if let Some(dot) = text.find('.') {
                text.truncate(dot);
            }
            *known = second;
        }
        line.extend_from_slice(text.as_bytes());
    });
    line.push(b'.');
    line.extend(digits3(millisecond.unsigned_abs()));
    line.push(b'Z');
}

/// A JSON string. What is not UTF-8 in it is written byte for byte as `\u00XX`.
fn push_json_string(line: &mut Vec<u8>, bytes: &[u8]) {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    line.push(b'"');
    if bytes.iter().all(plain) {
        line.extend_from_slice(bytes);
    } else {
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '"' | '\\' => line.extend_from_slice(&[b'\\', character as u8]),
                    character if u32::from(character) < 32 || u32::from(character) == 127 => {
                        push_escaped(line, character as u8);
                    }
                    character => {
                        let mut utf8 = [0; 4];
                        line.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
                    }
                }
            }
            for byte in chunk.invalid() {
                push_escaped(line, *byte);
            }
        }
    }
    line.push(b'"');
}

fn push_escaped(line: &mut Vec<u8>, byte: u8) {
    // Writing to a Vec cannot fail.
    let _ = write!(line, "\\u{byte:04x}");
}

/// Lines of one service that one thread has composed and not yet handed to the writer.
#[derive(Debug)]
pub(crate) struct AccessLines {
    service: Arc<str>,
    lines: RefCell<Vec<u8>>,
}

impl AccessLines {
    pub(crate) fn new(service: Arc<str>) -> Self {
        Self {
            service,
            lines: RefCell::default(),
        }
    }

    /// Composes a line with `write`.
    pub(crate) fn append(&self, logs: &LogSender, write: impl FnOnce(&mut Vec<u8>)) {
        let mut lines = self.lines.borrow_mut();
        write(&mut lines);
        if lines.len() >= HAND_ON_BYTES {
            let room = Vec::with_capacity(HAND_ON_BYTES + 1024);
            logs.access(&self.service, std::mem::replace(&mut lines, room));
        }
    }

    /// Hands everything to the writer.
    pub(crate) fn hand_on(&self, logs: &LogSender) {
        let mut lines = self.lines.borrow_mut();
        if !lines.is_empty() {
            logs.access(&self.service, std::mem::take(&mut lines));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> String {
        let mut line = Vec::new();
        push_json_string(&mut line, bytes);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn strings_are_json_whatever_is_in_them() {
        for (bytes, expected) in [
            (&b"/plain"[..], "/plain"),
            (b"a\"b\\c", "a\"b\\c"),
            ("/käse".as_bytes(), "/käse"),
            (b"/\xff\x01\x7f", "/\u{ff}\u{1}\u{7f}"),
            (b"", ""),
        ] {
            let text: String = serde_json::from_str(&json(bytes)).unwrap();
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn numbers_are_written_whole() {
        for number in [0, 7, 10, 12_345, u64::MAX] {
            let mut line = Vec::new();
            push_number(&mut line, number);
            assert_eq!(line, number.to_string().into_bytes());
        }
        assert_eq!(digits3(7), *b"007");
    }

    #[test]
    fn times_are_rfc_3339() {
        let mut line = Vec::new();
        push_time(&mut line, clock::monotonic_micros());
        let text = String::from_utf8(line).unwrap();
        let time: jiff::Timestamp = text.parse().unwrap();
        assert!(
            time.duration_until(jiff::Timestamp::now()).as_secs() < 60,
            "{text}"
        );
        assert_eq!(text.len(), "2026-01-02T03:04:05.678Z".len());
    }
}
