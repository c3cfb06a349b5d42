//! The worker: the process that serves.
//!
//! One thread per core serves connections, each with its own runtime, its own listeners and its own
//! connections to replicas; they share the tables ([`crate::routing`]). This module is the control
//! plane beside them: one thread that talks to the controller and to the holder, and never touches
//! a request.
//!
//! # Rules
//!
//! - A table is acknowledged once it is on disk, its endpoint listens, and no thread can select by
//!   an older one.
//! - One controller at a time; the newest connection wins. Reports are pushed, nothing is polled.
//! - The holder's end of the channel is its pulse: when it is gone a new holder is started and
//!   handed everything.
//!
//! # Cold start and recovery
//!
//! Saved tables are served before a controller is accepted. An endpoint that cannot be bound then
//! (its port was taken while no proxy ran) is tried again each second.
//!
//! # End
//!
//! Told to stop by the holder: accept what already waits, finish what is in flight, end. On SIGTERM, or when the controller
//! names another program, another worker takes over ([`crate::holder`] says how): this one lets go of the controller, so
//! that its tables stay as they are, and serves until its successor is prepared. Then it gives nothing to replicas any more:
//! whatever still comes is brought to the successor ([`crate::relay`]), which also adds what is still in flight here
//! to its own counts, so that promise 1 holds across the change. If no successor comes so far, it goes on as before.

mod connection;
mod controller_link;
mod holder_link;
mod registry;
mod relay_listener;
mod reporter;
mod serving_thread;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use plan::routing::{ProxyCommand, ProxyReport};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::UnixListener;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use self::controller_link::{ControllerLink, Input};
use self::holder_link::{HolderEvent, HolderLink};
use self::registry::Registry;
use self::relay_listener::{RelayListener, Relayed};
use self::reporter::Reporter;
use crate::error::ProxyError;
use crate::handover;
use crate::log::{Event, LogSender, LogWriter};
use crate::metrics::{MetricsServer, Scrape};
use crate::paths::ProxyPaths;
use crate::routing::{FAILURE_QUEUE, Failure, Signals};

/// How long requests in flight may take to finish when the proxy is stopped.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(30);
/// The same when another worker has taken over, so that nothing presses.
const LEAVING_DRAIN_TIME: Duration = Duration::from_secs(3600);
/// How often a worker that has left tells what it has in flight, if that has changed: its successor's limits wait for it.
const LOAD_INTERVAL: Duration = Duration::from_millis(100);
/// How often traffic is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Certificates are looked at once in this many reports.
const TICKS_PER_CERTIFICATE_LOOK: u32 = 5;
/// Metrics nobody needs any more are looked for once in this many reports.
const TICKS_PER_METRICS_SWEEP: u32 = 60;
/// `host:port` on which metrics are served too.
const METRICS_ADDRESS_VARIABLE: &str = "SKYSERVE_METRICS_ADDRESS";
/// Commands that may wait to be carried out.
const COMMAND_QUEUE: usize = 16;
/// Pause after a connection of a controller could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes the channel to the holder that started this process from standard input.
///
/// # Errors
///
/// When standard input cannot be duplicated.
pub fn inherited_holder() -> Result<OwnedFd, ProxyError> {
    handover::take_from_stdin()
}

/// Serves the endpoints of `paths.home` until told to end. `holder` is the channel to the holder,
/// see [`inherited_holder`]; `holder_command` starts a process that calls
/// [`run_holder`](crate::run_holder), for when the holder dies.
///
/// # Errors
///
/// When the process cannot set itself up; requests and controllers cannot make it fail.
pub fn run_worker(
    paths: &ProxyPaths,
    holder: OwnedFd,
    holder_command: Vec<OsString>,
) -> Result<(), ProxyError> {
    paths.prepare()?;
    let (writer, logs) = LogWriter::start(paths.clone()).map_err(ProxyError::Runtime)?;
    raise_descriptor_limit(&logs);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ProxyError::Runtime)?;
    let result = runtime.block_on(async {
        let holder = HolderLink::new(holder, holder_command, logs.clone())?;
        Worker::start(paths, holder, logs).await?.run().await;
        Ok(())
    });
    writer.finish();
    result
}

/// One descriptor per connection on either side: take all that the system gives.
fn raise_descriptor_limit(logs: &LogSender) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        let detail = format!("cannot raise the limit of open files from {limit:?}: {error}");
        logs.event(Event::new("descriptor_limit", detail));
    }
}

fn listener(socket: OwnedFd) -> Result<UnixListener, ProxyError> {
    UnixListener::from_std(StdUnixListener::from(socket)).map_err(ProxyError::Runtime)
}

/// Why the worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The holder ends as well.
    Stop,
    /// Another worker takes over.
    Leave,
}

