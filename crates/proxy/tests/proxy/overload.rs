//! More requests than the replicas can serve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, request};
use crate::support::process::Proxy;
use crate::support::replica::Replica;
use crate::support::{free_address, table};

/// What a replica's work on one request takes. It is waiting, so that the machine's load does not matter.
const WORK: Duration = Duration::from_millis(50);
/// Requests that a replica works on well at a time.
const AT_A_TIME: u32 = 5;
const REPLICAS: usize = 2;
/// Clients that each have a request under way all the time: many times what is served at once.
const CLIENTS: usize = 80;
const SPAN: Duration = Duration::from_secs(3);

/// A replica that collapses like a model server does: beyond what it can do at a time, everything takes longer than
/// anyone waits.
fn collapsing() -> Replica {
    let busy = Arc::new(AtomicUsize::new(0));
    Replica::start(move |exchange| {
        let now = busy.fetch_add(1, Ordering::SeqCst) + 1;
        let over = now > AT_A_TIME as usize;
        thread::sleep(if over { SPAN } else { WORK });
        busy.fetch_sub(1, Ordering::SeqCst);
        exchange.answer("done")
    })
}

#[test]
fn what_is_too_much_is_turned_away_at_once_and_the_rest_served_as_fast_as_ever() {
    let replicas = [(); REPLICAS].map(|()| collapsing());
    let addresses = replicas.each_ref().map(|replica| replica.address);
    let mut limited = table(free_address(), 1, addresses);
    limited.load_balancer.max_requests_per_replica = Some(AT_A_TIME);
    limited.load_balancer.queue.max_requests = 20;
    let (_proxy, _controller, endpoint) = Proxy::serving_table(limited);
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let (mut served, mut shed) = (0, 0);
                let mut client = Client::connect(endpoint);
                while !stop.load(Ordering::SeqCst) {
                    let answer = client.get("/");
                    match answer.status {
                        200 => served += 1,
                        503 => {
                            assert!(answer.head.get("retry-after").is_some());
                            assert!(answer.detail().contains("load_balancer.queue.max_requests"));
                            shed += 1;
                            // Someone who asks again later, though sooner than told.
                            thread::sleep(WORK);
                        }
                        status => panic!("{status}: {}", answer.text()),
                    }
                }
                (served, shed)
            })
        })
        .collect();
    thread::sleep(SPAN);
    stop.store(true, Ordering::SeqCst);
    let counts = clients.into_iter().map(|client| client.join().unwrap());
    let (served, shed) = counts.fold((0_u32, 0_u32), |(all, away), (served, turned)| {
        (all + served, away + turned)
    });
    let capacity = f64::from(AT_A_TIME) * REPLICAS as f64 / WORK.as_secs_f64();
    let share = f64::from(served) / begun.elapsed().as_secs_f64() / capacity;
    println!(
        "served {served}, turned away {shed}; {:.0} % of what the replicas can do",
        share * 100.0
    );
    assert!(shed > 0, "it was not too much");
    // The promise is 90 %; a machine that is busy with other things cannot show all of it.
    assert!(share > 0.6, "only {share:.2} of what the replicas can do");
    assert_eq!(request(endpoint, "GET", "/", "").text(), "done");
}
