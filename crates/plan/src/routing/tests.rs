use serde_json::{Value, json};

use super::*;

fn table() -> RoutingTable {
    RoutingTable {
        service: "web".to_owned(),
        generation: 7,
        listen: ([0, 0, 0, 0], 30001).into(),
        policy: LoadBalancingPolicy::LeastLoad,
        load_balancer: LoadBalancer::default(),
        tls: None,
        api_keys: None,
        split: None,
        upstreams: vec![Upstream {
            replica_id: 3,
            version: 2,
            address: ([10, 0, 0, 3], 8081).into(),
            weight: 1.0,
            ready_since: None,
        }],
    }
}

fn service() -> String {
    "web".to_owned()
}

/// One line, this JSON, and the same value again.
fn is_written<T>(value: &T, expected: Value)
where
    T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug,
{
    let line = serde_json::to_string(value).unwrap();
    assert!(!line.contains('\n'));
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
    assert_eq!(&serde_json::from_str::<T>(&line).unwrap(), value);
}

#[test]
fn commands_on_the_wire() {
    is_written(
        &ProxyCommand::Apply { table: table() },
        json!({"command": "apply", "table": {
            "service": "web", "generation": 7, "listen": "0.0.0.0:30001", "policy": "least_load",
            "load_balancer": {
                "stream_timeout_seconds": 120.0, "connect_timeout_seconds": 4.0, "head_timeout_seconds": 30.0,
                "idle_timeout_seconds": 120.0, "max_request_body_bytes": null, "min_upload_bytes_per_second": 1,
                "max_connections": 100_000, "max_connections_per_client": null, "max_requests_per_replica": null,
                "queue": {"max_requests": 1000, "timeout_seconds": 60.0}, "retry_budget_percent": 20.0,
                "slow_start_seconds": 10.0, "replica_protocol": "auto",
                "session_affinity": {"header": "x-session-id"}, "access_log": true,
            },
            "tls": null, "api_keys": null, "upstreams": [
                {"replica_id": 3, "version": 2, "address": "10.0.0.3:8081", "weight": 1.0, "ready_since": null},
            ],
        }}),
    );
    is_written(
        &ProxyCommand::Withdraw { service: service() },
        json!({"command": "withdraw", "service": "web"}),
    );
    let words = vec!["/bin/sky".to_owned(), "proxy".to_owned()];
    is_written(
        &ProxyCommand::ReplaceWorker {
            words: words.clone(),
        },
        json!({"command": "replace_worker", "words": ["/bin/sky", "proxy"]}),
    );
    is_written(
        &ProxyCommand::RenewHolder { words },
        json!({"command": "renew_holder", "words": ["/bin/sky", "proxy"]}),
    );
}

#[test]
fn reports_on_the_wire() {
    is_written(
        &ProxyReport::Hello {
            pid: 42,
            tables: vec![(service(), 7)],
        },
        json!({"report": "hello", "pid": 42, "tables": [["web", 7]]}),
    );
    is_written(
        &ProxyReport::Acknowledged {
            service: service(),
            generation: 7,
            in_flight: vec![(3, 1)],
        },
        json!({"report": "acknowledged", "service": "web", "generation": 7, "in_flight": [[3, 1]]}),
    );
    is_written(
        &ProxyReport::Refused {
            service: service(),
            generation: 7,
            reason: "the port is taken".to_owned(),
        },
        json!({
            "report": "refused", "service": "web", "generation": 7, "reason": "the port is taken",
        }),
    );
    is_written(
        &ProxyReport::Withdrawn { service: service() },
        json!({"report": "withdrawn", "service": "web"}),
    );
    is_written(
        &ProxyReport::Traffic {
            service: service(),
            generation: 7,
            in_flight: vec![],
            arrivals: vec![Arrivals {
                at: Timestamp(1_700_000_000_000_001),
                count: 2,
            }],
        },
        json!({
            "report": "traffic", "service": "web", "generation": 7, "in_flight": [],
            "arrivals": [{"at": 1_700_000_000_000_001_i64, "count": 2}],
        }),
    );
    is_written(
        &ProxyReport::UpstreamFailed {
            service: service(),
            replica_id: 3,
            error: "refused".to_owned(),
        },
        json!({"report": "upstream_failed", "service": "web", "replica_id": 3, "error": "refused"}),
    );
}
