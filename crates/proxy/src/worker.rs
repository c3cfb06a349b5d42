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
//! Told to stop by the holder: accept what already waits, finish what is in flight, end. On SIGTERM
//! another worker takes over: this one stops accepting, lets short requests finish while new
//! connections wait, and from then on gives nothing to a replica. Then the successor is started; it
//! adds what is still in flight here to its own counts, so that promise 1 holds across the change.

mod connection;
mod controller_link;
mod holder_link;
mod registry;
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
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use self::controller_link::{ControllerLink, Input};
use self::holder_link::{HolderEvent, HolderLink};
use self::registry::Registry;
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
/// How long a worker that is leaving lets short requests finish before its successor is started;
/// more than a connection gets for its first request.
const LEAVING_GRACE: Duration = Duration::from_millis(1500);
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
        let control = StdUnixListener::from(holder.control().await?);
        let control = UnixListener::from_std(control).map_err(ProxyError::Runtime)?;
        let (input_sender, inputs) = mpsc::channel(COMMAND_QUEUE);
        let (failure_sender, failures) = mpsc::channel(FAILURE_QUEUE);
        let drained = Arc::new(Notify::new());
        let signals = Signals {
            drained: Arc::clone(&drained),
            failures: failure_sender,
        };
        let mut registry = Registry::new(paths, signals, logs.clone())?;
        registry.restore(&mut holder).await;
        while let Some(carried) = holder.take_carried() {
            registry.carry(carried);
        }
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
                Next::Holder(HolderEvent::Lost) => {
                    self.registry.forget_carried();
                    self.holder.revive().await;
                }
                Next::Holder(HolderEvent::Carried(carried)) => {
                    self.registry.carry(carried);
                    self.report_traffic();
                }
                Next::Terminate => break End::Leave,
                Next::Controller(controller) => self.welcome(controller),
                Next::Input(id, input) => self.input(id, input).await,
                Next::Failure(failure) => self.report(ProxyReport::UpstreamFailed {
                    service: failure.service.to_string(),
                    replica_id: failure.replica_id,
                    error: failure.error,
                }),
                Next::Drained => self.report_traffic(),
                Next::Scrape(scrape) => {
                    // One who has gone away since needs no answer.
                    let _ = scrape.send(self.registry.snapshots());
                }
                Next::Tick => {
                    self.ticks = self.ticks.wrapping_add(1);
                    if self.ticks.is_multiple_of(TICKS_PER_CERTIFICATE_LOOK) {
                        self.registry.renew_certificates();
                    }
                    if self.ticks.is_multiple_of(TICKS_PER_METRICS_SWEEP) {
                        self.registry.forget_idle_metrics();
                    }
                    self.registry.bind_missing(&mut self.holder).await;
                    self.report_traffic();
                }
                Next::Nothing => {}
            }
        };
        self.finish(end).await;
    }

    async fn next(&mut self) -> Next {
        let id = self.controllers + 1;
        tokio::select! {
            event = self.holder.event() => Next::Holder(event),
            _ = self.terminate.recv() => Next::Terminate,
            accepted = self.control.accept() => match accepted {
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
        drop(self.metrics);
        let services: Vec<_> = self.registry.services().cloned().collect();
        let mut drained = pin!(self.registry.drain(end == End::Stop));
        if end == End::Leave {
            let quickly = timeout(LEAVING_GRACE, drained.as_mut()).await;
            // From here on nothing is selected by this worker's tables, which will be outdated.
            services.iter().for_each(|service| service.close());
            self.holder.leave(Registry::loads(&services)).await;
            self.holder.close();
            if quickly.is_ok() {
                return self
                    .logs
                    .event(Event::new("worker_finished", "all requests finished"));
            }
        }
        self.holder.close();
        let limit = if end == End::Leave {
            LEAVING_DRAIN_TIME
        } else {
            DRAIN_TIME
        };
        let mut limit = pin!(sleep(limit));
        let mut told = Vec::new();
        let detail = loop {
            tokio::select! {
                () = drained.as_mut() => break "all requests finished",
                () = limit.as_mut() => break "requests still in flight were cut off",
                _ = self.terminate.recv() => break "told again; requests in flight were cut off",
                () = self.drained.notified() => {}
                _ = self.tick.tick() => {}
            }
            let loads = Registry::loads(&services);
            if end == End::Leave && loads != told {
                told.clone_from(&loads);
                self.holder.tell_load(loads).await;
            }
        };
        self.logs.event(Event::new("worker_finished", detail));
    }
}
