//! Connections that change their protocol, such as WebSockets.

use std::io::{Read, Write};

use crate::support::client::Client;
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};

/// Switches to a protocol that sends back what it gets, and ends when the client does.
fn echo() -> Replica {
    Replica::start(|exchange| {
        assert_eq!(exchange.head.get("connection"), Some("upgrade"));
        let protocol = exchange.head.get("upgrade").unwrap().to_owned();
        exchange.send(&format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\
             Sec-WebSocket-Accept: x\r\n\r\nhello"
        ));
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = exchange.reader.read(&mut bytes) {
            exchange.reader.get_mut().write_all(&bytes[..read]).unwrap();
        }
        exchange.send("bye");
        Then::Close
    })
}

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";

fn expect(client: &mut Client, text: &str) {
    let mut bytes = vec![0; text.len()];
    client.reader.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), text);
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways_and_counts_until_it_ends() {
    let replica = echo();
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    client.send(UPGRADE);
    let head = client.head();
    assert_eq!(head.first_line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(
        (head.get("upgrade"), head.get("connection")),
        (Some("websocket"), Some("upgrade"))
    );
    assert_eq!(head.get("sec-websocket-accept"), Some("x"));
    expect(&mut client, "hello");
    for text in ["one", "\u{1}two", "three"] {
        client.send(text);
        expect(&mut client, text);
    }
    controller.until_in_flight(1, 1);
    client.end_sending();
    expect(&mut client, "bye");
    assert!(client.is_ended());
    controller.until_in_flight(1, 0);
}

#[test]
fn an_upgraded_connection_survives_the_table_that_drops_its_replica() {
    let replica = echo();
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    client.send(UPGRADE);
    client.head();
    expect(&mut client, "hello");
    let (_, in_flight) = controller.apply(crate::support::table(endpoint, 2, []));
    assert_eq!(in_flight, [(1, 1)]);
    client.send("still here");
    expect(&mut client, "still here");
    drop(client);
    controller.until_in_flight(1, 0);
}

#[test]
fn a_replica_may_decline_to_upgrade() {
    let replica = Replica::named("plain");
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut client = Client::connect(endpoint);
    for _ in 0..2 {
        client.send(UPGRADE);
        assert_eq!(client.answer().text(), "plain");
    }
}

#[test]
fn a_replica_that_upgrades_unasked_is_a_502() {
    let replica = Replica::start(|exchange| {
        exchange.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
        Then::Close
    });
    let (_proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    assert_eq!(crate::support::client::get(endpoint).status, 502);
}
