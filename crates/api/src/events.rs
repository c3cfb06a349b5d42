//! What happened to a service, on the wire.

use serde::{Deserialize, Serialize};

/// `GET /v1/services/NAME/events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventList {
    /// In order. Empty when there is none after the one asked for; ask again until then for all of them.
    pub events: Vec<EventRecord>,
    /// Whether the service is gone: no more events will come.
    #[serde(default)]
    pub gone: bool,
}

/// One thing that happened to a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Number, growing.
    pub sequence: i64,
    /// When, seconds since the epoch.
    pub at: f64,
    /// The replica concerned.
    pub replica_id: Option<u32>,
    /// The version concerned.
    pub version: Option<u32>,
    /// Short stable name of the kind of event.
    pub kind: String,
    /// A sentence.
    pub message: String,
}
