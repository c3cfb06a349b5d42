//! Which replica gets a request.

use plan::routing::RoutingTable;
use spec::LoadBalancingPolicy;

use crate::support::client::{Client, get};
use crate::support::process::Proxy;
use crate::support::replica::{Replica, Then};
use crate::support::{free_address, table};

fn with_policy(policy: LoadBalancingPolicy, replicas: &[&Replica]) -> RoutingTable {
    let addresses = replicas.iter().map(|replica| replica.address);
    RoutingTable {
        policy,
        ..table(free_address(), 1, addresses)
    }
}

#[test]
fn round_robin_takes_turns() {
    let replicas = ["a", "b", "c"].map(Replica::named);
    let table = with_policy(LoadBalancingPolicy::RoundRobin, &replicas.each_ref());
    let (_proxy, _controller, endpoint) = Proxy::serving_table(table);
    for _ in 0..12 {
        get(endpoint);
    }
    assert_eq!(replicas.each_ref().map(Replica::requests), [4, 4, 4]);
}

#[test]
fn least_load_passes_over_the_busy() {
    let busy = Replica::start(|exchange| {
        exchange.begin_chunks();
        exchange.wait_for_end();
        Then::Close
    });
    let idle = Replica::named("idle");
    for policy in [
        LoadBalancingPolicy::LeastLoad,
        LoadBalancingPolicy::InstanceAwareLeastLoad,
    ] {
        let table = with_policy(policy, &[&busy]);
        let (_proxy, mut controller, endpoint) = Proxy::serving_table(table);
        let mut stream = Client::connect(endpoint);
        stream.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        controller.until_in_flight(1, 1);
        controller.acknowledged(RoutingTable {
            generation: 2,
            listen: endpoint,
            ..with_policy(policy, &[&busy, &idle])
        });
        for _ in 0..10 {
            assert_eq!(get(endpoint).text(), "idle");
        }
    }
    assert_eq!(busy.requests(), 2);
}
