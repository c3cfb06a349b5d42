//! The access log: one line per request, when it is over.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode, Uri};
use plan::routing::{ReplicaId, Upstream, Version};
use plan::time::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::event::format_time;
use super::writer::LogSender;
use crate::clock;
use crate::forward::UploadProgress;

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The whole answer was passed on.
    Completed,
    /// The client went away first.
    #[default]
    ClientGone,
    /// The replica failed before or within its answer.
    ReplicaFailed,
    /// The replica said nothing for the stream timeout.
    Silent,
    /// No replica could be asked.
    NoReplica,
    /// The proxy refused the request.
    Rejected,
    /// An upgraded connection broke at either end.
    Cut,
}

/// What is known of one request; written when dropped.
#[derive(Debug)]
pub(crate) struct RequestRecord {
    logs: LogSender,
    started: Instant,
    upload: Option<Arc<UploadProgress>>,
    entry: Option<AccessEntry>,
}

/// One line of the access log.
#[derive(Debug)]
pub(crate) struct AccessEntry {
    at: Timestamp,
    pub(super) service: Arc<str>,
    method: Method,
    uri: Uri,
    status: Option<StatusCode>,
    replica: Option<(ReplicaId, Version)>,
    duration_ms: f64,
    bytes_in: u64,
    bytes_out: u64,
    attempts: u32,
    outcome: Outcome,
}

impl RequestRecord {
    pub(crate) fn start(logs: &LogSender, service: &Arc<str>, request: &Request<Incoming>) -> Self {
        let entry = AccessEntry {
            at: clock::now(),
            service: Arc::clone(service),
            method: request.method().clone(),
            uri: request.uri().clone(),
            status: None,
            replica: None,
            duration_ms: 0.0,
            bytes_in: 0,
            bytes_out: 0,
            attempts: 0,
            outcome: Outcome::default(),
        };
        Self {
            logs: logs.clone(),
            started: Instant::now(),
            upload: None,
            entry: Some(entry),
        }
    }

    /// The body whose bytes count as received.
    pub(crate) fn watch_upload(&mut self, upload: Option<Arc<UploadProgress>>) {
        self.upload = upload;
    }

    pub(crate) fn upload(&self) -> Option<Arc<UploadProgress>> {
        self.upload.clone()
    }

    /// The request is given to this replica.
    pub(crate) fn attempt(&mut self, upstream: &Upstream) {
        if let Some(entry) = &mut self.entry {
            entry.attempts += 1;
            entry.replica = Some((upstream.replica_id, upstream.version));
        }
    }

    /// The head of the answer is passed on.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        if let Some(entry) = &mut self.entry {
            entry.status = Some(status);
        }
    }

    /// Bytes of the answer's body are passed on.
    pub(crate) fn sent(&mut self, bytes: usize) {
        if let Some(entry) = &mut self.entry {
            entry.bytes_out += bytes as u64;
        }
    }

    /// What an upgraded connection carried.
    pub(crate) fn upgraded(&mut self, bytes_in: u64, bytes_out: u64) {
        if let Some(entry) = &mut self.entry {
            entry.bytes_in = bytes_in;
            entry.bytes_out = bytes_out;
        }
    }

    pub(crate) fn outcome(&mut self, outcome: Outcome) {
        if let Some(entry) = &mut self.entry {
            entry.outcome = outcome;
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let Some(mut entry) = self.entry.take() else {
            return;
        };
        entry.duration_ms = self.started.elapsed().as_secs_f64() * 1000.0;
        entry.bytes_in += self.upload.as_ref().map_or(0, |upload| upload.bytes());
        self.logs.access(entry);
    }
}

impl AccessEntry {
    pub(super) fn to_line(&self) -> String {
        json!({
            "time": format_time(self.at),
            "service": &*self.service,
            "method": self.method.as_str(),
            "path": self.uri.path(),
            "status": self.status.map(|status| status.as_u16()),
            "replica": self.replica.map(|(replica, _)| replica),
            "version": self.replica.map(|(_, version)| version),
            "duration_ms": (self.duration_ms * 1000.0).round() / 1000.0,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "attempts": self.attempts,
            "outcome": self.outcome,
        })
        .to_string()
    }
}
