//! The control socket: tables in, reports out.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

use plan::routing::{ProxyCommand, ProxyReport, RoutingTable};

use crate::support::client::{Client, get};
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::{eventually, free_address, table};

#[test]
fn a_table_that_is_not_newer_is_acknowledged_with_the_one_in_force_and_changes_nothing() {
    let (first, second) = (Replica::named("first"), Replica::named("second"));
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[first.address]);
    assert_eq!(controller.apply(table(endpoint, 5, [second.address])).0, 5);
    for old in [1, 4, 5] {
        assert_eq!(controller.apply(table(endpoint, old, [first.address])).0, 5);
        assert_eq!(get(endpoint).text(), "second");
    }
}

#[test]
fn a_table_flips_all_new_requests_at_once() {
    let (old, new) = (Replica::named("old"), Replica::named("new"));
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[old.address]);
    let mut kept: Vec<Client> = (0..8).map(|_| Client::connect(endpoint)).collect();
    for client in &mut kept {
        assert_eq!(client.get("/").text(), "old");
    }
    controller.acknowledged(table(endpoint, 2, [new.address]));
    for client in &mut kept {
        assert_eq!(client.get("/").text(), "new", "also on a kept connection");
    }
}

#[test]
fn a_taken_port_is_refused_with_the_name_of_the_taker_and_the_old_table_stays() {
    let replica = Replica::named("r");
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let taker = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taker.local_addr().unwrap();
    let reason = controller.refused(table(taken, 2, [replica.address]));
    assert!(
        reason.contains(&format!("process {}", std::process::id())),
        "{reason}"
    );
    assert!(reason.contains("already in use"), "{reason}");
    assert_eq!(get(endpoint).text(), "r");
    drop(taker);
    controller.acknowledged(table(taken, 3, [replica.address]));
    assert_eq!(get(taken).text(), "r");
    assert!(
        TcpStream::connect(endpoint).is_err(),
        "the endpoint has moved"
    );
}

#[test]
fn tables_that_cannot_be_served_are_refused_with_the_reason() {
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[]);
    let good = || table(free_address(), 9, []);
    let replica = free_address();
    let nameless = RoutingTable {
        service: "../x".to_owned(),
        ..good()
    };
    let mut silent = RoutingTable {
        service: "b".to_owned(),
        ..good()
    };
    silent.load_balancer.stream_timeout_seconds = 0.0;
    let double = crate::support::numbered_table(free_address(), 9, [(1, replica), (1, replica)]);
    let portless = table("127.0.0.1:0".parse().unwrap(), 9, []);
    let elsewhere = table("192.0.2.1:30001".parse().unwrap(), 9, []);
    let second = RoutingTable {
        service: "b".to_owned(),
        ..table(endpoint, 9, [])
    };
    for (refused, expected) in [
        (nameless, "cannot be the name of a service"),
        (silent, "stream_timeout_seconds"),
        (double, "twice"),
        (portless, "no port"),
        (elsewhere, "not an address of this machine"),
        (second, "endpoint of service svc"),
    ] {
        let reason = controller.refused(refused);
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn a_new_controller_takes_over_and_is_told_everything() {
    let replica = Replica::named("r");
    let (proxy, mut first, endpoint) = Proxy::serving(&[replica.address]);
    for _ in 0..7 {
        get(endpoint);
    }
    first.until_arrived(7);
    let mut second = proxy.controller();
    assert_eq!(second.hello.1, [("svc".to_owned(), 1)]);
    assert_eq!(
        second.hello.0,
        proxy.processes().1,
        "the worker's process id"
    );
    second.until_arrived(7);
    eventually("the first controller to be cut off", || {
        first.try_next().is_err()
    });
    for _ in 0..3 {
        get(endpoint);
    }
    second.until_arrived(10);
    assert_eq!(second.arrivals, 10, "each request once");
}

#[test]
fn requests_without_a_replica_count_as_arrivals() {
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[]);
    for _ in 0..3 {
        assert_eq!(get(endpoint).status, 503);
    }
    controller.until_arrived(3);
}

#[test]
fn lines_that_are_no_command_are_passed_over() {
    let replica = Replica::named("r");
    let (_proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    for line in [
        "",
        "nonsense",
        "{\"command\":\"dance\"}",
        "[1,2]",
        "{\"command\":\"apply\"}",
    ] {
        controller.send_line(line);
    }
    controller.acknowledged(table(endpoint, 2, [replica.address]));
}

#[test]
fn the_control_socket_and_the_tables_are_private() {
    let (proxy, _controller, _endpoint) = Proxy::serving(&[]);
    for path in [
        proxy.paths().socket(),
        proxy.paths().table_file(),
        proxy.paths().event_log(),
    ] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn a_withdrawn_service_finishes_what_is_in_flight_and_frees_its_port() {
    let replica = Replica::start(|exchange| {
        exchange.begin_chunks();
        exchange.send_chunk("begin");
        exchange.body();
        if exchange.target() == "/quick" {
            exchange.send("0\r\n\r\n");
            return Then::Keep;
        }
        while exchange.send_chunk("more") {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Then::Close
    });
    let (proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut idle = Client::connect(endpoint);
    idle.get("/quick");
    let mut busy = Client::connect(endpoint);
    busy.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n");
    busy.head();
    assert_eq!(busy.chunk().unwrap(), "begin");
    controller.until_in_flight(1, 1);

    controller.send(&ProxyCommand::Withdraw {
        service: "svc".to_owned(),
    });
    controller.until(|report| matches!(report, ProxyReport::Withdrawn { .. }).then_some(()));
    TcpListener::bind(endpoint).expect("the port is free again");
    assert!(idle.is_ended());
    for _ in 0..20 {
        assert_eq!(busy.chunk().unwrap(), "more");
    }
    drop(busy);
    controller.until_in_flight(1, 0);
    let saved = fs::read_to_string(proxy.paths().table_file()).unwrap();
    assert!(!saved.contains("svc"), "{saved}");
    controller.acknowledged(table(endpoint, 1, [replica.address]));
}

#[test]
fn withdrawing_what_is_not_there_is_done_already() {
    let (_proxy, mut controller, _endpoint) = Proxy::serving(&[]);
    controller.send(&ProxyCommand::Withdraw {
        service: "other".to_owned(),
    });
    let service = controller.until(|report| match report {
        ProxyReport::Withdrawn { service } => Some(service.clone()),
        _ => None,
    });
    assert_eq!(service, "other");
}

#[test]
fn an_endpoint_may_have_an_ipv6_address() {
    let listen = std::net::SocketAddr::new("::1".parse().unwrap(), free_address().port());
    if TcpListener::bind(listen).is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let replica = Replica::named("r");
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table(listen, 1, [replica.address]));
    assert_eq!(get(endpoint).text(), "r");
    assert_eq!(replica.heads()[0].get("x-forwarded-for"), Some("::1"));
}
