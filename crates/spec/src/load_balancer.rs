//! `LoadBalancer`: the meaning of `service.load_balancer`, complete: every default filled in.
//!
//! `stream_timeout_seconds` is SkyServe's; everything else is ours. All of it takes effect on `sky serve update`
//! without a restart of anything, and none of it makes a new replica: it concerns the endpoint, not the app.

use serde::{Deserialize, Serialize};

use crate::service::DEFAULT_STREAM_TIMEOUT_SECONDS;

/// `service.load_balancer`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// Seconds of silence from a replica after which a request is given up. Default 120, above 0.
    pub stream_timeout_seconds: f64,
    /// Seconds that a connection to a replica may take. Default 4, above 0.
    pub connect_timeout_seconds: f64,
    /// Seconds that a client may take for the head of a request, from its first byte. Default 30, above 0.
    pub head_timeout_seconds: f64,
    /// Seconds that a client may leave its connection unused. Default 120, above 0.
    pub idle_timeout_seconds: f64,
    /// Bytes that the body of a request may have. `None`, the default, is no limit;
    /// at least 1.
    pub max_request_body_bytes: Option<u64>,
    /// Bytes per second that a client must send of a body that is waited for, on average over 30 seconds; 0 is no
    /// limit. Default 1: a body that stands still for 30 seconds is given up.
    pub min_upload_bytes_per_second: u64,
    /// Connections that clients may hold at the endpoint. Default 100,000, at least 1.
    pub max_connections: u32,
    /// Connections that one client address may hold. `None`, the default, is no limit; at least 1.
    pub max_connections_per_client: Option<u32>,
    /// Requests in flight that one replica is given; more wait in the queue. `None`, the default, is no limit;
    /// at least 1.
    pub max_requests_per_replica: Option<u32>,
    /// Requests that wait for a replica.
    pub queue: Queue,
    /// Share of requests, in percent, that may be sent a second time because a replica failed; at least 10 per second
    /// may. Default 20, 0 to 100.
    pub retry_budget_percent: f64,
    /// Seconds over which a replica that became ready comes to its full share of requests; 0 is at once. Default 10.
    pub slow_start_seconds: f64,
    /// What the replicas speak.
    pub replica_protocol: ReplicaProtocol,
    /// By what `session_affinity` knows a session.
    pub session_affinity: SessionAffinity,
    /// Whether each request becomes a line of the access log. Default true.
    pub access_log: bool,
}

/// `service.load_balancer.queue`: requests that find no replica wait here, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// How many may wait; 0 means that none waits. Default 1,000.
    pub max_requests: u32,
    /// How long each may wait, in seconds. Default 60, above 0.
    pub timeout_seconds: f64,
}

/// `service.load_balancer.replica_protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaProtocol {
    /// HTTP/2 without TLS for gRPC requests, HTTP/1.1 for all others.
    #[default]
    Auto,
    /// HTTP/1.1 always.
    Http1,
    /// HTTP/2 without TLS always (RFC 9113 section 3.3, prior knowledge).
    H2c,
}

/// `service.load_balancer.session_affinity`: requests of one session go to one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionAffinity {
    /// The value of this request header, in lower case.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
}

impl ReplicaProtocol {
    /// Every protocol.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Http1, Self::H2c];

    /// How the YAML spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Http1 => "http1",
            Self::H2c => "h2c",
        }
    }
}

impl Default for LoadBalancer {
    fn default() -> Self {
        Self {
            stream_timeout_seconds: DEFAULT_STREAM_TIMEOUT_SECONDS,
            connect_timeout_seconds: 4.0,
            head_timeout_seconds: 30.0,
            idle_timeout_seconds: 120.0,
            max_request_body_bytes: None,
            min_upload_bytes_per_second: 1,
            max_connections: 100_000,
            max_connections_per_client: None,
            max_requests_per_replica: None,
            queue: Queue::default(),
            retry_budget_percent: 20.0,
            slow_start_seconds: 10.0,
            replica_protocol: ReplicaProtocol::default(),
            session_affinity: SessionAffinity::default(),
            access_log: true,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            max_requests: 1000,
            timeout_seconds: 60.0,
        }
    }
}

impl Default for SessionAffinity {
    fn default() -> Self {
        Self::Header("x-session-id".to_owned())
    }
}
