//! `service.load_balancer` as the request path uses it: seconds have become durations, and nonsense has become harmless.

use std::time::Duration;

use spec::{LoadBalancer, SessionAffinity};

/// Longest timeout, in seconds: longer ones are as good as none.
const MAX_TIMEOUT_SECONDS: f64 = 366.0 * 24.0 * 3600.0;

/// See [`LoadBalancer`] for the meaning of each.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) stream_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) head_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_request_body_bytes: u64,
    pub(crate) min_upload_bytes_per_second: u64,
    pub(crate) max_connections: u32,
    pub(crate) max_connections_per_client: Option<u32>,
    pub(crate) max_requests_per_replica: u32,
    pub(crate) queue_requests: u32,
    pub(crate) queue_timeout: Duration,
    pub(crate) retry_budget_percent: f64,
    pub(crate) slow_start_seconds: f64,
    pub(crate) session_affinity: SessionAffinity,
    pub(crate) access_log: bool,
}

impl Settings {
    pub(crate) fn of(load_balancer: &LoadBalancer) -> Self {
        Self {
            stream_timeout: duration(load_balancer.stream_timeout_seconds),
            connect_timeout: duration(load_balancer.connect_timeout_seconds),
            head_timeout: duration(load_balancer.head_timeout_seconds),
            idle_timeout: duration(load_balancer.idle_timeout_seconds),
            max_request_body_bytes: load_balancer.max_request_body_bytes.unwrap_or(u64::MAX),
            min_upload_bytes_per_second: load_balancer.min_upload_bytes_per_second,
            max_connections: load_balancer.max_connections,
            max_connections_per_client: load_balancer.max_connections_per_client,
            max_requests_per_replica: load_balancer.max_requests_per_replica.unwrap_or(u32::MAX),
            queue_requests: load_balancer.queue.max_requests,
            queue_timeout: duration(load_balancer.queue.timeout_seconds),
            retry_budget_percent: load_balancer.retry_budget_percent,
            slow_start_seconds: load_balancer
                .slow_start_seconds
                .clamp(0.0, MAX_TIMEOUT_SECONDS),
            session_affinity: load_balancer.session_affinity.clone(),
            access_log: load_balancer.access_log,
        }
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.min(MAX_TIMEOUT_SECONDS)).unwrap_or(Duration::ZERO)
}
