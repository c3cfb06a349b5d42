//! Why something is as it is, on the wire.

use serde::{Deserialize, Serialize};

/// `GET /v1/services/NAME/why?replica=N`. Secrets of the tasks are masked in every text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// Name of the service.
    pub name: String,
    /// Its status, or that of the replica asked about.
    pub status: String,
    /// One sentence: what is being waited for, or why it failed. The one that the status has, too.
    pub sentence: String,
    /// What else is worth saying.
    pub also: Vec<String>,
    /// The version that is waited for, or that failed.
    pub version: u32,
    /// The replica asked about, waited for, or that showed the failure.
    pub replica_id: Option<u32>,
    /// What is being waited for, as data, most telling first.
    pub waiting_on: Vec<serde_json::Value>,
    /// What happens if it does not come, soonest first.
    pub deadlines: Vec<Deadline>,
    /// What that replica's last probe saw, if it failed: status and the beginning of the body.
    pub last_probe_failure: Option<String>,
    /// How that replica's `setup` or `run` ended, if it failed.
    pub exit: Option<Exit>,
    /// The last lines of that replica's log.
    pub log_lines: Vec<String>,
}

/// An end of somebody's patience.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deadline {
    /// What happens then.
    pub what: String,
    /// When, seconds since the epoch.
    pub at: f64,
    /// Seconds until then, at least 0.
    pub remaining_seconds: f64,
}

/// A failed end of `setup` or `run`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    /// `setup` or `run`.
    pub stage: String,
    /// Exit code, unless ended by a signal.
    pub code: Option<i32>,
    /// Signal number, if ended by one.
    pub signal: Option<i32>,
    /// When, seconds since the epoch.
    pub at: f64,
    /// What is known to be behind it.
    pub hint: Option<String>,
}
