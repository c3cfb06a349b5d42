//! What goes over the wire.

use std::path::PathBuf;

pub use plan::rollout::UpdateMode;
use plan::status::{ReplicaStatus, ServiceStatus};
use serde::{Deserialize, Serialize};
use spec::Task;

/// `GET /v1/health`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Version of the server's binary.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, seconds since the epoch.
    pub started_at: f64,
    /// Where its state is.
    pub home: PathBuf,
    /// Process id of the proxy, once it is connected.
    pub proxy_pid: Option<u32>,
    /// Services it manages.
    pub services: usize,
}

/// `POST /v1/services`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpRequest {
    /// Name of the new service.
    pub name: String,
    /// What to serve; has a `service` section.
    pub task: Task,
    /// The YAML as the user wrote it, for the record.
    pub yaml: String,
    /// Absolute folder against which relative paths of the task are resolved.
    pub base_dir: PathBuf,
    /// Where the YAML is. Inside the workdir it does not count as content: editing it is no change of the app.
    #[serde(default)]
    pub yaml_path: Option<PathBuf>,
    /// Name of the user who asks, for the history.
    #[serde(default)]
    pub requested_by: Option<String>,
}

/// Answer to [`UpRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpResponse {
    /// Name of the service.
    pub name: String,
    /// Its endpoint, `host:port`.
    pub endpoint: String,
    /// Its first version.
    pub version: u32,
}

/// `POST /v1/services/NAME/versions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateRequest {
    /// What to serve from now on.
    pub task: Task,
    /// The YAML as the user wrote it, for the record.
    pub yaml: String,
    /// Absolute folder against which relative paths of the task are resolved.
    pub base_dir: PathBuf,
    /// Where the YAML is. Inside the workdir it does not count as content: editing it is no change of the app.
    #[serde(default)]
    pub yaml_path: Option<PathBuf>,
    /// Name of the user who asks, for the history.
    #[serde(default)]
    pub requested_by: Option<String>,
    /// How to get there, as a flag says; `None`: as the YAML says.
    #[serde(default)]
    pub mode: Option<UpdateMode>,
}

/// Answer to [`UpdateRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateResponse {
    /// Number of the new version.
    pub version: u32,
    /// Running replicas that already are what the new version asks for and take its number.
    pub reused_replicas: Vec<u32>,
}

/// `POST …/down` and `POST …/terminate`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DownRequest {
    /// Forget it even where something may be left behind.
    pub purge: bool,
    /// Do not wait for requests in flight.
    pub now: bool,
}

/// The request was accepted and will be carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// A sentence for the person.
    pub message: String,
}

/// `GET /v1/services`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceList {
    /// Those found, sorted by name.
    pub services: Vec<ServiceRecord>,
    /// Names asked for and not found.
    pub not_found: Vec<String>,
}

/// One service, as `sky serve status --json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its name.
    pub name: String,
    /// Grows with every change of the service.
    pub revision: u64,
    /// Newest accepted version.
    pub version: u32,
    /// The version it is being brought to, or is at.
    pub desired_version: u32,
    /// The versions that receive traffic, ascending.
    pub active_versions: Vec<u32>,
    /// Status.
    pub status: ServiceStatus,
    /// Why the status is what it is, where there is something to say.
    pub message: Option<String>,
    /// When a replica was ready for the first time, seconds since the epoch.
    pub uptime_since: Option<f64>,
    /// When it was created, seconds since the epoch.
    pub created_at: f64,
    /// `host:port`.
    pub endpoint: Option<String>,
    /// Whether the proxy has the newest routing table in force.
    #[serde(default)]
    pub endpoint_ready: bool,
    /// Why the proxy refuses the endpoint.
    #[serde(default)]
    pub endpoint_error: Option<String>,
    /// Replicas wanted now.
    pub target_replicas: u32,
    /// Replicas that are READY.
    pub ready_replicas: u32,
    /// Replicas that have not failed.
    pub total_replicas: u32,
    /// The AUTOSCALING_POLICY column.
    pub policy: String,
    /// The LOAD_BALANCING_POLICY column.
    pub load_balancing_policy: String,
    /// The REQUESTED_RESOURCES column.
    pub requested_resources: String,
    /// Whether the endpoint speaks TLS.
    pub tls_encrypted: bool,
    /// The update in progress, or the last one.
    pub rollout: Option<RolloutRecord>,
    /// Its replicas, by id.
    pub replicas: Vec<ReplicaRecord>,
}

/// One update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// The version it brings.
    pub version: u32,
    /// How.
    pub mode: UpdateMode,
    /// How far.
    pub state: RolloutState,
    /// One sentence: what is going on and why it waits, or how it ended.
    pub summary: String,
    /// Replicas of the new version that are available.
    pub available_replicas: u32,
    /// Replicas of the new version that are wanted.
    pub wanted_replicas: u32,
    /// When it was accepted, seconds since the epoch.
    pub started_at: f64,
    /// When it ended, seconds since the epoch.
    pub ended_at: Option<f64>,
    /// Whether the user has it stand still.
    #[serde(default)]
    pub paused: bool,
    /// Until when the version that it replaced stands by to be gone back to at once, seconds since the epoch.
    #[serde(default)]
    pub undo_until: Option<f64>,
    /// What it waits for, as data.
    pub waiting_on: Vec<serde_json::Value>,
}

/// How far an update is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Going on.
    InProgress,
    /// Every replica is of the new version.
    Succeeded,
    /// The new version failed; the last good version is desired again.
    Failed,
    /// The user called it off; the version before is desired again.
    Aborted,
    /// A later update took its place.
    Superseded,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// Its number.
    pub replica_id: u32,
    /// Its version.
    pub version: u32,
    /// Status.
    pub status: ReplicaStatus,
    /// Shown behind PROVISIONING in brackets.
    pub status_detail: Option<String>,
    /// Why it failed, or what it waits for.
    pub reason: Option<String>,
    /// `http://ip:port`.
    pub endpoint: Option<String>,
    /// When its launch was taken up, seconds since the epoch.
    pub launched_at: Option<f64>,
    /// When it last became ready, seconds since the epoch.
    pub ready_since: Option<f64>,
    /// The INFRA column.
    pub infra: Option<String>,
    /// The RESOURCES column.
    pub resources: Option<String>,
    /// The RESOURCES column in verbose mode.
    pub resources_full: Option<String>,
    /// Whether it is on a spot machine.
    pub is_spot: bool,
    /// Requests in flight at the proxy, if known.
    pub in_flight: Option<u32>,
}

/// An error of the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind.
    pub code: ErrorCode,
    /// What was wrong and what to do.
    pub message: String,
}

/// Kinds of [`ApiError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// No such service, replica or version.
    NotFound,
    /// The name is taken, or the state of the service does not allow it.
    Conflict,
    /// The request itself is wrong.
    Invalid,
    /// Something failed on this side.
    Internal,
}
