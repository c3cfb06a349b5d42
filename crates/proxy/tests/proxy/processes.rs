//! Promise 5, "the data plane stands alone": processes die and no connection is refused.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::ALREADY_RUNNING;
use crate::support::client::{Client, get};
use crate::support::controller::count_of;
use crate::support::process::{Proxy, is_alive, signal};
use crate::support::replica::Replica;
use crate::support::{eventually, free_address, table};

/// What became of the requests of a load.
#[derive(Debug, Default)]
struct Tally {
    answered: AtomicUsize,
    /// The connection could not be made.
    refused: AtomicUsize,
    /// The connection was made and ended before the answer did.
    broken: AtomicUsize,
    /// An answer that no replica gave.
    wrong: AtomicUsize,
}

impl Tally {
    fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }
}

/// Clients that connect and ask without a pause.
struct Load {
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(endpoint: SocketAddr) -> Self {
        let (tally, stop) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
        let client = || {
            let (tally, stop) = (Arc::clone(&tally), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    ask(endpoint, &tally).fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let clients = (0..4).map(|_| client()).collect();
        Self {
            tally,
            stop,
            clients,
        }
    }

    /// Waits until as many more were answered.
    fn wait_for_answers(&self, more: usize) {
        let before = self.tally.answered();
        eventually("answers", || self.tally.answered() >= before + more);
    }

    fn finish(self) -> Arc<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
        self.tally
    }
}

fn ask(endpoint: SocketAddr, tally: &Tally) -> &AtomicUsize {
    let Ok(mut client) = Client::try_connect(endpoint) else {
        return &tally.refused;
    };
    if client
        .try_send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .is_err()
    {
        return &tally.broken;
    }
    match client.try_answer() {
        Ok(answer) if answer.status == 200 && answer.body.complete => &tally.answered,
        Ok(answer) if answer.body.complete => &tally.wrong,
        _ => &tally.broken,
    }
}

/// Kills both processes before either can revive the other.
fn kill_both(proxy: &Proxy) {
    let (holder, worker) = proxy.processes();
    for sent in [Signal::STOP, Signal::KILL] {
        signal(holder, sent);
        signal(worker, sent);
    }
    eventually("both to be gone", || !is_alive(holder) && !is_alive(worker));
}

#[test]
fn a_killed_worker_refuses_no_connection_and_serves_again() {
    let replica = Replica::named("r");
    let (proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let load = Load::start(endpoint);
    const KILLS: usize = 3;
    for _ in 0..KILLS {
        load.wait_for_answers(50);
        let (_, worker) = proxy.processes();
        signal(worker, Signal::KILL);
        eventually("another worker", || proxy.processes().1 != worker);
        load.wait_for_answers(50);
    }
    let tally = load.finish();
    assert_eq!(tally.refused.load(Ordering::SeqCst), 0, "{tally:?}");
    assert_eq!(tally.wrong.load(Ordering::SeqCst), 0, "{tally:?}");
    // Each client has one request at a time, and only those inside the killed worker may break.
    assert!(
        tally.broken.load(Ordering::SeqCst) <= 4 * KILLS,
        "{tally:?}"
    );
    let controller = proxy.controller();
    assert_eq!(
        controller.hello,
        (proxy.processes().1, vec![("svc".to_owned(), 1)])
    );
}

#[test]
fn a_killed_holder_is_not_noticed_by_anyone_and_comes_back_with_all_sockets() {
    let replica = Replica::named("r");
    let (proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let load = Load::start(endpoint);
    for _ in 0..2 {
        load.wait_for_answers(50);
        let (holder, worker) = proxy.processes();
        signal(holder, Signal::KILL);
        eventually("another holder", || proxy.processes().0 != holder);
        assert_eq!(proxy.processes().1, worker, "the worker goes on");
        load.wait_for_answers(50);
    }
    // The new holder has the sockets: it can give them to a new worker.
    let (_, worker) = proxy.processes();
    signal(worker, Signal::KILL);
    eventually("another worker", || proxy.processes().1 != worker);
    load.wait_for_answers(50);
    let tally = load.finish();
    assert_eq!(tally.refused.load(Ordering::SeqCst), 0, "{tally:?}");
    assert!(tally.broken.load(Ordering::SeqCst) <= 4, "{tally:?}");
    eventually("the old controller to be cut off", || {
        controller.try_next().is_err()
    });
    let mut controller = proxy.controller();
    controller.acknowledged(table(endpoint, 2, [replica.address]));
}

#[test]
fn a_worker_told_to_end_hands_over_without_breaking_a_request() {
    let stop = Arc::new(AtomicBool::new(false));
    let replica = Replica::streaming(&stop);
    let (proxy, _controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut stream = Client::connect(endpoint);
    stream.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.head();
    let load = Load::start(endpoint);
    load.wait_for_answers(50);
    let (_, worker) = proxy.processes();
    signal(worker, Signal::TERM);
    eventually("another worker", || proxy.processes().1 != worker);
    load.wait_for_answers(50);
    let tally = load.finish();
    assert_eq!(tally.refused.load(Ordering::SeqCst), 0, "{tally:?}");
    assert_eq!(tally.broken.load(Ordering::SeqCst), 0, "{tally:?}");
    assert!(is_alive(worker), "it still has a stream");
    let mut controller = proxy.controller();
    let (_, in_flight) = controller.apply(table(endpoint, 2, []));
    // So do requests that were short, until the old worker has said that they are over.
    if in_flight != [(1, 1)] {
        assert!(count_of(&in_flight, 1) > 1, "{in_flight:?}");
        controller.until_in_flight(1, 1);
    }
    for _ in 0..50 {
        assert_eq!(stream.chunk().unwrap(), "tick");
    }
    stop.store(true, Ordering::SeqCst);
    while !stream.chunk().unwrap().is_empty() {}
    controller.until_in_flight(1, 0);
    eventually("the old worker to end", || !is_alive(worker));
}

#[test]
fn when_both_are_killed_a_new_holder_serves_the_saved_tables() {
    let replica = Replica::named("r");
    let (proxy, controller, endpoint) = Proxy::serving(&[replica.address]);
    drop(controller);
    kill_both(&proxy);
    proxy.start_holder();
    eventually("the endpoint", || Client::try_connect(endpoint).is_ok());
    assert_eq!(get(endpoint).text(), "r");
}

#[test]
fn a_saved_endpoint_whose_port_is_taken_is_served_once_it_is_free() {
    let replica = Replica::named("r");
    let (proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let other = free_address();
    let second = plan::routing::RoutingTable {
        service: "other".to_owned(),
        ..table(other, 1, [replica.address])
    };
    controller.acknowledged(second);
    kill_both(&proxy);
    let mut taker = None;
    eventually("the port to be free", || {
        taker = TcpListener::bind(endpoint).ok();
        taker.is_some()
    });
    proxy.start_holder();
    eventually("the other endpoint", || Client::try_connect(other).is_ok());
    eventually("the event", || proxy.has_event("endpoint_not_bound"));
    drop(taker);
    eventually("the endpoint", || Client::try_connect(endpoint).is_ok());
    assert_eq!(get(endpoint).text(), "r");
}

#[test]
fn want_of_descriptors_is_waited_out() {
    let replica = Replica::named("r");
    let (proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let (_, worker) = proxy.processes();
    let pid = Pid::from_raw(i32::try_from(worker).unwrap());
    let few = Rlimit {
        current: Some(64),
        maximum: Some(64),
    };
    prlimit(pid, Resource::Nofile, few).unwrap();
    let many: Vec<Client> = (0..200).map(|_| Client::connect(endpoint)).collect();
    eventually("the event", || proxy.has_event("accept_paused"));
    controller.acknowledged(table(endpoint, 2, [replica.address]));
    drop(many);
    eventually("an answer", || get(endpoint).status == 200);
    assert_eq!(proxy.processes().1, worker, "the worker lives");
}

#[test]
fn a_second_holder_says_that_there_is_one_and_ends() {
    let (proxy, _controller, _endpoint) = Proxy::serving(&[]);
    let second = proxy.holder_command().output().unwrap();
    assert_eq!(second.status.code(), Some(ALREADY_RUNNING));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(
        said.contains(&format!("process {}", proxy.processes().0)),
        "{said}"
    );
}

#[test]
fn a_holder_told_to_end_lets_requests_finish_and_leaves_nothing() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let replica = Replica::start(move |exchange| {
        let _ = wait.lock().unwrap().recv_timeout(crate::support::PATIENCE);
        exchange.answer("done")
    });
    let (proxy, mut controller, endpoint) = Proxy::serving(&[replica.address]);
    let mut busy = Client::connect(endpoint);
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    controller.until_in_flight(1, 1);
    let (holder, worker) = proxy.processes();
    signal(holder, Signal::TERM);
    eventually("the endpoint to be closed", || {
        Client::try_connect(endpoint).is_err()
    });
    assert!(is_alive(worker));
    go.send(()).unwrap();
    let answer = busy.answer();
    assert_eq!(answer.text(), "done");
    assert_eq!(answer.head.get("connection"), Some("close"));
    eventually("both to end", || !is_alive(holder) && !is_alive(worker));
    assert!(!proxy.paths().socket().exists() && !proxy.paths().pid_file().exists());
    assert!(proxy.has_event("holder_stopped"));
}
