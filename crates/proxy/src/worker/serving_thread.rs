//! A thread that serves: its own runtime, one accept loop per listener, its own connections to
//! replicas.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{serve_connection, serve_relayed};
use crate::clock;
use crate::deadline::{self, TICK};
use crate::endpoint::Endpoint;
use crate::log::{Event, LogSender};
use crate::routing::Service;

/// Pause when no connection can be accepted, for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Set to `0`, connections use epoll even where io_uring is there.
const IO_URING_VARIABLE: &str = "SKYSERVE_IO_URING";
/// A want that goes on is logged once in this many pauses.
const PAUSES_PER_EVENT: u32 = 200;

/// What the control plane asks of a serving thread.
#[derive(Debug)]
pub(super) enum Order {
    /// Accept connections of `service` on `listener`; `started` hears when that is so.
    Serve {
        service: Arc<Service>,
        address: SocketAddr,
        listener: OwnedFd,
        started: oneshot::Sender<io::Result<()>>,
    },
    /// Serve this connection of a worker that has left.
    ServeRelayed {
        service: Arc<Service>,
        socket: OwnedFd,
    },
    /// Accept what waits on `address`, then no more; `closed` hears when the listeners are closed.
    Close {
        address: SocketAddr,
        closed: oneshot::Sender<()>,
    },
    /// Accept no more, finish, end; `accept_waiting` says whether what waits is accepted first.
    Drain {
        accept_waiting: bool,
        drained: oneshot::Sender<()>,
    },
}

/// Starts a thread; it ends after `Drain` or when the sender is dropped.
pub(super) fn start(number: usize, logs: LogSender) -> io::Result<mpsc::UnboundedSender<Order>> {
    let (sender, orders) = mpsc::unbounded_channel();
    let (started, result) = std::sync::mpsc::sync_channel(1);
    thread::Builder::new()
        .name(format!("proxy-{number}"))
        .spawn(move || {
            let _guard = AbortOnPanic;
            // Its tasks never leave this thread, so nothing of theirs has to be shared or locked.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => {
                    let _ = started.send(Ok(()));
                    runtime.block_on(async move {
                        let _driver = start_ring(number, &logs);
                        ServingThread::new(logs).run(orders).await;
                    });
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        })?;
    result
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("the thread ended before it served")))?;
    Ok(sender)
}

/// Connections of this thread use io_uring where the system allows it, unless the environment forbids it.
fn start_ring(number: usize, logs: &LogSender) -> Option<uring::Driver> {
    if std::env::var_os(IO_URING_VARIABLE).is_some_and(|value| value == "0") {
        return None;
    }
    match uring::Driver::start() {
        Ok(driver) => {
            spawn_local(async {
                let _guard = AbortOnPanic;
                uring::drive().await;
            });
            Some(driver)
        }
        Err(error) => {
            if number == 0 {
                logs.event(Event::new("io_uring_unavailable", error.to_string()));
            }
            None
        }
    }
}

/// A thread that is gone would strand the connections that its listeners get; without the process,
/// the holder starts another. Panics of single connections end in their tasks and do not come here.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

struct ServingThread {
    logs: LogSender,
    tasks: TaskTracker,
    endpoints: HashMap<Arc<str>, Rc<Endpoint>>,
    accepting: HashMap<SocketAddr, Vec<AcceptLoop>>,
}

type Listener = AsyncFd<StdTcpListener>;

struct AcceptLoop {
    stop: CancellationToken,
    /// Gives the listener back.
    task: JoinHandle<(Listener, Rc<Endpoint>)>,
}

