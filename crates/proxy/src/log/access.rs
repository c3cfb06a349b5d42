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
use crate::decimal::{digits3, push_number};
use crate::endpoint::Endpoint;
use crate::h2::UploadProgress;
use crate::metrics::{Ended, Reason, Sampled};
use crate::routing::View;
use crate::split::Side;

/// Lines are handed to the writer when they have come to this many bytes, or with the next sweep.
const HAND_ON_BYTES: usize = 32 * 1024;
/// Room for most lines.
const LINE_BYTES: usize = 512;
/// So much of a request's id is logged: room for those that proxies and clouds make, which have up to 100 or so.
const MAX_ID_BYTES: usize = 128;

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
    /// Method, path and the id of the request.
    text: Text,
    method_length: usize,
    path_length: usize,
    protocol: Option<&'static str>,
    /// Monotonic microseconds; of the head of the answer.
    answered: Option<u64>,
    /// The same; since when it waits for a replica.
    waits_since: Option<u64>,
    has_waited: bool,
    status: u16,
    replica: Option<(ReplicaId, Version)>,
    bytes_in: u64,
    bytes_out: u64,
    attempts: u32,
    outcome: Outcome,
    /// Whether it is part of the sample by which versions are compared.
    is_sample: bool,
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
            path_length: path.len(),
            text,
            protocol: None,
            answered: None,
            waits_since: None,
            has_waited: false,
            status: 0,
            replica: None,
            bytes_in: 0,
            bytes_out: 0,
            attempts: 0,
            outcome: Outcome::default(),
            is_sample: false,
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

    /// What the request came over (`HTTP/1.1`), and the `X-Request-Id` that the replica sees. Of that the first
    /// [`MAX_ID_BYTES`] are logged.
    pub(crate) fn identify(&mut self, protocol: &'static str, request_id: &[u8]) {
        self.protocol = Some(protocol);
        self.text
            .push(request_id.get(..MAX_ID_BYTES).unwrap_or(request_id));
    }

    /// The side of a split that it goes to. One that wished for its side is no sample.
    pub(crate) fn goes_to(&mut self, side: Side) {
        self.is_sample = matches!(side, Side::New | Side::Old);
    }

    /// The request begins to wait for a replica.
    pub(crate) fn waits(&mut self) {
        self.waits_since = Some(clock::monotonic_micros());
        self.has_waited = true;
    }

    /// The request has waited, in vain or not.
    pub(crate) fn waited(&mut self) {
        if let Some(since) = self.waits_since.take() {
            let waited = clock::monotonic_micros().saturating_sub(since);
            self.endpoint.metrics.waited(waited);
        }
    }

    /// The request is given to this replica.
    pub(crate) fn attempt(&mut self, upstream: &Upstream) {
        let metrics = &self.endpoint.metrics;
        if let Some(failed) = self.replica {
            metrics.retried(failed, self.started);
            // Once more to the same one: on another connection, the first was stale.
            if self.is_sample && failed.0 != upstream.replica_id {
                self.sample(&self.endpoint.view(), Some(Sampled::Failed));
            }
        }
        let replica = (upstream.replica_id, upstream.version);
        metrics.given(replica, self.started);
        self.attempts += 1;
        self.replica = Some(replica);
    }

    /// The head of the answer is passed on.
    pub(crate) fn answered(&mut self, status: u16) {
        self.status = status;
        self.answered = Some(clock::monotonic_micros());
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

    /// Bytes of the request's body.
    fn bytes_in(&self) -> u64 {
        self.bytes_in + self.upload.as_ref().map_or(0, |upload| upload.bytes())
    }

    /// Counts how the request ended at the replica that has it, if it began under the split in force.
    fn sample(&self, view: &View, sampled: Option<Sampled>) {
        let groups = view.published.groups.as_ref();
        let since = groups.map(|groups| groups.since);
        if let (Some(since), Some((_, version)), Some(sampled)) = (since, self.replica, sampled)
            && self.started >= since
        {
            self.endpoint.metrics.sampled(version, sampled);
        }
    }

    /// How it ended, as versions are compared; `None`: by the client's fault, which says nothing of the version.
    fn sampled(&self, ended: &Ended) -> Option<Sampled> {
        match (self.outcome, ended.first_byte) {
            (Outcome::Rejected | Outcome::ClientSlow, _) => None,
            (Outcome::ReplicaFailed | Outcome::Silent, _) => Some(Sampled::Failed),
            (_, Some(first_byte)) if ended.status < 500 => Some(Sampled::Answered {
                duration: ended.duration,
                first_byte,
            }),
            // A client that gave up before there was an answer may have been left without one.
            _ => Some(Sampled::Failed),
        }
    }

    fn count(&self, now: u64, view: &View) {
        let metrics = &self.endpoint.metrics;
        if let Some(reason) = self.refusal() {
            metrics.refused(reason);
        }
        let since = |at: u64| at.saturating_sub(self.started);
        let ended = Ended {
            status: self.status,
            duration: since(now),
            first_byte: self.answered.map(since),
            bytes_in: self.bytes_in(),
            bytes_out: self.bytes_out,
            now,
        };
        metrics.ended(self.replica, &ended);
        if self.is_sample {
            self.sample(view, self.sampled(&ended));
        }
    }

    /// Why the proxy gave no answer but its own.
    fn refusal(&self) -> Option<Reason> {
        match (self.outcome, self.status) {
            (Outcome::Rejected, 401) => Some(Reason::Unauthorised),
            (Outcome::Rejected, 413) => Some(Reason::BodyTooLarge),
            (Outcome::Rejected, _) => Some(Reason::BadRequest),
            (Outcome::ClientSlow, 408) => Some(Reason::ClientSlow),
            (Outcome::NoReplica, _) => Some(Reason::NoReplica),
            (Outcome::Shed, _) if self.has_waited => Some(Reason::QueueTimeout),
            (Outcome::Shed, _) => Some(Reason::QueueFull),
            _ => None,
        }
    }

    /// `service`: what follows the time, up to the method.
    fn write(&self, line: &mut Vec<u8>, service: &[u8], micros: u64) {
        let (method, rest) = self
            .text
            .split_at_checked(self.method_length)
            .unwrap_or_default();
        let (path, request_id) = rest.split_at_checked(self.path_length).unwrap_or_default();
        let number = |line: &mut Vec<u8>, name: &str, value: Option<u64>| {
            line.extend_from_slice(name.as_bytes());
            match value {
                Some(value) => push_number(line, value),
                None => line.extend_from_slice(b"null"),
            }
        };
        line.reserve(LINE_BYTES);
        line.extend_from_slice(b"{\"time\":\"");
        push_time(line, self.started);
        line.extend_from_slice(service);
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
        number(line, ",\"bytes_in\":", Some(self.bytes_in()));
        number(line, ",\"bytes_out\":", Some(self.bytes_out));
        number(line, ",\"attempts\":", Some(u64::from(self.attempts)));
        line.extend_from_slice(b",\"outcome\":\"");
        line.extend_from_slice(self.outcome.name().as_bytes());
        line.extend_from_slice(b"\",\"protocol\":");
        push_json_option(line, self.protocol.map(str::as_bytes));
        line.extend_from_slice(b",\"request_id\":");
        push_json_option(line, Some(request_id).filter(|id| !id.is_empty()));
        line.extend_from_slice(b"}\n");
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        self.waited();
        let now = clock::monotonic_micros();
        let view = self.endpoint.view();
        self.count(now, &view);
        if view.published.settings.access_log {
            let micros = now.saturating_sub(self.started);
            self.endpoint
                .access(|line, service| self.write(line, service, micros));
        }
    }
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

/// A JSON string, or `null`.
fn push_json_option(line: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => push_json_string(line, bytes),
        None => line.extend_from_slice(b"null"),
    }
}

/// A JSON string. What is not UTF-8 in it is written byte for byte as `\u00XX`.
fn push_json_string(line: &mut Vec<u8>, bytes: &[u8]) {
    // To the end even where it is decided before: so it takes many bytes at once.
    let is_plain = bytes.iter().fold(true, |plain, byte| {
        plain & matches!(byte, b' '..=b'~') & (*byte != b'"') & (*byte != b'\\')
    });
    line.push(b'"');
    if is_plain {
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
    /// The part of each line that is the same in all.
    same: Vec<u8>,
    lines: RefCell<Vec<u8>>,
}

impl AccessLines {
    pub(crate) fn new(service: Arc<str>) -> Self {
        let mut same = b"\",\"service\":".to_vec();
        push_json_string(&mut same, service.as_bytes());
        same.extend_from_slice(b",\"method\":");
        Self {
            service,
            same,
            lines: RefCell::default(),
        }
    }

    /// Composes a line with `write`, which is given what follows the time, up to the method.
    pub(crate) fn append(&self, logs: &LogSender, write: impl FnOnce(&mut Vec<u8>, &[u8])) {
        let mut lines = self.lines.borrow_mut();
        write(&mut lines, &self.same);
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
mod tests;
