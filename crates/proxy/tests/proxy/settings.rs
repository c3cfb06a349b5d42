//! Every setting takes effect by a new table, on connections that are open, without a restart of anything.

use plan::routing::{ApiKeyHash, RoutingTable};
use spec::LoadBalancingPolicy;

use crate::support::client::Client;
use crate::support::controller::Controller;
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::settings::newer;
use crate::support::{free_address, table};

/// The controller, the last table, and one connection of a client that stays open.
struct Stage {
    controller: Controller,
    table: RoutingTable,
    client: Client,
}

impl Stage {
    fn apply(&mut self, change: impl FnOnce(&mut RoutingTable)) {
        self.table = newer(&self.table, change);
        self.controller.acknowledged(self.table.clone());
    }

    /// Status and text of the answer to a request with this target, these headers and this body.
    fn ask(&mut self, target: &str, headers: &str, body: &str) -> (u16, String) {
        self.client.send(&format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        ));
        let answer = self.client.answer();
        if answer.head.get("connection") == Some("close") {
            self.client = Client::connect(self.table.listen);
        }
        (answer.status, answer.text())
    }

    fn status(&mut self, target: &str, headers: &str, body: &str) -> u16 {
        self.ask(target, headers, body).0
    }
}

/// Answers with its name, but not to `/silent`.
fn replica(name: &'static str) -> Replica {
    Replica::start(move |exchange| {
        exchange.body();
        if exchange.target() == "/silent" {
            exchange.wait_for_end();
            return Then::Close;
        }
        exchange.answer(name)
    })
}

#[test]
fn every_setting_takes_effect_by_a_new_table() {
    let replicas = ["a", "b", "c"].map(replica);
    let addresses = replicas.each_ref().map(|replica| replica.address);
    let first = table(free_address(), 1, addresses);
    let (proxy, controller, endpoint) = Proxy::serving_table(first.clone());
    let worker = proxy.processes();
    let mut stage = Stage {
        controller,
        table: first,
        client: Client::connect(endpoint),
    };
    assert_eq!(stage.status("/", "", "hello"), 200);

    stage.apply(|table| table.load_balancer.max_request_body_bytes = Some(4));
    assert_eq!(stage.status("/", "", "hello"), 413);
    assert_eq!(stage.status("/", "", "four"), 200);
    stage.apply(|table| table.load_balancer.max_request_body_bytes = None);
    assert_eq!(stage.status("/", "", "hello"), 200);

    let hash = blake3::hash(b"key").to_hex().to_string();
    stage.apply(|table| table.api_keys = Some(vec![ApiKeyHash(hash)]));
    assert_eq!(stage.status("/", "", ""), 401);
    assert_eq!(stage.status("/", "Authorization: Bearer key\r\n", ""), 200);
    stage.apply(|table| table.api_keys = None);

    stage.apply(|table| table.load_balancer.stream_timeout_seconds = 0.2);
    let (status, text) = stage.ask("/silent", "", "");
    assert_eq!(status, 504);
    assert!(text.contains("within 0.2 seconds"), "{text}");

    stage.apply(|table| table.policy = LoadBalancingPolicy::SessionAffinity);
    let homes: Vec<_> = (0..12)
        .map(|_| stage.ask("/", "X-Session-Id: s\r\n", "").1)
        .collect();
    assert!(homes.iter().all(|home| *home == homes[0]), "{homes:?}");
    stage.apply(|table| table.policy = LoadBalancingPolicy::RoundRobin);
    let mut homes = [(); 3].map(|()| stage.ask("/", "X-Session-Id: s\r\n", "").1);
    homes.sort();
    assert_eq!(homes, ["a", "b", "c"]);

    stage.apply(|table| table.load_balancer.access_log = false);
    assert_eq!(stage.status("/unseen", "", ""), 200);
    stage.apply(|table| table.load_balancer.access_log = true);
    assert_eq!(stage.status("/seen", "", ""), 200);

    stage.apply(|table| {
        table.load_balancer.queue.max_requests = 1;
        table.load_balancer.queue.timeout_seconds = 0.1;
        table.upstreams.clear();
    });
    let (status, text) = stage.ask("/", "", "");
    assert_eq!(status, 503);
    assert!(text.contains("within 0.1 seconds"), "{text}");
    stage.apply(|table| table.load_balancer.queue.max_requests = 0);
    let (status, text) = stage.ask("/", "", "");
    assert_eq!(status, 503);
    assert!(text.contains("No ready replicas"), "{text}");

    stage.apply(|table| table.load_balancer.max_connections = 1);
    let mut second = Client::connect(endpoint);
    assert_eq!(second.answer().status, 503);
    stage.apply(|table| table.load_balancer.max_connections = 10);
    assert_eq!(Client::connect(endpoint).get("/").status, 503);

    stage.apply(|table| table.load_balancer.idle_timeout_seconds = 0.2);
    stage.client = Client::connect(endpoint);
    assert!(stage.client.is_ended());

    assert_eq!(proxy.processes(), worker, "nothing was started anew");
    let lines = proxy.accesses(20);
    let has = |target: &str| lines.iter().any(|line| line["path"] == target);
    assert!(has("/seen") && !has("/unseen"), "{lines:?}");
}
