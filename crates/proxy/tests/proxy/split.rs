//! A share of the traffic for one version: exact, by wish, and for whole sessions.

mod figures;

use std::net::SocketAddr;
use std::thread;

use plan::routing::{RoutingTable, Split};
use spec::{CanaryMatch, LoadBalancingPolicy, SessionAffinity};

use crate::support::client::{Client, request};
use crate::support::http2::{Http2Client, Sent, read, runtime};
use crate::support::process::Proxy;
use crate::support::replica::Replica;
use crate::support::settings::newer;
use crate::support::{free_address, h2c_table, numbered_table};

/// Replicas that answer with their version: 1 to `old` of version 1, the others of version 2.
struct Fleet {
    replicas: Vec<Replica>,
    old: usize,
}

impl Fleet {
    fn start(old: usize, new: usize) -> Self {
        let named = |index| Replica::named(if index < old { "old" } else { "new" });
        Self {
            replicas: (0..old + new).map(named).collect(),
            old,
        }
    }

    fn table(&self, weight_percent: f64) -> RoutingTable {
        let addresses = self.replicas.iter().map(|replica| replica.address);
        split_table(
            numbered_table(free_address(), 1, (1..).zip(addresses)),
            self.old,
            weight_percent,
        )
    }

    fn requests(&self) -> (usize, usize) {
        let sum = |replicas: &[Replica]| replicas.iter().map(Replica::requests).sum();
        let (old, new) = self.replicas.split_at(self.old);
        (sum(old), sum(new))
    }
}

/// The table with its upstreams from the `old`-th on of version 2, which has a share.
fn split_table(mut table: RoutingTable, old: usize, weight_percent: f64) -> RoutingTable {
    for upstream in table.upstreams.iter_mut().skip(old) {
        upstream.version = 2;
    }
    table.split = Some(Split {
        version: 2,
        weight_percent,
        header: None,
        cookie: None,
    });
    table
}

fn wish(name: &str, value: &str) -> Option<CanaryMatch> {
    let (name, value) = (name.to_owned(), value.to_owned());
    Some(CanaryMatch { name, value })
}

/// Requests on eight connections at once; how many the new version answered.
fn load(endpoint: SocketAddr, requests: usize) -> usize {
    const CLIENTS: usize = 8;
    let client = move || {
        let mut client = Client::connect(endpoint);
        let answers = (0..requests / CLIENTS).map(|_| client.get("/").text());
        answers.filter(|text| text == "new").count()
    };
    let clients: Vec<_> = (0..CLIENTS).map(|_| thread::spawn(client)).collect();
    clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum()
}

/// Each thread of the proxy is exact to one or two requests.
fn assert_exact(what: &str, count: usize, of: usize, percent: f64) {
    let exact = of as f64 * percent / 100.0;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    println!("{what}: {count} of {of} at {percent} %, exactly {exact}");
    let off = (count as f64 - exact).abs();
    assert!(off <= 2.0 * threads as f64, "{what}: {count} of {of}");
}

#[test]
fn shares_are_exact() {
    let fleet = Fleet::start(3, 2);
    let mut table = fleet.table(5.0);
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(table.clone());
    for (policy, percent) in [
        (LoadBalancingPolicy::RoundRobin, 5.0),
        (LoadBalancingPolicy::LeastLoad, 5.0),
        (LoadBalancingPolicy::LeastLoad, 50.0),
        (LoadBalancingPolicy::SessionAffinity, 5.0),
    ] {
        table = newer(&table, |table| {
            table.policy = policy;
            table.split.as_mut().unwrap().weight_percent = percent;
        });
        controller.acknowledged(table.clone());
        let before = fleet.requests();
        let count = load(endpoint, 10_000);
        let (old, new) = fleet.requests();
        assert_eq!((old - before.0, new - before.1), (10_000 - count, count));
        assert_exact(&format!("{policy:?}"), count, 10_000, percent);
    }
}

#[test]
fn a_share_is_spread_over_its_replicas() {
    let fleet = Fleet::start(2, 3);
    let (_proxy, _controller, endpoint) = Proxy::serving_table(fleet.table(60.0));
    let count = load(endpoint, 1_000);
    assert_exact("spread", count, 1_000, 60.0);
    let requests: Vec<_> = fleet.replicas.iter().map(Replica::requests).collect();
    println!("requests per replica: {requests:?}");
    assert!(
        requests.iter().all(|&requests| requests > 150),
        "{requests:?}"
    );
}

