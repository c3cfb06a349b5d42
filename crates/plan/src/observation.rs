//! What the planner may know of a replica's machine and processes: what a provider observed, and
//! how a provider's errors are classed.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What a provider sees of one replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// How far it is.
    pub phase: Phase,
    /// Where the app answers, once that is known.
    pub endpoint: Option<SocketAddr>,
    /// The INFRA column: `Local`, `AWS (us-east-1a)`.
    pub infra: Option<String>,
    /// The RESOURCES column: `1x(cpus=2, mem=4, ...)`.
    pub resources: Option<String>,
    /// The RESOURCES column in verbose mode.
    pub resources_full: Option<String>,
}

/// How far a replica's processes are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// The provider knows nothing of it: never launched, or ended and cleaned up.
    Absent,
    /// Machine, network and files are being made.
    Provisioning {
        /// What is going on, for a person.
        detail: Option<String>,
    },
    /// `setup` runs.
    SettingUp {
        /// Since when.
        since: Timestamp,
    },
    /// `run` has been started. A clean exit (code 0) of `run` is not a failure by itself: it may
    /// have left a server behind, so the phase stays `Running` and probes decide.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// `setup` or `run` failed.
    Exited(Exit),
    /// The machine or the agent vanished: preempted, rebooted, killed from outside. Never the
    /// version's fault.
    Lost {
        /// What was seen, for a person.
        reason: String,
    },
}

/// A failed end of `setup` or `run`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    /// Which of the two.
    pub stage: Stage,
    /// Exit code, unless ended by a signal.
    pub code: Option<i32>,
    /// Signal number, if ended by one.
    pub signal: Option<i32>,
    /// When.
    pub at: Timestamp,
    /// The last lines of its output (a few), for a person.
    pub log_tail: Vec<String>,
    /// What the provider makes of it, when it knows better than the code (`port 8081 is taken …`).
    pub hint: Option<String>,
}

impl Exit {
    /// `run exited with code 1; last line of its log: boom`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let stage = match self.stage {
            Stage::Setup => "setup",
            Stage::Run => "run",
        };
        let how = match (self.code, self.signal) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        let hint = self
            .hint
            .as_ref()
            .map(|hint| format!(" ({hint})"))
            .unwrap_or_default();
        let last = self
            .log_tail
            .iter()
            .rev()
            .find(|line| !line.trim().is_empty());
        let last = last
            .map(|line| format!("; last line of its log: {}", line.trim()))
            .unwrap_or_default();
        format!("{stage} {how}{hint}{last}")
    }

    /// The same without the lines of the log.
    #[must_use]
    pub fn without_log(&self) -> Self {
        Self {
            log_tail: Vec::new(),
            ..self.clone()
        }
    }
}

/// A part of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// `setup`.
    Setup,
    /// `run`.
    Run,
}

/// What the planner may conclude from a provider's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// No room here now; another place or a later time may do.
    NoCapacity,
    /// A quota is used up.
    Quota,
    /// Credentials are missing or refused.
    Auth,
    /// It may well work the next time.
    Transient,
    /// The thing is not there any more.
    Gone,
    /// The task asks for what cannot be had here; only the user can mend it.
    UserFault,
}
