//! The worker's side of the channel to the holder, and the revival of a holder that died.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::error::ProxyError;
use crate::handover::{
    self, Carried, Channel, HolderMessage, ListenerName, MAX_SOCKETS_PER_MESSAGE, ServiceLoad,
    WorkerMessage,
};
use crate::log::{Event, LogSender};

/// Delay before a holder is started that comes soon after the last one; doubles from there.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Longest delay before a holder is started again.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);
/// A holder that lived this long is not one that keeps dying.
const STEADY_TIME: Duration = Duration::from_secs(10);
/// How often a request is put to the holder when it dies in between.
const MAX_ASKS: usize = 3;

/// What the holder did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HolderEvent {
    /// It is gone, or was, and it is time to start another.
    Lost,
    /// It tells what a worker that is leaving still has in flight.
    Carried(Carried),
    /// It has a successor that is prepared: give nothing to replicas any more.
    Yield,
    /// It has no successor, for this reason.
    Stay(String),
    /// It wants the worker to end.
    Stop,
}

/// The holder as the worker knows it, and copies of all that it holds.
#[derive(Debug)]
pub(super) struct HolderLink {
    channel: Option<Channel>,
    command: Vec<OsString>,
    held: BTreeMap<ListenerName, Vec<OwnedFd>>,
    stop_requested: bool,
    /// Told while something else was awaited.
    carried: VecDeque<Carried>,
    started: Instant,
    retry_delay: Duration,
    logs: LogSender,
}

impl HolderLink {
    pub(super) fn new(
        channel: OwnedFd,
        command: Vec<OsString>,
        logs: LogSender,
    ) -> Result<Self, ProxyError> {
        Ok(Self {
            channel: Some(Channel::new(channel).map_err(ProxyError::Handover)?),
            command,
            held: BTreeMap::new(),
            stop_requested: false,
            carried: VecDeque::new(),
            started: Instant::now(),
            retry_delay: Duration::ZERO,
            logs,
        })
    }

    /// Whether the holder asked for the end while something else was awaited from it.
    pub(super) fn stop_requested(&self) -> bool {
        self.stop_requested
    }

    /// What was told while something else was awaited.
    pub(super) fn take_carried(&mut self) -> Option<Carried> {
        self.carried.pop_front()
    }

    /// Waits for something that the holder does unasked. May be dropped while it waits.
    pub(super) async fn event(&mut self) -> HolderEvent {
        if let Some(carried) = self.take_carried() {
            return HolderEvent::Carried(carried);
        }
        loop {
            let Some(channel) = &self.channel else {
                sleep_until(self.started + self.retry_delay).await;
                return HolderEvent::Lost;
            };
            match channel.receive().await {
                Ok(Some((HolderMessage::Stop, _))) => return HolderEvent::Stop,
                Ok(Some((HolderMessage::Yield, _))) => return HolderEvent::Yield,
                Ok(Some((HolderMessage::Stay { reason }, _))) => return HolderEvent::Stay(reason),
                Ok(Some((HolderMessage::Carried(carried), _))) => {
                    return HolderEvent::Carried(carried);
                }
                // An answer to a question that was given up.
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => self.lost(),
            }
        }
    }

