//! `service.load_balancer` in canonical form: what differs from the default.

use serde_json::{Value as Json, json};

use super::Object;
use crate::load_balancer::{LoadBalancer, Queue, SessionAffinity};

impl LoadBalancer {
    pub(super) fn canonical(&self) -> Json {
        let default = Self::default();
        let mut object = Object::new();
        object.put_number(
            "stream_timeout_seconds",
            self.stream_timeout_seconds,
            default.stream_timeout_seconds,
        );
        object.put_number(
            "connect_timeout_seconds",
            self.connect_timeout_seconds,
            default.connect_timeout_seconds,
        );
        object.put_number(
            "head_timeout_seconds",
            self.head_timeout_seconds,
            default.head_timeout_seconds,
        );
        object.put_number(
            "idle_timeout_seconds",
            self.idle_timeout_seconds,
            default.idle_timeout_seconds,
        );
        object.put_some("max_request_body_bytes", self.max_request_body_bytes);
        if self.min_upload_bytes_per_second != default.min_upload_bytes_per_second {
            object.put(
                "min_upload_bytes_per_second",
                self.min_upload_bytes_per_second,
            );
        }
        if self.max_connections != default.max_connections {
            object.put("max_connections", self.max_connections);
        }
        object.put_some(
            "max_connections_per_client",
            self.max_connections_per_client,
        );
        object.put_some("max_requests_per_replica", self.max_requests_per_replica);
        let queue = self.queue.canonical();
        if queue != json!({}) {
            object.put("queue", queue);
        }
        object.put_number(
            "retry_budget_percent",
            self.retry_budget_percent,
            default.retry_budget_percent,
        );
        object.put_number(
            "slow_start_seconds",
            self.slow_start_seconds,
            default.slow_start_seconds,
        );
        if self.replica_protocol != default.replica_protocol {
            object.put("replica_protocol", self.replica_protocol.name());
        }
        if self.session_affinity != default.session_affinity {
            object.put("session_affinity", self.session_affinity.canonical());
        }
        if self.access_log != default.access_log {
            object.put("access_log", self.access_log);
        }
        Json::Object(object.0)
    }
}

impl Queue {
    fn canonical(&self) -> Json {
        let default = Self::default();
        let mut object = Object::new();
        if self.max_requests != default.max_requests {
            object.put("max_requests", self.max_requests);
        }
        object.put_number(
            "timeout_seconds",
            self.timeout_seconds,
            default.timeout_seconds,
        );
        Json::Object(object.0)
    }
}

impl SessionAffinity {
    fn canonical(&self) -> Json {
        match self {
            Self::Header(name) => json!({ "header": name }),
            Self::Cookie(name) => json!({ "cookie": name }),
        }
    }
}
