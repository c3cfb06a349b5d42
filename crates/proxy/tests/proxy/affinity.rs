//! Requests that belong together go to one replica.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use plan::routing::RoutingTable;
use spec::{LoadBalancingPolicy, SessionAffinity};

use crate::support::client::{Client, request};
use crate::support::process::Proxy;
use crate::support::replica::Replica;
use crate::support::settings::newer;
use crate::support::{free_address, numbered_table};

/// Replicas that answer with their number, and with what the body adds up to where there is one.
fn replicas(count: u32) -> Vec<(u32, Replica)> {
    let replica = |number: u32| {
        let replica = Replica::start(move |exchange| {
            let body = exchange.body();
            assert!(body.complete);
            exchange.answer(&format!("{number} {}", blake3::hash(&body.bytes)))
        });
        (number, replica)
    };
    (1..=count).map(replica).collect()
}

fn table_of(
    listen: SocketAddr,
    policy: LoadBalancingPolicy,
    replicas: &[(u32, Replica)],
) -> RoutingTable {
    let addresses = replicas.iter().map(|(id, replica)| (*id, replica.address));
    RoutingTable {
        policy,
        ..numbered_table(listen, 1, addresses)
    }
}

fn by_session(replicas: &[(u32, Replica)]) -> RoutingTable {
    table_of(
        free_address(),
        LoadBalancingPolicy::SessionAffinity,
        replicas,
    )
}

/// The number of the replica that answers a request with these headers.
fn asked(endpoint: SocketAddr, headers: &str) -> u32 {
    let answer = request(endpoint, "GET", "/", headers);
    answer.text().split(' ').next().unwrap().parse().unwrap()
}

/// Which replica each of 40 sessions goes to.
fn homes(endpoint: SocketAddr, header: impl Fn(u32) -> String) -> Vec<u32> {
    (0..40)
        .map(|session| asked(endpoint, &header(session)))
        .collect()
}

fn spread(homes: &[u32]) -> usize {
    let mut count = BTreeMap::<u32, u32>::new();
    for home in homes {
        *count.entry(*home).or_default() += 1;
    }
    count.len()
}

#[test]
fn a_session_by_header_stays_at_its_replica() {
    let replicas = replicas(4);
    let first = by_session(&replicas);
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let header = |session: u32| format!("X-Session-Id: session-{session}\r\n");
    let before = homes(endpoint, header);
    assert_eq!(spread(&before), 4);
    for _ in 0..2 {
        assert_eq!(homes(endpoint, header), before);
    }
    // Which connection it comes on does not matter, nor how the name is written.
    let mut client = Client::connect(endpoint);
    for (session, home) in (0..).zip(&before) {
        client.send(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nx-session-ID: session-{session}\r\n\r\n"
        ));
        assert!(client.answer().text().starts_with(&format!("{home} ")));
    }
    let renamed = newer(&first, |table| {
        table.load_balancer.session_affinity = SessionAffinity::Header("x-user".to_owned());
    });
    controller.acknowledged(renamed);
    let user = |session: u32| format!("X-User: session-{session}\r\n");
    assert_eq!(homes(endpoint, user), before);
}

#[test]
fn a_session_by_cookie_stays_at_its_replica() {
    let replicas = replicas(3);
    let mut table = by_session(&replicas);
    table.load_balancer.session_affinity = SessionAffinity::Cookie("sid".to_owned());
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    let before = homes(endpoint, |session| {
        format!("Cookie: sid=session-{session}\r\n")
    });
    assert_eq!(spread(&before), 3);
    let among = homes(endpoint, |session| {
        format!("Cookie: a=b; xsid=no; sid=session-{session}; sidx=no\r\n")
    });
    assert_eq!(among, before);
    let later = homes(endpoint, |session| {
        format!("Cookie: a=sid=no\r\nCookie: sid=session-{session}\r\n")
    });
    assert_eq!(later, before);
}

