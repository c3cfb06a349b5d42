//! API keys: who has none is refused before anything else, and nobody but the endpoint sees a key.

use std::fs;
use std::path::Path;

use plan::routing::{ApiKeyHash, RoutingTable};

use crate::support::client::{Client, request};
use crate::support::process::Proxy;
use crate::support::replica::Replica;
use crate::support::settings::newer;
use crate::support::{free_address, table};

const ONE: &str = "sk-one-0123456789abcdef";
const TWO: &str = "sk-two-0123456789abcdef";
const WRONG: &str = "sk-wrong-0123456789abcdef";

fn hashes(keys: &[&str]) -> Option<Vec<ApiKeyHash>> {
    let hash = |key: &&str| ApiKeyHash(blake3::hash(key.as_bytes()).to_hex().to_string());
    Some(keys.iter().map(hash).collect())
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

/// A table with this replica and these keys.
fn guarded(replica: &Replica, keys: &[&str]) -> RoutingTable {
    RoutingTable {
        api_keys: hashes(keys),
        ..table(free_address(), 1, [replica.address])
    }
}

/// A request on an open connection.
fn status(client: &mut Client, headers: &str) -> u16 {
    client.send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
    client.answer().status
}

/// Every byte of every file in a directory and below.
fn everything_in(directory: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            all.extend(everything_in(&entry.path()));
        } else if kind.is_file() {
            all.extend(fs::read(entry.path()).unwrap_or_default());
        }
    }
    all
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[test]
fn only_a_request_with_a_key_reaches_a_replica() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = Proxy::serving_table(guarded(&replica, &[ONE, TWO]));
    let refused = [
        String::new(),
        bearer(WRONG),
        bearer(""),
        bearer(&ONE[..10]),
        bearer(&format!("{ONE}x")),
        bearer(&format!("{ONE} {ONE}")),
        bearer(&blake3::hash(ONE.as_bytes()).to_hex()),
        format!("Authorization: Basic {ONE}\r\n"),
        format!("Authorization: {ONE}\r\n"),
        format!("Proxy-Authorization: Bearer {ONE}\r\n"),
        // One of them would be the replica's to judge by, and which one is not ours to guess.
        bearer(ONE).repeat(2),
        bearer(WRONG) + &bearer(ONE),
        bearer(ONE) + &bearer(WRONG),
    ];
    let mut client = Client::connect(endpoint);
    for headers in &refused {
        client.send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
        let answer = client.answer();
        assert_eq!(answer.status, 401, "{headers}");
        assert_eq!(answer.head.get("www-authenticate"), Some("Bearer"));
        let detail = answer.detail();
        assert!(detail.contains("Authorization: Bearer"), "{detail}");
        assert!(!detail.contains("sk-"), "{detail}");
    }
    assert_eq!(replica.connections(), 0);
    for headers in [
        bearer(ONE),
        bearer(TWO),
        format!("authorization: bearer {ONE}\r\n"),
        format!("AUTHORIZATION:   BEARER   {TWO}  \r\n"),
    ] {
        assert_eq!(status(&mut client, &headers), 200, "{headers}");
    }
}

#[test]
fn a_key_is_neither_passed_on_nor_written_down() {
    let replica = Replica::named("r");
    let (proxy, _controller, endpoint) = Proxy::serving_table(guarded(&replica, &[ONE]));
    let mut client = Client::connect(endpoint);
    assert_eq!(
        status(&mut client, &format!("{}X-Other: kept\r\n", bearer(ONE))),
        200
    );
    assert_eq!(status(&mut client, &bearer(WRONG)), 401);
    let head = &replica.heads()[0];
    assert_eq!(head.get("authorization"), None);
    assert_eq!(head.get("x-other"), Some("kept"));
    let lines = proxy.accesses(2);
    assert_eq!(lines[1]["status"], 401);
    let written = everything_in(&proxy.paths().home);
    assert!(contains(&written, "svc"));
    for key in [ONE, WRONG] {
        assert!(!contains(&written, key));
    }
}

#[test]
fn without_keys_the_header_is_between_client_and_replica() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let answer = request(endpoint, "GET", "/", "Authorization: Basic YTpi\r\n");
    assert_eq!(answer.status, 200);
    assert_eq!(replica.heads()[0].get("authorization"), Some("Basic YTpi"));
}

#[test]
fn an_empty_list_of_keys_admits_nobody() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = Proxy::serving_table(guarded(&replica, &[]));
    assert_eq!(request(endpoint, "GET", "/", "").status, 401);
    assert_eq!(request(endpoint, "GET", "/", &bearer(ONE)).status, 401);
}

#[test]
fn a_change_of_keys_holds_for_connections_that_are_open() {
    let replica = Replica::named("r");
    let first = guarded(&replica, &[ONE]);
    let (_proxy, mut controller, endpoint) = Proxy::serving_table(first.clone());
    let mut client = Client::connect(endpoint);
    let mut seen = |controller: &mut crate::support::controller::Controller,
                    table: &RoutingTable,
                    expected: [u16; 3]| {
        controller.acknowledged(table.clone());
        let headers = [String::new(), bearer(ONE), bearer(TWO)];
        let statuses = headers.map(|headers| status(&mut client, &headers));
        assert_eq!(statuses, expected, "generation {}", table.generation);
    };
    let both = newer(&first, |table| table.api_keys = hashes(&[ONE, TWO]));
    seen(&mut controller, &both, [401, 200, 200]);
    let revoked = newer(&both, |table| table.api_keys = hashes(&[TWO]));
    seen(&mut controller, &revoked, [401, 401, 200]);
    let off = newer(&revoked, |table| table.api_keys = None);
    seen(&mut controller, &off, [200, 200, 200]);
    let on = newer(&off, |table| table.api_keys = hashes(&[ONE]));
    seen(&mut controller, &on, [401, 200, 401]);
}

#[test]
fn an_upload_without_a_key_is_refused_before_it_is_read() {
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = Proxy::serving_table(guarded(&replica, &[ONE]));
    for upload in [
        "Content-Length: 1000000000\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 1000000000\r\nExpect: 100-continue\r\n",
    ] {
        let mut client = Client::connect(endpoint);
        client.send(&format!("POST / HTTP/1.1\r\nHost: a\r\n{upload}\r\n"));
        let answer = client.answer();
        assert_eq!(answer.status, 401, "{upload}");
        // Where the next request would begin is not known.
        assert_eq!(answer.head.get("connection"), Some("close"), "{upload}");
    }
    assert_eq!(replica.connections(), 0);
}