#[test]
fn shares_are_exact_over_http2() {
    const CONNECTIONS: usize = 4;
    let fleet = Fleet::start(2, 1);
    for percent in [5.0, 50.0] {
        let (_proxy, _controller, endpoint) = Proxy::serving_table(fleet.table(percent));
        let before = fleet.requests().1;
        runtime().block_on(async {
            let clients = (0..CONNECTIONS).map(|_| async move {
                let client = Http2Client::connect(endpoint).await;
                for _ in 0..10_000 / CONNECTIONS {
                    client.get_text("/").await;
                }
            });
            let clients: Vec<_> = clients.map(tokio::spawn).collect();
            for client in clients {
                client.await.unwrap();
            }
        });
        assert_exact("HTTP/2", fleet.requests().1 - before, 10_000, percent);
    }
}

#[test]
fn a_header_or_a_cookie_reaches_the_new_version_always() {
    let fleet = Fleet::start(2, 1);
    let mut table = fleet.table(0.0);
    let split = table.split.as_mut().unwrap();
    split.header = wish("x-version", "next");
    split.cookie = wish("canary", "yes");
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    let wishes = [
        "X-Version: next\r\n",
        "x-vErsion: other\r\nX-VERSION: next\r\n",
        "Cookie: canary=yes\r\n",
        "Cookie: a=b; canary=yes; c=d\r\n",
        "Cookie: a=b\r\nCookie: canary=yes\r\n",
    ];
    let none = [
        "",
        "X-Version: Next\r\n",
        "X-Version: next2\r\n",
        "X-Versions: next\r\n",
        "Cookie: canary=no; xcanary=yes\r\n",
        "Cookie: b=canary=yes\r\n",
        "canary: yes\r\n",
    ];
    for _ in 0..10 {
        for (headers, answer) in wishes
            .map(|wish| (wish, "new"))
            .into_iter()
            .chain(none.map(|wish| (wish, "old")))
        {
            let text = request(endpoint, "GET", "/", headers).text();
            assert_eq!(text, answer, "{headers:?}");
        }
    }
    runtime().block_on(async {
        let client = Http2Client::connect(endpoint).await;
        for (name, value, answer) in [
            ("x-version", "next", "new"),
            ("cookie", "a=b; canary=yes", "new"),
            ("x-version", "later", "old"),
            ("cookie", "canary=yess", "old"),
        ] {
            let request = client.request("GET", "/").header(name, value);
            let response = client.send(request.body(Sent::empty()).unwrap()).await;
            let text = read(response.unwrap().into_body()).await.unwrap().text;
            assert_eq!(text, answer, "{name}: {value}");
        }
    });
}

#[test]
fn replicas_that_speak_http2_have_their_share_and_their_wishes() {
    let runtime = runtime();
    let (old, new) = runtime.block_on(async {
        use crate::support::http2::Http2Replica;
        (
            Http2Replica::named("old").await,
            Http2Replica::named("new").await,
        )
    });
    let mut table = split_table(h2c_table(&[old.address, new.address]), 1, 20.0);
    table.split.as_mut().unwrap().header = wish("x-version", "next");
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    let count = load(endpoint, 1_000);
    assert_exact("HTTP/2 replicas", count, 1_000, 20.0);
    for _ in 0..20 {
        let answer = request(endpoint, "GET", "/", "X-Version: next\r\n");
        assert_eq!(answer.text(), "new");
    }
}

/// Which version each of 400 sessions goes to.
fn versions(endpoint: SocketAddr) -> Vec<String> {
    let mut client = Client::connect(endpoint);
    let version = |session: u32| {
        client.send(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nCookie: sid=session-{session}\r\n\r\n"
        ));
        client.answer().text()
    };
    (0..400).map(version).collect()
}