#[test]
fn sessions_stay_while_other_replicas_come_and_go() {
    let mut replicas = replicas(5);
    let fifth = replicas.pop().unwrap();
    let first = by_session(&replicas);
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let header = |session: u32| format!("X-Session-Id: session-{session}\r\n");
    let before = homes(endpoint, header);

    let gone = replicas.remove(1);
    let without = newer(&first, |table| {
        table
            .upstreams
            .retain(|upstream| upstream.replica_id != gone.0);
    });
    controller.acknowledged(without.clone());
    let now = homes(endpoint, header);
    for (home, was) in now.iter().zip(&before) {
        assert!(home == was || *was == gone.0, "{was} became {home}");
    }

    replicas.push(gone);
    replicas.push(fifth);
    let more = newer(&without, |table| {
        let all = by_session(&replicas);
        table.upstreams = all.upstreams;
    });
    controller.acknowledged(more);
    let now = homes(endpoint, header);
    for (home, was) in now.iter().zip(&before) {
        assert!(home == was || *home == 5, "{was} became {home}");
    }
    assert!(now.contains(&5), "the new one gets its share");
}

#[test]
fn who_has_no_session_is_served_by_load() {
    let replicas = replicas(3);
    let (_proxy, _controller, endpoint) = Proxy::serving_table(by_session(&replicas));
    let homes = homes(endpoint, |_| "X-Session-Id:\r\n".to_owned());
    assert!(spread(&homes) > 1, "an empty name is none");
}

/// The body of a chat after so many turns of about so many bytes.
fn chat(conversation: usize, turns: usize, turn_bytes: usize) -> String {
    let text =
        |turn: usize| format!("conversation {conversation} turn {turn} ").repeat(turn_bytes / 24);
    let message = |turn: usize| {
        let role = ["user", "assistant"][turn % 2];
        serde_json::json!({ "role": role, "content": text(turn) }).to_string()
    };
    let messages: Vec<_> = (0..turns).map(message).collect();
    format!(
        r#"{{"model":"m","messages":[{}],"stream":false}}"#,
        messages.join(",")
    )
}

/// Sends a prompt in pieces, and gives the number of the replica, which must have got it unchanged.
fn prompt(endpoint: SocketAddr, body: &str, pieces: usize) -> u32 {
    let mut client = Client::connect(endpoint);
    client.send(&format!(
        "POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    ));
    let size = body.len().div_ceil(pieces);
    for piece in body.as_bytes().chunks(size) {
        if pieces > 1 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        client.send(std::str::from_utf8(piece).unwrap());
    }
    let answer = client.answer();
    let text = answer.text();
    let (number, hash) = text.split_once(' ').unwrap();
    assert_eq!(hash, blake3::hash(body.as_bytes()).to_string());
    number.parse().unwrap()
}

#[test]
fn a_conversation_goes_on_where_its_beginning_is_known() {
    let replicas = replicas(4);
    let table = table_of(
        free_address(),
        LoadBalancingPolicy::PrefixAffinity,
        &replicas,
    );
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    let mut homes = Vec::new();
    // A small one comes with its head, a large one in pieces and larger than what is looked at.
    for (conversation, turn_bytes, pieces) in (0..12).map(|number| {
        (
            number,
            [300, 3_000, 30_000][number % 3],
            [1, 2, 7][number % 3],
        )
    }) {
        let turns: Vec<_> = (1..=5)
            .map(|turns| prompt(endpoint, &chat(conversation, turns, turn_bytes), pieces))
            .collect();
        assert_eq!(turns, [turns[0]; 5], "conversation {conversation}");
        homes.push(turns[0]);
    }
    assert!(spread(&homes) > 1, "{homes:?}");
}

#[test]
fn a_prompt_that_waits_for_a_continue_or_comes_in_chunks_is_served_all_the_same() {
    let replicas = replicas(2);
    let table = table_of(
        free_address(),
        LoadBalancingPolicy::PrefixAffinity,
        &replicas,
    );
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    let body = chat(0, 3, 1_000);
    let hash = blake3::hash(body.as_bytes()).to_string();
    let chunked = format!(
        "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n",
        body.len()
    );
    let length = format!(
        "Content-Length: {}\r\nExpect: 100-continue\r\n\r\n{body}",
        body.len()
    );
    for extra in [chunked, length] {
        let answer = request(endpoint, "POST", "/v1/chat/completions", &extra);
        assert!(answer.text().ends_with(&hash));
    }
}