struct Worker {
    registry: Registry,
    holder: HolderLink,
    reporter: Reporter,
    control: UnixListener,
    /// `None` where it could not be bound.
    relay: Option<RelayListener>,
    /// Whether another worker is being started, so that no controller is listened to.
    is_handing_over: bool,
    controller: Option<ControllerLink>,
    controllers: u64,
    /// For the readers of controllers to come.
    input_sender: mpsc::Sender<(u64, Input)>,
    inputs: mpsc::Receiver<(u64, Input)>,
    failures: mpsc::Receiver<Failure>,
    drained: Arc<Notify>,
    terminate: unix::Signal,
    tick: Interval,
    ticks: u32,
    metrics: MetricsServer,
    logs: LogSender,
}

/// What the control plane has to do next.
enum Next {
    Holder(HolderEvent),
    Controller(ControllerLink),
    Input(u64, Input),
    Failure(Failure),
    Drained,
    Relayed(Relayed),
    Scrape(Scrape),
    Tick,
    Terminate,
    Nothing,
}

impl Worker {
    async fn start(
        paths: &ProxyPaths,
        mut holder: HolderLink,
        logs: LogSender,
    ) -> Result<Self, ProxyError> {
        let terminate = unix::signal(SignalKind::terminate()).map_err(ProxyError::Runtime)?;
        let (input_sender, inputs) = mpsc::channel(COMMAND_QUEUE);
        let (failure_sender, failures) = mpsc::channel(FAILURE_QUEUE);
        let drained = Arc::new(Notify::new());
        let signals = Signals {
            drained: Arc::clone(&drained),
            failures: failure_sender,
        };
        let mut registry = Registry::new(paths, signals, logs.clone())?;
        registry.restore();
        // What takes time is done. From here on no other worker gives anything to a replica.
        holder.prepared().await?;
        while let Some(carried) = holder.take_carried() {
            registry.carry(carried);
        }
        registry.open_all(&mut holder).await;
        let control = listener(holder.control().await?)?;
        let relay = match holder.relay().await.and_then(listener) {
            Ok(listener) => Some(RelayListener::start(listener)),
            Err(error) => {
                logs.event(Event::new("relay_not_bound", format!("{error:?}")));
                None
            }
        };
        holder.ready().await;
        logs.event(Event::new("worker_started", registry.describe()));
        let address = std::env::var(METRICS_ADDRESS_VARIABLE)
            .ok()
            .filter(|address| !address.is_empty());
        let metrics = MetricsServer::start(paths.metrics_socket(), address, &logs);
        let mut tick = interval(REPORT_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            registry,
            holder,
            reporter: Reporter::default(),
            control,
            relay,
            is_handing_over: false,
            controller: None,
            controllers: 0,
            input_sender,
            inputs,
            failures,
            drained,
            terminate,
            tick,
            ticks: 0,
            metrics,
            logs,
        })
    }

    async fn run(mut self) {
        let end = loop {
            if self.holder.stop_requested() {
                break End::Stop;
            }
            match self.next().await {
                Next::Holder(HolderEvent::Stop) => break End::Stop,
                Next::Holder(HolderEvent::Yield) => break End::Leave,
                Next::Holder(HolderEvent::Stay(reason)) => {
                    self.is_handing_over = false;
                    self.logs.event(Event::new("worker_stays", reason));
                }
                Next::Holder(HolderEvent::Lost) => {
                    self.registry.forget_carried();
                    self.holder.revive().await;
                    if self.is_handing_over {
                        self.holder.want_successor(None).await;
                    }
                }
                Next::Holder(HolderEvent::Carried(carried)) => {
                    self.registry.carry(carried);
                    self.report_traffic();
                }
                Next::Terminate => self.hand_over(None).await,
                Next::Controller(controller) => self.welcome(controller),
                Next::Input(id, input) => self.input(id, input).await,
                Next::Failure(failure) => self.report(ProxyReport::UpstreamFailed {
                    service: failure.service.to_string(),
                    replica_id: failure.replica_id,
                    error: failure.error,
                }),
                Next::Drained => self.report_traffic(),
                Next::Relayed(relayed) => self.registry.serve_relayed(relayed),
                Next::Scrape(scrape) => {
                    // One who has gone away since needs no answer.
                    let _ = scrape.send(self.registry.snapshots());
                }
                Next::Tick => self.tick().await,
                Next::Nothing => {}
            }
        };
        self.finish(end).await;
    }

    async fn tick(&mut self) {
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(TICKS_PER_CERTIFICATE_LOOK) {
            self.registry.look_at_certificates();
        }
        if self.ticks.is_multiple_of(TICKS_PER_METRICS_SWEEP) {
            self.registry.forget_idle_metrics();
        }
        if !self.is_handing_over {
            self.registry.bind_missing(&mut self.holder).await;
        }
        self.report_traffic();
    }

    /// Lets another worker take over, once that one is prepared.
    async fn hand_over(&mut self, command: Option<Vec<String>>) {
        if self.is_handing_over {
            return;
        }
        self.is_handing_over = true;
        // The successor reads the saved tables: from here on they do not change.
        self.controller = None;
        self.holder.want_successor(command).await;
    }

    async fn next(&mut self) -> Next {
        let id = self.controllers + 1;
        let relay = async {
            match &mut self.relay {
                Some(relay) => relay.next().await,
                None => None,
            }
        };
        tokio::select! {
            event = self.holder.event() => Next::Holder(event),
            _ = self.terminate.recv() => Next::Terminate,
            accepted = self.control.accept(), if !self.is_handing_over => match accepted {
                Ok((stream, _)) => {
                    Next::Controller(ControllerLink::start(id, stream, self.input_sender.clone()))
                }
                Err(error) => {
                    self.logs.event(Event::new("controller_not_accepted", error.to_string()));
                    sleep(ACCEPT_PAUSE).await;
                    Next::Nothing
                }
            },
            Some((id, input)) = self.inputs.recv() => Next::Input(id, input),
            Some(failure) = self.failures.recv() => Next::Failure(failure),
            () = self.drained.notified() => Next::Drained,
            Some(relayed) = relay => Next::Relayed(relayed),
            Some(scrape) = self.metrics.next() => Next::Scrape(scrape),
            _ = self.tick.tick() => Next::Tick,
        }
    }

    /// The newest controller is the one that counts; it is told everything.
    fn welcome(&mut self, controller: ControllerLink) {
        self.controllers = controller.id();
        self.controller = Some(controller);
        self.logs.event(Event::new(
            "controller_connected",
            format!("number {}", self.controllers),
        ));
        self.reporter.forget();
        self.report(ProxyReport::Hello {
            pid: std::process::id(),
            tables: self.registry.generations(),
        });
        for service in self.registry.services() {
            service.report_arrivals_again();
        }
        self.report_traffic();
    }

    async fn input(&mut self, id: u64, input: Input) {
        if self
            .controller
            .as_ref()
            .is_none_or(|controller| controller.id() != id)
        {
            return;
        }
        match input {
            Input::Command(command) => self.command(*command).await,
            Input::Garbled(error) => {
                self.logs.event(Event::new("command_not_understood", error));
            }
            Input::Closed => {
                self.controller = None;
                self.logs
                    .event(Event::new("controller_gone", format!("number {id}")));
            }
        }
    }

    async fn command(&mut self, command: ProxyCommand) {
        match command {
            ProxyCommand::Apply { table } => {
                let report = self.registry.apply(table, &mut self.holder).await;
                self.report(report);
            }
            ProxyCommand::ProbeSucceeded {
                service,
                replica_id,
            } => self.registry.probe_succeeded(&service, replica_id),
            ProxyCommand::Withdraw { service } => {
                self.registry.withdraw(&service, &mut self.holder).await;
                self.report(ProxyReport::Withdrawn { service });
                self.report_traffic();
            }
            ProxyCommand::ReplaceWorker { words } => self.hand_over(Some(words)).await,
            ProxyCommand::RenewHolder { words } => self.holder.renew(words).await,
        }
    }

    fn report_traffic(&mut self) {
        let finished = self.registry.take_finished();
        if self.controller.is_none() {
            return;
        }
        let services: Vec<_> = self.registry.services().chain(&finished).cloned().collect();
        for service in services {
            if let Some(report) = self
                .reporter
                .traffic(&service, self.registry.in_flight(&service))
            {
                self.report(report);
            }
            if let Some(report) = self.reporter.canary(&service) {
                self.report(report);
            }
        }
        for service in finished {
            self.reporter.forget_service(service.name());
        }
    }

    /// A controller that does not read its reports is cut off: it may connect again and be told
    /// everything.
    fn report(&mut self, report: ProxyReport) {
        if self
            .controller
            .as_ref()
            .is_some_and(|controller| !controller.report(report))
        {
            self.controller = None;
            self.logs.event(Event::new(
                "controller_too_slow",
                "its reports were not read",
            ));
        }
    }

    async fn finish(mut self, end: End) {
        self.logs
            .event(Event::new("worker_finishing", format!("{end:?}")));
        self.controller = None;
        drop(self.control);
        drop(self.relay);
        self.metrics.close().await;
        let services: Vec<_> = self.registry.services().cloned().collect();
        if end == End::Leave {
            // From here on nothing is selected by this worker's tables, which will be outdated.
            self.registry.lead_to_successor();
            self.holder.leave(Registry::loads(&services)).await;
        }
        let mut drained = pin!(self.registry.drain(end == End::Stop));
        self.holder.close();
        let limit = if end == End::Leave {
            LEAVING_DRAIN_TIME
        } else {
            DRAIN_TIME
        };
        let mut limit = pin!(sleep(limit));
        let mut tick = interval(LOAD_INTERVAL);
        let mut told = None;
        let detail = loop {
            tokio::select! {
                () = drained.as_mut() => break "all requests finished",
                () = limit.as_mut() => break "requests still in flight were cut off",
                _ = self.terminate.recv() => break "told again; requests in flight were cut off",
                () = self.drained.notified() => {}
                _ = tick.tick() => {}
            }
            let loads = Registry::loads(&services);
            if end == End::Leave && told.as_ref() != Some(&loads) {
                told = Some(loads.clone());
                self.holder.tell_load(loads).await;
            }
        };
        self.logs.event(Event::new("worker_finished", detail));
    }
}
