//! Every metric there is: name, type and meaning. `docs/metrics.md` has the same, which a test sees to.

/// A metric as Prometheus describes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    /// One sentence without quotes, backslashes and line breaks.
    pub(super) help: &'static str,
}

const fn metric(name: &'static str, kind: &'static str, help: &'static str) -> Metric {
    Metric { name, kind, help }
}

pub(super) const REQUESTS: Metric = metric(
    "skyserve_requests_total",
    "counter",
    "Requests that have ended, by the replica that had them last.",
);
pub(super) const DURATION: Metric = metric(
    "skyserve_request_duration_seconds",
    "histogram",
    "Time from the head of a request to the last byte of its answer.",
);
pub(super) const FIRST_BYTE: Metric = metric(
    "skyserve_time_to_first_byte_seconds",
    "histogram",
    "Time from the head of a request to the head of its answer, of requests that have ended.",
);
pub(super) const IN_FLIGHT: Metric = metric(
    "skyserve_requests_in_flight",
    "gauge",
    "Requests that a replica has and has not finished.",
);
pub(super) const RETRIES: Metric = metric(
    "skyserve_retries_total",
    "counter",
    "Attempts at this replica that failed and were followed by another, one on a kept connection that had been closed included.",
);
pub(super) const EJECTIONS: Metric = metric(
    "skyserve_ejections_total",
    "counter",
    "Times that a replica failed so often that it got no requests for a while.",
);
pub(super) const BYTES_IN: Metric = metric(
    "skyserve_request_body_bytes_total",
    "counter",
    "Bytes of request bodies, and from clients over upgraded connections, of requests that have ended.",
);
pub(super) const BYTES_OUT: Metric = metric(
    "skyserve_response_body_bytes_total",
    "counter",
    "Bytes of answer bodies, and to clients over upgraded connections, of requests that have ended.",
);
pub(super) const REPLICAS: Metric = metric(
    "skyserve_replicas",
    "gauge",
    "Replicas in the routing table in force.",
);
pub(super) const SHARE: Metric = metric(
    "skyserve_traffic_share_percent",
    "gauge",
    "Share of the requests that a version is to have, where the traffic is split.",
);
pub(super) const DIVERTED: Metric = metric(
    "skyserve_requests_diverted_total",
    "counter",
    "Requests that the other side of a split had to serve, because theirs had nobody to give them to.",
);
pub(super) const QUEUE_DEPTH: Metric = metric(
    "skyserve_queue_depth",
    "gauge",
    "Requests that wait for a replica.",
);
pub(super) const QUEUE_WAIT: Metric = metric(
    "skyserve_queue_wait_seconds",
    "histogram",
    "Time that requests have waited for a replica, of those that had to, in vain or not.",
);
pub(super) const REFUSED: Metric = metric(
    "skyserve_refused_total",
    "counter",
    "Requests and connections that the proxy refused itself, by reason.",
);
pub(super) const CONNECTIONS: Metric = metric(
    "skyserve_connections",
    "gauge",
    "Connections of clients that are open.",
);
pub(super) const CERTIFICATE_EXPIRY: Metric = metric(
    "skyserve_certificate_expiry_seconds",
    "gauge",
    "Seconds until the certificate of the endpoint ends, below 0 once it has; of endpoints with TLS.",
);