impl ServingThread {
    fn new(logs: LogSender) -> Self {
        Self {
            logs,
            tasks: TaskTracker::new(),
            endpoints: HashMap::new(),
            accepting: HashMap::new(),
        }
    }

    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut sweep = interval(TICK);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let order = tokio::select! {
                order = orders.recv() => order,
                _ = sweep.tick() => {
                    self.sweep();
                    continue;
                }
            };
            match order {
                Some(Order::Serve {
                    service,
                    address,
                    listener,
                    started,
                }) => {
                    let _ = started.send(self.serve(&service, address, listener));
                }
                Some(Order::ServeRelayed { service, socket }) => {
                    let endpoint = self.endpoint(&service);
                    let serve = serve_relayed(socket, Rc::clone(&endpoint));
                    endpoint.tasks.spawn_local(serve);
                }
                Some(Order::Close { address, closed }) => {
                    self.close(address, true).await;
                    let _ = closed.send(());
                }
                Some(Order::Drain {
                    accept_waiting,
                    drained,
                }) => {
                    self.drain(accept_waiting).await;
                    let _ = drained.send(());
                    return;
                }
                None => return,
            }
        }
    }

    fn serve(
        &mut self,
        service: &Arc<Service>,
        address: SocketAddr,
        listener: OwnedFd,
    ) -> io::Result<()> {
        let listener = watched(StdTcpListener::from(listener))?;
        let endpoint = self.endpoint(service);
        let stop = CancellationToken::new();
        let task = spawn_local(accept_loop(listener, endpoint, stop.clone()));
        self.accepting
            .entry(address)
            .or_default()
            .push(AcceptLoop { stop, task });
        Ok(())
    }

    /// The service as this thread serves it. One of the same name that was withdrawn is another
    /// service.
    fn endpoint(&mut self, service: &Arc<Service>) -> Rc<Endpoint> {
        let known = self.endpoints.get(service.name());
        if let Some(endpoint) = known.filter(|known| Arc::ptr_eq(&known.service, service)) {
            return Rc::clone(endpoint);
        }
        let endpoint = Endpoint::new(Arc::clone(service), self.logs.clone(), self.tasks.clone());
        self.endpoints
            .insert(Arc::clone(service.name()), Rc::clone(&endpoint));
        endpoint
    }

    async fn close(&mut self, address: SocketAddr, accept_waiting: bool) {
        for accepting in self.accepting.remove(&address).unwrap_or_default() {
            accepting.stop.cancel();
            let Ok((listener, endpoint)) = accepting.task.await else {
                continue;
            };
            if accept_waiting {
                accept_waiting_connections(&listener, &endpoint);
            }
        }
        let before = self.endpoints.len();
        self.endpoints.retain(|_, endpoint| !endpoint.is_closing());
        if self.endpoints.len() < before {
            deadline::wake_all();
        }
    }

    async fn drain(&mut self, accept_waiting: bool) {
        let addresses: Vec<_> = self.accepting.keys().copied().collect();
        for address in addresses {
            self.close(address, accept_waiting).await;
        }
        self.tasks.close();
        let mut sweep = interval(TICK);
        loop {
            tokio::select! {
                () = self.tasks.wait() => break,
                _ = sweep.tick() => self.sweep(),
            }
        }
        // The last answers may still be on their way to the system.
        loop {
            uring::turn();
            if uring::is_settled() {
                return;
            }
            sweep.tick().await;
            self.sweep();
        }
    }

    /// What is done once per tick, so that requests need not do it.
    fn sweep(&self) {
        deadline::sweep();
        uring::sweep();
        clock::follow_wall_clock();
        let mut closing = false;
        for endpoint in self.endpoints.values() {
            closing |= endpoint.sweep();
        }
        if closing {
            deadline::wake_all();
        }
    }
}

#[expect(
    deprecated,
    reason = "unsound only for types whose descriptor changes, which a listener's does not"
)]
fn watched(listener: StdTcpListener) -> io::Result<Listener> {
    listener.set_nonblocking(true)?;
    AsyncFd::with_interest(listener, Interest::READABLE)
}

async fn accept_loop(
    listener: Listener,
    endpoint: Rc<Endpoint>,
    stop: CancellationToken,
) -> (Listener, Rc<Endpoint>) {
    let mut pauses: u32 = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return (listener, endpoint),
            accepted = listener.async_io(Interest::READABLE, accept) => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                pauses = 0;
                spawn_connection(socket, peer, &endpoint);
            }
            Err(error) if is_want_of_resources(&error) => {
                if pauses.is_multiple_of(PAUSES_PER_EVENT) {
                    let event = Event::new("accept_paused", error.to_string());
                    endpoint.logs.event(event.of(endpoint.service.name()));
                }
                pauses = pauses.wrapping_add(1);
                sleep(ACCEPT_PAUSE).await;
            }
            // The client was gone before its connection was accepted.
            Err(_) => {}
        }
    }
}

/// What has been connected but not accepted would be reset when the listener closes.
fn accept_waiting_connections(listener: &Listener, endpoint: &Rc<Endpoint>) {
    while let Ok((socket, peer)) = accept(listener.get_ref()) {
        spawn_connection(socket, peer, endpoint);
    }
}

/// Accepts a connection that does not block.
fn accept(listener: &StdTcpListener) -> io::Result<(OwnedFd, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, peer) = acceptfrom_with(listener, flags)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    let peer = peer.ok_or_else(|| io::Error::other("a client without an address"))?;
    Ok((socket, peer))
}

fn spawn_connection(socket: OwnedFd, peer: SocketAddr, endpoint: &Rc<Endpoint>) {
    endpoint
        .tasks
        .spawn_local(serve_connection(socket, peer, Rc::clone(endpoint)));
}

fn is_want_of_resources(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}
