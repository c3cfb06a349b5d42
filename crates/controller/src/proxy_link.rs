//! The controller's end of the proxy: tables go out, reports come in.
//!
//! Problem: the proxy may crash, restart or be upgraded at any moment, and so may the controller. Rules: the link
//! keeps the newest table of each service and tells all of them on every new connection; what the proxy serves
//! and no service knows is withdrawn; a proxy that is not there is started. Cold start: the link connects once
//! every service of the store has registered. Recovery: reconnecting is all there is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plan::routing::{ProxyCommand, ProxyReport, ReplicaId, RoutingTable};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::actor::Message;

/// Starts the proxy, detached, if none runs. Returns at once.
pub type ProxyLauncher = Box<dyn Fn() -> std::io::Result<()> + Send + Sync>;

const RECONNECT: Duration = Duration::from_millis(50);
const RECONNECT_SLOW: Duration = Duration::from_secs(1);
/// Failed attempts after which another launch is tried.
const ATTEMPTS_PER_LAUNCH: u32 = 40;

/// The link. Clones share it.
#[derive(Clone)]
pub struct ProxyLink {
    inner: Arc<Inner>,
}

struct Inner {
    socket: PathBuf,
    launch: ProxyLauncher,
    desired: Mutex<Desired>,
    changed: Notify,
    pid: AtomicU32,
    shutdown: CancellationToken,
}

#[derive(Default)]
struct Desired {
    tables: BTreeMap<String, RoutingTable>,
    withdrawn: BTreeSet<String>,
    /// What is not told yet on the present connection.
    pending: BTreeSet<String>,
    /// Successful probes that the proxy is to hear of.
    recovered: BTreeSet<(String, ReplicaId)>,
    sinks: BTreeMap<String, mpsc::Sender<Message>>,
}

impl ProxyLink {
    /// A link to the proxy behind `socket`; `launch` starts one where there is none.
    #[must_use]
    pub fn new(socket: PathBuf, launch: ProxyLauncher) -> Self {
        let inner = Inner {
            socket,
            launch,
            desired: Mutex::default(),
            changed: Notify::new(),
            pid: AtomicU32::new(0),
            shutdown: CancellationToken::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Connects, now and after every loss, until [`close`](Self::close).
    pub(crate) fn open(&self) {
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move { inner.run().await });
    }

    /// Ends the connection. The proxy goes on serving from its last tables.
    pub fn close(&self) {
        self.inner.shutdown.cancel();
    }

    /// The process id of the proxy, once it is connected.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        Some(self.inner.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    pub(crate) fn register(&self, service: &str, sink: mpsc::Sender<Message>) {
        self.inner
            .desired(|desired| desired.sinks.insert(service.to_owned(), sink));
    }

    pub(crate) fn unregister(&self, service: &str) {
        self.inner.desired(|desired| {
            desired.sinks.remove(service);
            desired.tables.remove(service);
            desired.withdrawn.remove(service);
        });
    }

    pub(crate) fn apply(&self, table: RoutingTable) {
        self.inner.desired(|desired| {
            desired.pending.insert(table.service.clone());
            desired.tables.insert(table.service.clone(), table);
        });
        self.inner.changed.notify_one();
    }

    /// Tells the proxy, if it is connected, that a probe succeeded.
    pub(crate) fn probe_succeeded(&self, service: &str, replica_id: ReplicaId) {
        self.inner.desired(|desired| {
            desired.recovered.insert((service.to_owned(), replica_id));
        });
        self.inner.changed.notify_one();
    }

    pub(crate) fn withdraw(&self, service: &str) {
        self.inner.desired(|desired| {
            desired.tables.remove(service);
            desired.withdrawn.insert(service.to_owned());
            desired.pending.insert(service.to_owned());
        });
        self.inner.changed.notify_one();
    }
}

