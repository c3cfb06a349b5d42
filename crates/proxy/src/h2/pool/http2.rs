//! Connections of HTTP/2 to replicas, without TLS and by prior knowledge (RFC 9113 section 3.3).
//!
//! Few and shared: another is opened only when those there have as many streams as the replica allows. Requests that find
//! none wait for one and the same attempt to connect.
//!
//! # Slow readers
//!
//! What a client does not read waits here, up to [`STREAM_WINDOW_BYTES`] per stream. The window of the connection is that
//! of all its streams together ([`MAX_STREAMS`]), so that slow ones never stop the others.
//!
//! # Dead connections
//!
//! The kernel notices a machine that is gone ([`watch_peer`]), the stream timeout a process that says nothing, after
//! which its connection gets no more requests. Pings are rare: servers of gRPC take more than one in five minutes for abuse
//! and close the connection, streams and all (gRFC A8).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use plan::routing::Upstream;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::heard::HeardStream;
use super::{Key, connect_tcp, key};
use crate::h2::request_body::RequestBody;
use crate::h2::serve::ThisThread;

/// Streams of one connection at once, where the replica allows as many.
const MAX_STREAMS: u32 = 128;
/// Bytes that a replica may send ahead on one stream, and on all of a connection.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = MAX_STREAMS * STREAM_WINDOW_BYTES;
/// Most bytes of a request's body that are buffered per stream.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Most bytes of the headers of an answer.
const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;
/// How long a connection is kept without a stream.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Rarer than once in five minutes, see above.
const PING_INTERVAL: Duration = Duration::from_secs(320);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What is written and not acknowledged for this long was written to a machine that is gone.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(20);
/// A quiet connection is looked after by the kernel: after this long, then at this interval, this often.
const QUIET_TIME: Duration = Duration::from_secs(15);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

type Traffic = Connection<TokioIo<HeardStream>, RequestBody, ThisThread>;
/// What became of an attempt to connect; `None` until that is known.
type Connecting = watch::Receiver<Option<Result<(), String>>>;

/// The connections to all replicas.
#[derive(Debug, Default)]
pub(in crate::h2) struct Connections {
    groups: Rc<RefCell<HashMap<Key, Group>>>,
}

/// The connections to one replica.
#[derive(Debug, Default)]
struct Group {
    connections: Vec<Rc<Shared>>,
    connecting: Option<Connecting>,
}

struct Shared {
    sender: SendRequest<RequestBody>,
    /// Knows how many streams the replica allows; `None` when it is over.
    traffic: Rc<RefCell<Option<Traffic>>>,
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
    /// Gets no more requests.
    is_shunned: Cell<bool>,
    is_used: Cell<bool>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn has_room(&self) -> bool {
        self.streams.get() < self.allowed_streams().min(MAX_STREAMS as usize)
    }

    /// How many streams the replica allows; 0 as long as it has not said so.
    fn allowed_streams(&self) -> usize {
        let traffic = self.traffic.borrow();
        traffic
            .as_ref()
            .map_or(0, Connection::current_max_send_streams)
    }

    fn is_alive(&self) -> bool {
        !self.is_shunned.get() && !self.is_over()
    }

    fn is_over(&self) -> bool {
        self.sender.is_closed() || self.traffic.borrow().is_none()
    }
}

/// The right to one stream of a connection, given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    shared: Rc<Shared>,
    /// Whether the connection has served requests before.
    pub(in crate::h2) is_kept: bool,
}

impl Slot {
    fn of(shared: &Rc<Shared>) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        Self {
            shared: Rc::clone(shared),
            is_kept: shared.is_used.replace(true),
        }
    }

    /// Sends a request, which is given back if no byte of it was written.
    pub(in crate::h2) fn try_send(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<>
    {
        self.shared.sender.clone().try_send_request(request)
    }

    /// Lets the connection have no more requests: the replica is leaving it, or is silent on it.
    pub(in crate::h2) fn shun(&self) {
        self.shared.is_shunned.set(true);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let streams = &self.shared.streams;
        streams.set(streams.get().saturating_sub(1));
        self.shared.idle_since.set(Instant::now());
    }
}

impl Group {
    fn reserve(&mut self) -> Option<Slot> {
        // One that is gone is dropped here; its streams go on as long as they can.
        self.connections.retain(|shared| shared.is_alive());
        let roomy = self.connections.iter().find(|shared| shared.has_room())?;
        Some(Slot::of(roomy))
    }
}

