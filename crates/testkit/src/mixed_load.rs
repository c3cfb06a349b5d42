//! Load of every kind that an endpoint serves, for [`crate::serve_replica`]: HTTP/1.1 on kept and fresh connections,
//! POSTs and uploads with ids that are never used twice, event streams, WebSockets, HTTP/2 and gRPC. Clients never try
//! again: whatever goes wrong is counted.

mod exchange;
mod kind;
mod session;
mod verdict;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use self::exchange::{Broken, Order, exchange, unanswered};
pub use self::kind::Kind;
pub use self::verdict::{Evidence, Kill, Verdict};

/// No answer may take longer than this, beyond the time that its session lasts.
const PATIENCE: Duration = Duration::from_secs(40);
/// Between two requests of one client: the machine is small.
const PAUSE: Duration = Duration::from_millis(15);
/// The same of a client whose requests are large.
const LONG_PAUSE: Duration = Duration::from_millis(250);

/// Load that runs until it is stopped.
pub struct MixedLoad {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    endpoint: SocketAddr,
    session_seconds: u32,
    stop: AtomicBool,
    next_id: AtomicU64,
    unsent: AtomicU64,
    tally: Mutex<MixedReport>,
}

/// What became of all requests.
#[derive(Clone, Debug)]
pub struct MixedReport {
    begun: Instant,
    kinds: BTreeMap<Kind, KindTally>,
    failures: Vec<Failure>,
    /// Requests for which another connection was made, since the kept one was closed before it took them.
    unsent: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct KindTally {
    sent: u64,
    slowest: Duration,
    /// When that was sent.
    slowest_sent: Option<Instant>,
}

/// A request that was not answered rightly.
#[derive(Clone, Debug)]
struct Failure {
    kind: Kind,
    id: u64,
    sent: Instant,
    done: Instant,
    what: String,
    truncated: bool,
    replica: Option<u32>,
}

impl MixedLoad {
    /// Starts clients of every kind; streams, WebSockets and gRPC streams last `session_seconds` each.
    ///
    /// # Panics
    /// When `endpoint` is not an address.
    #[must_use]
    pub fn start(endpoint: &str, session_seconds: u32) -> Self {
        let tally = MixedReport {
            begun: Instant::now(),
            kinds: BTreeMap::new(),
            failures: Vec::new(),
            unsent: 0,
        };
        let shared = Arc::new(Shared {
            endpoint: endpoint.parse().expect("an endpoint is an address"),
            session_seconds,
            stop: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
            unsent: AtomicU64::new(0),
            tally: Mutex::new(tally),
        });
        let kinds = Kind::ALL
            .into_iter()
            .flat_map(|kind| std::iter::repeat_n(kind, kind.clients()));
        let clients = kinds
            .map(|kind| tokio::spawn(client(Arc::clone(&shared), kind)))
            .collect();
        Self { shared, clients }
    }

    /// What has become of the requests so far.
    ///
    /// # Panics
    /// When a client has.
    #[must_use]
    pub fn so_far(&self) -> MixedReport {
        let tally = self.shared.tally.lock().expect("no panic").clone();
        let unsent = self.shared.unsent.load(Ordering::Relaxed);
        MixedReport { unsent, ..tally }
    }

    /// Sends no more, waits for what is in flight, sessions included, and reports.
    ///
    /// # Panics
    /// When a client has.
    pub async fn stop(self) -> MixedReport {
        self.shared.stop.store(true, Ordering::SeqCst);
        let Self { shared, clients } = self;
        for client in clients {
            client.await.expect("a client does not panic");
        }
        let clients = Vec::new();
        Self { shared, clients }.so_far()
    }
}

async fn client(shared: Arc<Shared>, kind: Kind) {
    let mut kept = None;
    let session = Duration::from_secs(u64::from(shared.session_seconds));
    while !shared.stop.load(Ordering::SeqCst) {
        let order = Order {
            endpoint: shared.endpoint,
            kind,
            id: shared.next_id.fetch_add(1, Ordering::Relaxed),
            session_seconds: shared.session_seconds,
        };
        let sent = Instant::now();
        let limit = PATIENCE + session;
        let outcome = tokio::time::timeout(limit, exchange(order, &mut kept, &shared.unsent)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(unanswered("no answer in time")));
        let failed = outcome.is_err();
        shared.count(order, sent, outcome);
        let pause = match kind {
            Kind::Upload1Mb => LONG_PAUSE,
            _ => PAUSE,
        };
        tokio::time::sleep(if failed { pause * 5 } else { pause }).await;
    }
}

impl Shared {
    fn count(&self, order: Order, sent: Instant, outcome: Result<(), Broken>) {
        let done = Instant::now();
        let mut tally = self.tally.lock().expect("no panic");
        let of_kind = tally.kinds.entry(order.kind).or_default();
        of_kind.sent += 1;
        if of_kind.slowest < done - sent {
            of_kind.slowest = done - sent;
            of_kind.slowest_sent = Some(sent);
        }
        if let Err(broken) = outcome {
            tally.failures.push(Failure {
                kind: order.kind,
                id: order.id,
                sent,
                done,
                what: broken.what,
                truncated: broken.truncated,
                replica: broken.replica,
            });
        }
    }
}

impl MixedReport {
    /// Requests sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.kinds.values().map(|kind| kind.sent).sum()
    }

    /// Requests that were not answered rightly, excused or not.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failures.len()
    }
}