    /// Says that the saved tables are loaded, and waits until no other worker gives anything to replicas.
    ///
    /// # Errors
    ///
    /// When the holder is gone: whoever serves now starts another, and that one another worker.
    pub(super) async fn prepared(&mut self) -> Result<(), ProxyError> {
        let gone = || ProxyError::Handover(io::ErrorKind::BrokenPipe.into());
        let channel = self.channel.as_ref().ok_or_else(gone)?;
        let prepared = WorkerMessage::Prepared {
            process: std::process::id(),
        };
        channel
            .send(&prepared, &[])
            .await
            .map_err(ProxyError::Handover)?;
        loop {
            let received = channel.receive().await.map_err(ProxyError::Handover)?;
            match received.ok_or_else(gone)?.0 {
                HolderMessage::Serve => return Ok(()),
                HolderMessage::Carried(carried) => self.carried.push_back(carried),
                HolderMessage::Stop => {
                    self.stop_requested = true;
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// The control socket.
    pub(super) async fn control(&mut self) -> Result<OwnedFd, ProxyError> {
        self.one(ListenerName::Control).await
    }

    /// The socket on which workers that have left bring their requests.
    pub(super) async fn relay(&mut self) -> Result<OwnedFd, ProxyError> {
        self.one(ListenerName::Relay).await
    }

    async fn one(&mut self, name: ListenerName) -> Result<OwnedFd, ProxyError> {
        let broken = |reason: String| ProxyError::Handover(io::Error::other(reason));
        let mut listeners = self.bind_name(name, 1).await.map_err(broken)?;
        listeners
            .pop()
            .ok_or_else(|| broken("the holder sent no socket".to_owned()))
    }

    /// `count` listeners of `address`, or more; a refusal is for a person.
    pub(super) async fn bind(
        &mut self,
        address: SocketAddr,
        count: usize,
    ) -> Result<Vec<OwnedFd>, String> {
        self.bind_name(ListenerName::Endpoint(address), count).await
    }

    /// Lets go of the listeners of `address`, here and in the holder; both have when this
    /// completes.
    pub(super) async fn release(&mut self, address: SocketAddr) {
        self.held.remove(&ListenerName::Endpoint(address));
        // A holder that is gone holds nothing, and its successor is given only what is held here.
        if let Err(_gone) = self.ask_to_release(address).await {
            self.lost();
        }
    }

    /// Everything needed has been asked for.
    pub(super) async fn ready(&mut self) {
        self.tell(
            &WorkerMessage::Ready {
                process: std::process::id(),
            },
            &[],
        )
        .await;
    }

    /// Another worker is wanted, and for that a holder. `command` starts it; `None`: what started this one.
    pub(super) async fn want_successor(&mut self, command: Option<Vec<String>>) {
        if self.channel.is_none() {
            self.revive().await;
        }
        self.tell(&WorkerMessage::WantsSuccessor { command }, &[])
            .await;
    }

    /// The holder is wanted to go on as another program.
    pub(super) async fn renew(&mut self, command: Vec<String>) {
        self.tell(&WorkerMessage::RenewHolder { command }, &[])
            .await;
    }

    /// Nothing is given to replicas any more; another worker may, and for that a holder is needed.
    pub(super) async fn leave(&mut self, in_flight: Vec<ServiceLoad>) {
        if self.channel.is_none() {
            self.revive().await;
        }
        self.tell(&WorkerMessage::Leaving { in_flight }, &[]).await;
    }

    /// This is what is still in flight after [`leave`](Self::leave).
    pub(super) async fn tell_load(&mut self, in_flight: Vec<ServiceLoad>) {
        self.tell(&WorkerMessage::Leaving { in_flight }, &[]).await;
    }

    /// Closes this process's copies of all listeners.
    pub(super) fn close(&mut self) {
        self.held.clear();
    }

    /// Starts a holder and hands it all listeners. If that fails, [`event`](Self::event) says when
    /// to try again.
    pub(super) async fn revive(&mut self) {
        self.started = Instant::now();
        match self.start_holder().await {
            Ok(()) => self
                .logs
                .event(Event::new("holder_revived", "the holder had died")),
            Err(error) => {
                self.logs
                    .event(Event::new("holder_not_revived", format!("{error:?}")));
                self.lost();
            }
        }
    }

    async fn start_holder(&mut self) -> Result<(), ProxyError> {
        let (ours, theirs) = Channel::pair().map_err(ProxyError::Handover)?;
        let channel = Channel::new(ours).map_err(ProxyError::Handover)?;
        // The runtime reaps the child when it ends, so it need not be kept.
        drop(handover::start_process(
            &self.command,
            "holder",
            theirs,
            true,
        )?);
        for (name, listeners) in &self.held {
            for chunk in listeners.chunks(MAX_SOCKETS_PER_MESSAGE) {
                let message = WorkerMessage::Adopt { name: *name };
                channel
                    .send(&message, chunk)
                    .await
                    .map_err(ProxyError::Handover)?;
            }
        }
        let ready = WorkerMessage::Ready {
            process: std::process::id(),
        };
        channel
            .send(&ready, &[])
            .await
            .map_err(ProxyError::Handover)?;
        self.channel = Some(channel);
        Ok(())
    }

    fn lost(&mut self) {
        self.channel = None;
        let steady = self.started.elapsed() >= STEADY_TIME;
        let doubled = (self.retry_delay * 2).clamp(FIRST_RETRY_DELAY, MAX_RETRY_DELAY);
        self.retry_delay = if steady { Duration::ZERO } else { doubled };
    }

    async fn bind_name(
        &mut self,
        name: ListenerName,
        count: usize,
    ) -> Result<Vec<OwnedFd>, String> {
        for _ in 0..MAX_ASKS {
            match self.ask(name, count).await {
                Ok(Ok(listeners)) => {
                    let copies = copy(&listeners).map_err(|error| error.to_string())?;
                    self.held.insert(name, listeners);
                    return Ok(copies);
                }
                Ok(Err(reason)) => return Err(reason),
                Err(_) => {
                    self.lost();
                    self.revive().await;
                }
            }
        }
        Err("the process that holds the sockets of the proxy keeps dying; see its event log".into())
    }

    /// The outer error means that the holder is gone, the inner one that it refuses.
    async fn ask(
        &mut self,
        name: ListenerName,
        count: usize,
    ) -> io::Result<Result<Vec<OwnedFd>, String>> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let channel = self.channel.as_ref().ok_or_else(gone)?;
        channel
            .send(&WorkerMessage::Bind { name, count }, &[])
            .await?;
        let mut listeners = Vec::new();
        let mut expected = 0;
        loop {
            match channel.receive().await?.ok_or_else(gone)? {
                (HolderMessage::Listeners { count, more }, sockets) => {
                    expected += count;
                    listeners.extend(sockets);
                    if more {
                        continue;
                    }
                    // The system drops those for which there is no descriptor. Nobody would accept
                    // on them.
                    let complete = listeners.len() == expected;
                    let shortage = || "the proxy has no file descriptors left".to_owned();
                    return Ok(if complete {
                        Ok(listeners)
                    } else {
                        Err(shortage())
                    });
                }
                (HolderMessage::Refused { reason }, _) => return Ok(Err(reason)),
                (HolderMessage::Carried(carried), _) => self.carried.push_back(carried),
                (HolderMessage::Stop, _) => self.stop_requested = true,
                // An answer to a question that was given up.
                _ => {}
            }
        }
    }

    async fn ask_to_release(&mut self, address: SocketAddr) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let Some(channel) = &self.channel else {
            return Ok(());
        };
        channel
            .send(&WorkerMessage::Release { address }, &[])
            .await?;
        loop {
            match channel.receive().await?.ok_or_else(gone)? {
                (HolderMessage::Released, _) => return Ok(()),
                (HolderMessage::Carried(carried), _) => self.carried.push_back(carried),
                (HolderMessage::Stop, _) => self.stop_requested = true,
                // An answer to a question that was given up.
                _ => {}
            }
        }
    }

    async fn tell(&mut self, message: &WorkerMessage, sockets: &[OwnedFd]) {
        if let Some(channel) = &self.channel {
            // A holder that cannot hear it is about to be noticed as gone, and its successor is
            // told everything.
            let _ = channel.send(message, sockets).await;
        }
    }
}

fn copy(listeners: &[OwnedFd]) -> io::Result<Vec<OwnedFd>> {
    listeners.iter().map(OwnedFd::try_clone).collect()
}