#[test]
fn a_session_stays_with_its_version() {
    let fleet = Fleet::start(3, 2);
    let mut table = fleet.table(20.0);
    table.policy = LoadBalancingPolicy::SessionAffinity;
    table.load_balancer.session_affinity = SessionAffinity::Cookie("sid".to_owned());
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(table.clone());
    let is_new = |version: &String| version == "new";
    let first = versions(endpoint);
    let count = first.iter().filter(|version| is_new(version)).count();
    println!("{count} of 400 sessions at 20 %, about 80");
    assert!((50..115).contains(&count), "{count}");
    assert_eq!(versions(endpoint), first);
    // Other replicas, the same shares.
    table = newer(&table, |table| {
        table.upstreams.remove(1);
    });
    controller.acknowledged(table.clone());
    assert_eq!(versions(endpoint), first);
    // A larger share takes sessions over and gives none back.
    table = newer(&table, |table| {
        table.split.as_mut().unwrap().weight_percent = 60.0;
    });
    controller.acknowledged(table);
    let later = versions(endpoint);
    let count = later.iter().filter(|version| is_new(version)).count();
    assert!((200..280).contains(&count), "{count}");
    for (was, is) in first.iter().zip(&later) {
        assert!(!is_new(was) || is_new(is));
    }
}

#[test]
fn a_conversation_stays_with_its_version() {
    let fleet = Fleet::start(2, 2);
    let mut table = fleet.table(50.0);
    table.policy = LoadBalancingPolicy::PrefixAffinity;
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    let system = "You are kind. ".repeat(60);
    let turn = |conversation: u32, turns: u32| {
        let message = |turn: u32| {
            let role = ["user", "assistant"][turn as usize % 2];
            format!(r#",{{"role":"{role}","content":"{conversation} {turn}"}}"#)
        };
        let messages: String = (0..turns).map(message).collect();
        let body =
            format!(r#"{{"messages":[{{"role":"system","content":"{system}"}}{messages}]}}"#);
        let mut client = Client::connect(endpoint);
        client.send(&format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.answer().text()
    };
    let mut count = 0;
    for conversation in 0..60 {
        let first = turn(conversation, 1);
        for turns in [3, 5] {
            assert_eq!(turn(conversation, turns), first, "{conversation}");
        }
        count += u32::from(first == "new");
    }
    println!("{count} of 60 conversations at 50 %");
    assert!((15..45).contains(&count), "{count}");
}

#[test]
fn who_finds_nobody_on_one_side_is_served_by_the_other() {
    for (old, new) in [(2, 0), (0, 2)] {
        let fleet = Fleet::start(old, new);
        let mut table = fleet.table(30.0);
        table.split.as_mut().unwrap().header = wish("x-version", "next");
        let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
        let count = load(endpoint, 400);
        assert_eq!(count, if new > 0 { 400 } else { 0 });
        let wished = request(endpoint, "GET", "/", "X-Version: next\r\n");
        assert_eq!((wished.status, wished.text() == "new"), (200, new > 0));
    }
}

#[test]
fn a_side_that_takes_no_connections_loses_no_request() {
    let mut fleet = Fleet::start(1, 1);
    let table = fleet.table(50.0);
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    assert_exact("both", load(endpoint, 200), 200, 50.0);
    fleet.replicas.truncate(1);
    let mut client = Client::connect(endpoint);
    for _ in 0..200 {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.text().as_str()), (200, "old"));
    }
}

#[test]
fn a_side_without_room_leaves_its_requests_to_the_other_but_for_those_that_wish_for_it() {
    let fleet = Fleet::start(1, 1);
    let mut table = fleet.table(100.0);
    table.split.as_mut().unwrap().header = wish("x-version", "next");
    table.load_balancer.max_requests_per_replica = Some(1);
    table.load_balancer.queue.max_requests = 10;
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(table);
    // Its body keeps the new replica busy for as long as it is not sent.
    let mut busy = Client::connect(endpoint);
    busy.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
    controller.until_in_flight(2, 1);
    assert_eq!(request(endpoint, "GET", "/", "").text(), "old");
    let mut wishing = Client::connect(endpoint);
    wishing.send("GET / HTTP/1.1\r\nHost: a\r\nX-Version: next\r\n\r\n");
    assert!(!wishing.hears_within(std::time::Duration::from_millis(100)));
    busy.send("x");
    assert_eq!(busy.answer().text(), "new");
    assert_eq!(wishing.answer().text(), "new");
}
