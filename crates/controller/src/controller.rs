//! All services: who manages which, and what users may ask of them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use plan::routing::{ReplicaId, Version};
use plan::steering::Answer;
use plan::{Event, Happening, HappeningKind, ServicePhase, ServiceState, Steering};
use provider::{Provider, ReplicaKey};
use store::{Commit, Store, StoreError, StoredService};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::actor::{self, Message};
use crate::clock::now;
use crate::new_version::{NewVersion, Updated};
use crate::proxy_link::ProxyLink;
use crate::snapshots::Snapshots;

/// The controller of all services of one home.
#[derive(Clone)]
pub struct Controller {
    pub(crate) shared: Arc<Shared>,
}

/// What the parts of the controller share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) proxy: ProxyLink,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
    services: RwLock<BTreeMap<String, Handle>>,
}

impl Shared {
    /// Whether a service of this incarnation is managed; one created since the start, say.
    fn has_incarnation(&self, incarnation: &str) -> bool {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        services
            .values()
            .any(|handle| handle.view.borrow().state.incarnation == incarnation)
    }
}

#[derive(Clone)]
struct Handle {
    inbox: mpsc::Sender<Message>,
    view: watch::Receiver<View>,
}

/// A service as it is now.
#[derive(Clone)]
pub struct View {
    /// Grows with every committed step.
    pub revision: u64,
    /// The planner's state.
    pub state: Arc<ServiceState>,
}

/// Why a request was refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// There is none of that name.
    #[error("Service '{0}' does not exist.")]
    NoSuchService(String),
    /// There is none of that number.
    #[error("Service '{service}' has no replica {replica}.")]
    NoSuchReplica {
        /// The service.
        service: String,
        /// The number.
        replica: ReplicaId,
    },
    /// There is no API key of that id.
    #[error("Service '{service}' has no API key '{id}'.")]
    NoSuchKey {
        /// The service.
        service: String,
        /// The id.
        id: String,
    },
    /// There is an API key of that id; draw another.
    #[error("the id '{0}' of an API key is taken")]
    KeyIdTaken(String),
    /// What the service is doing does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The controller is ending.
    #[error("the server is shutting down; try again")]
    Ending,
}