impl Connections {
    /// A stream to `upstream`, on a new connection if need be, which may take `limit`.
    pub(in crate::h2) async fn reserve(
        &self,
        upstream: &Upstream,
        limit: Duration,
    ) -> Result<Slot, String> {
        loop {
            let mut connecting = {
                let mut groups = self.groups.borrow_mut();
                let group = groups.entry(key(upstream)).or_default();
                if let Some(slot) = group.reserve() {
                    return Ok(slot);
                }
                let start = || open(Rc::clone(&self.groups), upstream, limit);
                group.connecting.get_or_insert_with(start).clone()
            };
            match connecting.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(Err(error))) => return Err(error.clone()),
                Ok(_) => {}
                Err(_) => return Err("the attempt to connect was given up".to_owned()),
            }
        }
    }

    pub(super) fn sweep(&self, upstreams: &[Upstream]) {
        self.groups.borrow_mut().retain(|leads_to, group| {
            let is_wanted = upstreams.iter().any(|upstream| key(upstream) == *leads_to);
            group.connections.retain(|shared| {
                let is_idle = shared.streams.get() == 0;
                let is_old = shared.idle_since.get().elapsed() >= IDLE_TIME;
                shared.is_alive() && is_wanted && !(is_idle && is_old)
            });
            !group.connections.is_empty() || group.connecting.is_some()
        });
    }
}

/// Opens a connection in a task of its own: whoever asked for it may go, others wait for it too.
fn open(
    groups: Rc<RefCell<HashMap<Key, Group>>>,
    upstream: &Upstream,
    limit: Duration,
) -> Connecting {
    let (told, connecting) = watch::channel(None);
    let key = key(upstream);
    spawn_local(async move {
        let connected = connect(key, limit).await;
        let result = {
            let mut groups = groups.borrow_mut();
            let group = groups.entry(key).or_default();
            group.connecting = None;
            connected.map(|shared| group.connections.push(Rc::new(shared)))
        };
        told.send_replace(Some(result));
    });
    connecting
}

async fn connect(key: Key, limit: Duration) -> Result<Shared, String> {
    let (_, address) = key;
    let greeted = timeout(limit, greet(key, limit)).await;
    greeted.unwrap_or_else(|_| {
        let limit = limit.as_secs_f64();
        Err(format!(
            "{address} took the connection but did not begin to speak HTTP/2 within {limit} s"
        ))
    })
}

/// Connects and waits until the replica has said how many streams it allows: more would wait on this connection, while
/// another had room.
async fn greet((_, address): Key, limit: Duration) -> Result<Shared, String> {
    let stream = connect_tcp(address, limit).await?;
    watch_peer(&stream);
    let heard = Rc::new(Notify::new());
    let handshake = Builder::new(ThisThread)
        .timer(TokioTimer::new())
        .initial_max_send_streams(0)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .handshake(TokioIo::new(HeardStream::new(stream, Rc::clone(&heard))));
    let (sender, traffic) = handshake.await.map_err(|error| error.to_string())?;
    let traffic = Rc::new(RefCell::new(Some(traffic)));
    spawn_local(drive(Rc::clone(&traffic), Rc::clone(&heard)));
    let shared = Shared {
        sender,
        traffic,
        streams: Cell::new(0),
        idle_since: Cell::new(Instant::now()),
        is_shunned: Cell::new(false),
        is_used: Cell::new(false),
    };
    while shared.allowed_streams() == 0 {
        if shared.is_over() {
            return Err(format!(
                "{address} took the connection but does not speak HTTP/2 \
                 (load_balancer.replica_protocol)"
            ));
        }
        heard.notified().await;
    }
    Ok(shared)
}

/// Moves the traffic of a connection until it is over.
async fn drive(traffic: Rc<RefCell<Option<Traffic>>>, heard: Rc<Notify>) {
    poll_fn(|context| match &mut *traffic.borrow_mut() {
        // Its errors reach whoever waits for an answer on it.
        Some(traffic) => Pin::new(traffic).poll(context).map(drop),
        None => Poll::Ready(()),
    })
    .await;
    // What waits to be sent is given back as this is dropped.
    traffic.replace(None);
    heard.notify_one();
}

/// Lets the kernel notice that the machine at the other end is gone.
fn watch_peer(stream: &TcpStream) {
    let timeout = u32::try_from(UNACKNOWLEDGED_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    // A connection on which these cannot be set works all the same.
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, QUIET_TIME);
    let _ = sockopt::set_tcp_keepintvl(stream, PROBE_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(stream, PROBES);
    let _ = sockopt::set_tcp_user_timeout(stream, timeout);
}