impl Inner {
    fn desired<R>(&self, change: impl FnOnce(&mut Desired) -> R) -> R {
        change(&mut self.desired.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn run(&self) {
        let mut failures = 0_u32;
        while !self.shutdown.is_cancelled() {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => {
                    failures = 0;
                    let end = tokio::select! {
                        () = self.shutdown.cancelled() => return,
                        end = self.converse(stream) => end,
                    };
                    self.pid.store(0, Ordering::Relaxed);
                    tracing::warn!(reason = ?end.err(), "the proxy's connection is lost; reconnecting");
                }
                Err(error) => {
                    if failures.is_multiple_of(ATTEMPTS_PER_LAUNCH) {
                        tracing::info!(%error, "no proxy; starting one");
                        if let Err(error) = (self.launch)() {
                            tracing::error!(%error, "cannot start the proxy");
                        }
                    }
                    failures = failures.saturating_add(1);
                }
            }
            let slow = failures > ATTEMPTS_PER_LAUNCH;
            tokio::time::sleep(if slow { RECONNECT_SLOW } else { RECONNECT }).await;
        }
    }

    /// One connection, from hello to loss.
    async fn converse(&self, stream: UnixStream) -> std::io::Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        // `next_line` may be dropped in the middle of a line by `select!`, so reading has a task of its own.
        let (sender, mut reports) = mpsc::channel(64);
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if sender.send(line).await.is_err() {
                    break;
                }
            }
        });
        let outcome = loop {
            tokio::select! {
                line = reports.recv() => match line {
                    Some(line) => self.take(&line).await,
                    None => break Ok(()),
                },
                () = self.changed.notified() => {}
            }
            if self.pid.load(Ordering::Relaxed) == 0 {
                continue; // Nothing is told before the hello.
            }
            for command in self.due() {
                let mut line = serde_json::to_vec(&command)?;
                line.push(b'\n');
                if let Err(error) = writer.write_all(&line).await {
                    reading.abort();
                    return Err(error);
                }
            }
        };
        reading.abort();
        outcome
    }

    fn due(&self) -> Vec<ProxyCommand> {
        self.desired(|desired| {
            let pending = std::mem::take(&mut desired.pending).into_iter();
            let tables = pending.map(|service| match desired.tables.get(&service) {
                Some(table) => ProxyCommand::Apply {
                    table: table.clone(),
                },
                None => ProxyCommand::Withdraw { service },
            });
            let recovered = std::mem::take(&mut desired.recovered).into_iter();
            let probes = recovered.map(|(service, replica_id)| ProxyCommand::ProbeSucceeded {
                service,
                replica_id,
            });
            tables.chain(probes).collect()
        })
    }

    async fn take(&self, line: &str) {
        let report: ProxyReport = match serde_json::from_str(line) {
            Ok(report) => report,
            Err(error) => return tracing::error!(%error, "the proxy says what is not understood"),
        };
        if let ProxyReport::Hello { pid, tables } = &report {
            return self.greeted(*pid, tables).await;
        }
        let service = service_of(&report).to_owned();
        if let ProxyReport::Refused {
            reason, generation, ..
        } = &report
        {
            tracing::error!(service, generation, reason, "the proxy refuses a table");
        }
        let sink = self.desired(|desired| desired.sinks.get(&service).cloned());
        if let Some(sink) = sink {
            let _ = sink.send(Message::Proxy(report)).await;
        }
    }

    async fn greeted(&self, pid: u32, tables: &[(String, u64)]) {
        self.pid.store(pid, Ordering::Relaxed);
        tracing::info!(pid, services = tables.len(), "the proxy is connected");
        let sinks: Vec<(String, mpsc::Sender<Message>)> = self.desired(|desired| {
            // Everything anew; and what nobody knows is closed.
            desired.pending.extend(desired.tables.keys().cloned());
            desired.pending.extend(desired.withdrawn.iter().cloned());
            for (service, _) in tables {
                if !desired.sinks.contains_key(service) {
                    desired.pending.insert(service.clone());
                }
            }
            desired.sinks.clone().into_iter().collect()
        });
        for (_, sink) in sinks {
            let hello = ProxyReport::Hello {
                pid,
                tables: Vec::new(),
            };
            let _ = sink.send(Message::Proxy(hello)).await;
        }
    }
}

fn service_of(report: &ProxyReport) -> &str {
    match report {
        ProxyReport::Hello { .. } => "",
        ProxyReport::Acknowledged { service, .. }
        | ProxyReport::Refused { service, .. }
        | ProxyReport::Withdrawn { service }
        | ProxyReport::Traffic { service, .. }
        | ProxyReport::Canary { service, .. }
        | ProxyReport::UpstreamFailed { service, .. } => service,
    }
}
