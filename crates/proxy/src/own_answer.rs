//! Answers of the proxy itself, whatever the client speaks: what happened, and what to do about it.

use std::time::Duration;

use http1::Refusal;

use crate::log::Outcome;

/// When a client that found no ready replica may ask again, in seconds.
pub(crate) const RETRY_AFTER_SECONDS: u16 = 5;

/// An answer of the proxy itself: JSON with a `detail`, as SkyServe's load balancer gives, or to gRPC a status of it.
#[derive(Debug)]
pub(crate) struct OwnAnswer {
    pub(crate) status: u16,
    /// For the person at the other end; nothing of what was sent is in it.
    pub(crate) detail: String,
    pub(crate) outcome: Outcome,
}

impl OwnAnswer {
    fn new(status: u16, outcome: Outcome, detail: String) -> Self {
        Self {
            status,
            detail,
            outcome,
        }
    }

    pub(crate) fn no_replica(service: &str) -> Self {
        let detail = format!(
            "No ready replicas. Use \"sky serve status {service}\" to check the replica status."
        );
        Self::new(503, Outcome::NoReplica, detail)
    }

    pub(crate) fn queue_full(limit: u32) -> Self {
        let detail = format!(
            "No replica is free, and {limit} requests wait already (load_balancer.queue.max_requests)."
        );
        Self::new(503, Outcome::Shed, detail)
    }

    pub(crate) fn all_busy(limit: u32) -> Self {
        let detail = format!(
            "Every replica has {limit} requests, as many as it may (load_balancer.max_requests_per_replica), and none \
             may wait (load_balancer.queue.max_requests)."
        );
        Self::new(503, Outcome::Shed, detail)
    }

    pub(crate) fn waited_in_vain(limit: Duration, service: &str) -> Self {
        let detail = format!(
            "No replica was free within {} seconds (load_balancer.queue.timeout_seconds). Use \"sky serve status \
             {service}\" to check the replica status.",
            limit.as_secs_f64()
        );
        Self::new(503, Outcome::Shed, detail)
    }

    pub(crate) fn closed() -> Self {
        let detail = "The endpoint was closed or restarted while the request waited. Ask again.";
        Self::new(503, Outcome::Shed, detail.to_owned())
    }

    pub(crate) fn unauthorised() -> Self {
        let detail = "An API key is needed: \"Authorization: Bearer KEY\".".to_owned();
        Self::new(401, Outcome::Rejected, detail)
    }

    pub(crate) fn replica_failed(error: &str, repeatable: bool) -> Self {
        let repeated = if repeatable {
            "No other replica could answer."
        } else {
            "The request may have reached it, so it was not sent again."
        };
        let detail = format!("The replica failed before it answered ({error}). {repeated}");
        Self::new(502, Outcome::ReplicaFailed, detail)
    }

    pub(crate) fn silent(limit: Duration) -> Self {
        let detail = format!(
            "The replica did not answer within {} seconds (load_balancer.stream_timeout_seconds).",
            limit.as_secs_f64()
        );
        Self::new(504, Outcome::Silent, detail)
    }

    pub(crate) fn incomplete_request() -> Self {
        let detail = "The body of the request ended before its announced length.".to_owned();
        Self::new(400, Outcome::ClientGone, detail)
    }

    pub(crate) fn slow_head(limit: Duration) -> Self {
        let detail = format!(
            "The head of the request did not come within {} seconds (load_balancer.head_timeout_seconds).",
            limit.as_secs_f64()
        );
        Self::new(408, Outcome::ClientSlow, detail)
    }

    pub(crate) fn slow_body(bytes_per_second: u64) -> Self {
        let detail = format!(
            "The body of the request came at less than {bytes_per_second} bytes per second \
             (load_balancer.min_upload_bytes_per_second)."
        );
        Self::new(408, Outcome::ClientSlow, detail)
    }

    pub(crate) fn too_large(limit: u64) -> Self {
        let detail = format!(
            "The body of the request has more than {limit} bytes (load_balancer.max_request_body_bytes)."
        );
        Self::new(413, Outcome::Rejected, detail)
    }

    pub(crate) fn refused(refusal: Refusal) -> Self {
        let detail = format!("Bad request: {refusal}.");
        Self::new(refusal.status(), Outcome::Rejected, detail)
    }

    /// Every replica sent the request back unread (RFC 9113 section 8.7).
    pub(crate) fn refused_by_all() -> Self {
        let detail = "Every replica refused the request without looking at it.".to_owned();
        Self::new(503, Outcome::ReplicaFailed, detail)
    }

    /// The request is none that a replica shall see.
    pub(crate) fn rejected(status: u16, detail: &str) -> Self {
        Self::new(status, Outcome::Rejected, format!("Bad request: {detail}."))
    }

    /// The body: JSON.
    pub(crate) fn json(&self) -> String {
        serde_json::json!({ "detail": self.detail }).to_string()
    }
}
