//! Every setting takes effect by a new table, on connections that are open, without a restart of anything.

use std::time::Instant;

use plan::routing::{ApiKeyHash, RoutingTable};
use plan::time::Timestamp;
use spec::LoadBalancingPolicy;

use crate::support::client::Client;
use crate::support::controller::Controller;
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::settings::newer;
use crate::support::{eventually, free_address, table};

/// The controller, the last table, and one connection of a client that stays open.
struct Stage {
    controller: Controller,
    table: RoutingTable,
    client: Client,
}

impl Stage {
    fn set(replicas: &[&Replica]) -> (Proxy, Self) {
        let addresses = replicas.iter().map(|replica| replica.address);
        Self::with(table(free_address(), 1, addresses))
    }

    fn with(table: RoutingTable) -> (Proxy, Self) {
        let (proxy, controller, endpoint) = Proxy::serving_table(table.clone());
        let stage = Self {
            controller,
            table,
            client: Client::connect(endpoint),
        };
        (proxy, stage)
    }

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
fn what_concerns_requests_takes_effect_by_a_new_table() {
    let replicas = ["a", "b", "c"].map(replica);
    let (proxy, mut stage) = Stage::set(&replicas.each_ref());
    let processes = proxy.processes();
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
    let has = |target: &str| {
        let lines = proxy.accesses(1);
        lines.iter().any(|line| line["path"] == target)
    };
    eventually("the line", || has("/seen"));
    assert!(!has("/unseen"));
    assert_eq!(proxy.processes(), processes, "nothing was started anew");
}

#[test]
fn what_concerns_waiting_and_connections_takes_effect_by_a_new_table() {
    let replica = replica("r");
    let (proxy, mut stage) = Stage::set(&[&replica]);
    let (processes, endpoint) = (proxy.processes(), stage.table.listen);
    assert_eq!(stage.status("/", "", ""), 200);

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

    stage.apply(|table| table.load_balancer.head_timeout_seconds = 0.2);
    stage.client = Client::connect(endpoint);
    stage.client.send("GET /");
    assert_eq!(stage.client.answer().status, 408);

    stage.apply(|table| table.load_balancer.idle_timeout_seconds = 0.2);
    stage.client = Client::connect(endpoint);
    assert!(stage.client.is_ended());

    assert_eq!(proxy.processes(), processes, "nothing was started anew");
}

#[test]
fn what_concerns_failures_takes_effect_by_a_new_table() {
    // They read each request and drop it, so that each is sent again if that is allowed.
    let dropping = [(); 2].map(|()| Replica::start(|_| Then::Close));
    let (_proxy, mut stage) = Stage::set(&dropping.each_ref());
    let asked = |stage: &mut Stage, percent: f64| {
        stage.apply(|table| table.load_balancer.retry_budget_percent = percent);
        let before: usize = dropping.iter().map(Replica::requests).sum();
        for _ in 0..100 {
            assert_eq!(stage.client.get("/").status, 502);
        }
        dropping.iter().map(Replica::requests).sum::<usize>() - before
    };
    assert_eq!(asked(&mut stage, 100.0), 200);
    let begun = Instant::now();
    let few = asked(&mut stage, 0.0);
    // Ten a second may always be, and a second's worth at the start.
    let most = 112.0 + 10.0 * begun.elapsed().as_secs_f64();
    assert!((few as f64) <= most, "{few}, more than {most}");
    assert_eq!(asked(&mut stage, 100.0), 200);
}

#[test]
fn a_new_replica_comes_to_its_share_slowly_and_at_once_when_that_is_switched_off() {
    let (old, new) = (replica("old"), replica("new"));
    let mut first = table(free_address(), 1, [old.address, new.address]);
    first.policy = LoadBalancingPolicy::LeastLoad;
    first.load_balancer.slow_start_seconds = 1000.0;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    first.upstreams[1].ready_since = Some(Timestamp(now.as_micros().try_into().unwrap()));
    let (_proxy, mut stage) = Stage::with(first);
    for _ in 0..200 {
        stage.ask("/", "", "");
    }
    let slowly = new.requests();
    assert!(slowly < 70, "{slowly} of 200");
    stage.apply(|table| table.load_balancer.slow_start_seconds = 0.0);
    for _ in 0..200 {
        stage.ask("/", "", "");
    }
    let at_once = new.requests() - slowly;
    assert!(
        at_once > 70 && at_once > 2 * slowly,
        "{at_once} of 200 after {slowly}"
    );
}