impl Controller {
    /// Takes up every service of the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(
        store: Arc<dyn Store>,
        provider: Arc<dyn Provider>,
        proxy: ProxyLink,
        snapshots: Arc<Snapshots>,
    ) -> Result<Self, ControllerError> {
        let stored = store.load()?;
        let known: Vec<ReplicaKey> = stored
            .iter()
            .flat_map(|service| keys(&service.state))
            .collect();
        let shared = Arc::new(Shared {
            store,
            provider,
            proxy,
            snapshots,
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            services: RwLock::new(BTreeMap::new()),
        });
        let controller = Self { shared };
        for service in stored {
            controller.take_up(service);
        }
        controller.shared.proxy.open();
        let shared = Arc::clone(&controller.shared);
        controller
            .shared
            .tasks
            .spawn(async move { end_unknown_replicas(&shared, &known).await });
        Ok(controller)
    }

    fn take_up(&self, service: StoredService) {
        let name = service.state.name.clone();
        let (inbox, messages) = mpsc::channel(1024);
        let view = View {
            revision: service.revision,
            state: Arc::new(service.state.clone()),
        };
        let (publish, view) = watch::channel(view);
        self.shared.proxy.register(&name, inbox.clone());
        let handle = Handle {
            inbox: inbox.clone(),
            view,
        };
        self.services_mut(|services| services.insert(name.clone(), handle));
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            let gone = actor::run(Arc::clone(&shared), service, inbox, messages, publish).await;
            if gone {
                shared.proxy.unregister(&name);
                let mut services = shared
                    .services
                    .write()
                    .unwrap_or_else(PoisonError::into_inner);
                services.remove(&name);
            }
        });
    }

    fn services_mut<R>(&self, change: impl FnOnce(&mut BTreeMap<String, Handle>) -> R) -> R {
        change(
            &mut self
                .shared
                .services
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn handle(&self, name: &str) -> Result<Handle, ControllerError> {
        let services = self
            .shared
            .services
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        services
            .get(name)
            .cloned()
            .ok_or_else(|| ControllerError::NoSuchService(name.to_owned()))
    }

    /// Every service, by name.
    #[must_use]
    pub fn views(&self) -> Vec<View> {
        let services = self
            .shared
            .services
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        services
            .values()
            .map(|handle| handle.view.borrow().clone())
            .collect()
    }

    /// One service.
    ///
    /// # Errors
    /// [`ControllerError::NoSuchService`].
    pub fn view(&self, name: &str) -> Result<View, ControllerError> {
        Ok(self.handle(name)?.view.borrow().clone())
    }

    /// One service, once its revision is above `after` or `timeout` is over.
    ///
    /// # Errors
    /// [`ControllerError::NoSuchService`], also when it goes while one waits.
    pub async fn changed(
        &self,
        name: &str,
        after: u64,
        timeout: Duration,
    ) -> Result<View, ControllerError> {
        let mut view = self.handle(name)?.view;
        let newer = view.wait_for(|view| view.revision > after);
        match tokio::time::timeout(timeout, newer).await {
            Ok(Ok(view)) => Ok(view.clone()),
            Ok(Err(_)) => Err(ControllerError::NoSuchService(name.to_owned())),
            Err(_) => self.view(name),
        }
    }

    /// One service, once it differs from `seen` in anything, committed or not.
    ///
    /// # Errors
    /// [`ControllerError::NoSuchService`], also when it goes while one waits.
    pub async fn moved(
        &self,
        name: &str,
        seen: &Arc<ServiceState>,
    ) -> Result<View, ControllerError> {
        let mut view = self.handle(name)?.view;
        let other = view.wait_for(|view| !Arc::ptr_eq(&view.state, seen)).await;
        other
            .map(|view| view.clone())
            .map_err(|_| ControllerError::NoSuchService(name.to_owned()))
    }

    /// Creates a service and launches its first version.
    ///
    /// # Errors
    /// The name is taken, or the store cannot be written.
    pub async fn create(
        &self,
        name: &str,
        incarnation: String,
        listen: std::net::SocketAddr,
        first: NewVersion,
    ) -> Result<View, ControllerError> {
        if self.handle(name).is_ok() {
            return Err(StoreError::NameTaken(name.to_owned()).into());
        }
        let at = now();
        let requested_by = first.requested_by.clone();
        let (version, record) = first.numbered(1, at);
        let state = ServiceState::new(name.to_owned(), incarnation, listen, version, at);
        let mut step = plan::step(&state, at, &Event::Tick);
        // The timeline begins with what everything else follows from.
        step.happenings.insert(0, accepted());
        let revision = self.shared.store.create(Commit {
            state: &step.state,
            at,
            version: Some(&record),
            requested_by: requested_by.as_deref(),
            keys: None,
            owed: &step.actions,
            settled: &[],
            happenings: &step.happenings,
        })?;
        let view = View {
            revision,
            state: Arc::new(step.state.clone()),
        };
        self.take_up(StoredService {
            state: step.state,
            revision,
            owed: step.actions,
        });
        Ok(view)
    }

    /// Makes a new version the desired one.
    ///
    /// # Errors
    /// No such service, it is being taken down, or the store cannot be written.
    pub async fn update(&self, name: &str, next: NewVersion) -> Result<Updated, ControllerError> {
        self.ask(name, |reply| Message::Update {
            next: Box::new(next),
            reply,
        })
        .await?
    }

    /// Takes a service down.
    ///
    /// # Errors
    /// No such service, or the store cannot be written.
    pub async fn down(&self, name: &str, now: bool, purge: bool) -> Result<(), ControllerError> {
        let event = Event::Down { now, purge };
        self.ask(name, |reply| Message::Request { event, reply })
            .await?
    }

    /// Ends one replica; it will be replaced if it is still wanted.
    ///
    /// # Errors
    /// No such service or replica, the replica is on its way out already, or the store cannot be written.
    pub async fn terminate_replica(
        &self,
        name: &str,
        replica: ReplicaId,
        now: bool,
        purge: bool,
    ) -> Result<(), ControllerError> {
        let event = Event::TerminateReplica {
            replica,
            now,
            purge,
        };
        self.ask(name, |reply| Message::Request { event, reply })
            .await?
    }

    /// Pauses, resumes, promotes or aborts the update in progress. Idempotent; the answer says whether anything
    /// changed.
    ///
    /// # Errors
    /// No such service, it cannot be done (`Conflict`, with a sentence), or the store cannot be written.
    pub async fn steer(
        &self,
        name: &str,
        what: Steering,
        requested_by: Option<String>,
    ) -> Result<Answer, ControllerError> {
        let event = Event::Steer { what };
        self.ask(name, |reply| Message::Steer {
            event,
            requested_by,
            reply,
        })
        .await?
    }

    /// Makes an earlier version the desired one again, under its own number; `None` is the one before.
    ///
    /// # Errors
    /// No such service, no such version (`Conflict`, with a sentence), or the store cannot be written.
    pub async fn rollback(
        &self,
        name: &str,
        to: Option<Version>,
        requested_by: Option<String>,
    ) -> Result<Answer, ControllerError> {
        let event = Event::Rollback { to };
        self.ask(name, |reply| Message::Steer {
            event,
            requested_by,
            reply,
        })
        .await?
    }

    pub(crate) async fn ask<T>(
        &self,
        name: &str,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, ControllerError> {
        let handle = self.handle(name)?;
        let (reply, answer) = oneshot::channel();
        let sent = handle.inbox.send(message(reply)).await;
        sent.map_err(|_| ControllerError::Ending)?;
        answer.await.map_err(|_| ControllerError::Ending)
    }

    /// Ends the actors between two steps. Replicas and proxy go on.
    pub async fn shutdown(&self) {
        self.shared.shutdown.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// The file of a replica's log, if there ever was one.
    #[must_use]
    pub fn log_path(&self, key: &ReplicaKey) -> Option<std::path::PathBuf> {
        self.shared.provider.log_path(key)
    }

    /// The process id of the proxy, once it is connected.
    #[must_use]
    pub fn proxy_pid(&self) -> Option<u32> {
        self.shared.proxy.pid()
    }
}

fn accepted() -> Happening {
    Happening {
        kind: HappeningKind::VersionAccepted,
        replica: None,
        version: Some(1),
        message: "version 1 is accepted: the service is created".to_owned(),
    }
}

/// Whether requests other than `down` make sense.
pub(crate) fn is_running(state: &ServiceState) -> bool {
    state.phase == ServicePhase::Running
}

fn keys(state: &ServiceState) -> Vec<ReplicaKey> {
    state.replicas.keys().map(|id| key(state, *id)).collect()
}

/// The key under which providers know a replica.
pub(crate) fn key(state: &ServiceState, replica_id: ReplicaId) -> ReplicaKey {
    ReplicaKey {
        service: state.name.clone(),
        incarnation: state.incarnation.clone(),
        replica_id,
    }
}

/// Replicas that a provider holds and no service knew at the start are leftovers of a crash between a service's
/// end and its provider's.
async fn end_unknown_replicas(shared: &Shared, known: &[ReplicaKey]) {
    let held = match shared.provider.list().await {
        Ok(held) => held,
        Err(error) => {
            tracing::warn!(%error, "cannot list the provider's replicas");
            return;
        }
    };
    for key in held.into_iter().filter(|key| !known.contains(key)) {
        if shared.has_incarnation(&key.incarnation) {
            continue;
        }
        tracing::warn!(replica = %key, "no service knows this replica; ending it");
        let grace = plan::settings::TERMINATION_GRACE_SECONDS;
        if let Err(error) = shared.provider.terminate(&key, grace).await {
            tracing::error!(replica = %key, %error, "cannot end it");
        }
    }
}
