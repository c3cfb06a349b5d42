//! Replicas on this machine: a folder, an agent, and where the machine allows it a network for
//! each.
//!
//! # Problem
//! Replicas must outlive the server, must be found again after a crash of it at any instant, and
//! must leave nothing behind but their logs.
//!
//! # Rules
//! - The disk is the only memory. A replica *is* its folder
//!   `<home>/replicas/<service>-<incarnation>/<id>/`; what is reserved for it (GPUs, a port, mount
//!   points) is written there before it is used, and freed by removing the folder.
//! - `launch.json` is written last: a folder without it was never launched, and is made anew or
//!   removed.
//! - A replica runs as long as its agent holds the lock of the folder (see [`agent`]).
//! - The folder goes last, after the processes, the network and the mount points: a terminate that
//!   was cut off is seen by [`list`](provider::Provider::list) and done again.
//!
//! # Recovery
//! A new provider on the same home sees the same replicas. Launching and terminating are finished
//! by being asked for again.

mod end;
mod files;
mod launch;
mod layout;
mod machine;
mod mounts;
mod observe;
mod port;
mod reservation;
mod resources;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent::NetworkChoice;
use async_trait::async_trait;
use plan::observation::{ErrorClass, Observation};
use provider::{LaunchRequest, Provider, ProviderError, ReplicaKey};
use tokio::sync::broadcast;

use layout::Layout;
pub use machine::{Gpu, Machine};
use watch::Watch;

/// Forces which network replicas get: `auto`, `isolated` or `shared`.
pub const NETWORK_VARIABLE: &str = "SKYSERVE_LOCAL_NETWORK";

/// How a [`LocalProvider`] treats this machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which network replicas get.
    pub network: NetworkChoice,
    /// Whether replicas get PID and mount namespaces; needs root (CAP_SYS_ADMIN).
    pub namespaces: bool,
    /// What the machine has.
    pub machine: Machine,
}

impl Options {
    /// What this machine and [`NETWORK_VARIABLE`] suggest.
    ///
    /// # Errors
    /// The variable holds none of its three values.
    pub fn detect() -> Result<Self, ProviderError> {
        let network = match std::env::var(NETWORK_VARIABLE).as_deref() {
            Err(_) | Ok("" | "auto") => NetworkChoice::Auto,
            Ok("isolated") => NetworkChoice::Isolated,
            Ok("shared") => NetworkChoice::Shared,
            Ok(other) => {
                return Err(ProviderError::new(
                    ErrorClass::UserFault,
                    format!("{NETWORK_VARIABLE} is {other:?}; it must be auto, isolated or shared"),
                ));
            }
        };
        let namespaces = machine::may_make_namespaces();
        Ok(Self {
            network,
            namespaces,
            machine: Machine::detect(),
        })
    }
}

/// The local infra. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct LocalProvider {
    inner: Arc<Inner>,
}

/// What the clones share.
#[derive(Debug)]
struct Inner {
    layout: Layout,
    agent_command: Vec<OsString>,
    options: Options,
    watch: Watch,
    /// One thing at a time for each replica.
    locks: Mutex<HashMap<ReplicaKey, Arc<Mutex<()>>>>,
    /// Replicas that are being launched by this process now.
    launching: Mutex<BTreeSet<ReplicaKey>>,
    /// Held while something is reserved or freed.
    reserving: Mutex<()>,
}

impl LocalProvider {
    /// The replicas below `home` (SKYSERVE_HOME). `agent_command`, with a replica's folder behind
    /// it, must run [`agent::run`].
    ///
    /// # Errors
    /// The folder cannot be made or watched, or [`NETWORK_VARIABLE`] is wrong.
    pub fn new(home: PathBuf, agent_command: Vec<OsString>) -> Result<Self, ProviderError> {
        Self::with_options(home, agent_command, Options::detect()?)
    }

    /// As [`new`](Self::new), with settings of the caller's own.
    ///
    /// # Errors
    /// The folder cannot be made or watched, or the command is empty.
    pub fn with_options(
        home: PathBuf,
        agent_command: Vec<OsString>,
        options: Options,
    ) -> Result<Self, ProviderError> {
        if agent_command.is_empty() {
            return Err(ProviderError::new(
                ErrorClass::UserFault,
                "the agent's command is empty",
            ));
        }
        let layout = Layout::open(home)?;
        let watch = Watch::start().map_err(|error| failed("watch the replicas", &error))?;
        for key in layout.keys()? {
            watch.add(&key, layout.place(&key)?.dir.root());
        }
        let inner = Inner {
            layout,
            agent_command,
            options,
            watch,
            locks: Mutex::default(),
            launching: Mutex::default(),
            reserving: Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Tells, by key, of every replica whose state may have changed, within milliseconds of the
    /// change. A receiver that lags behind should observe all.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<ReplicaKey> {
        self.inner.watch.subscribe()
    }

    /// Does something slow, alone for this replica. It goes on to its end if the caller gives up
    /// waiting.
    async fn alone<T: Send + 'static>(
        &self,
        key: &ReplicaKey,
        action: impl FnOnce(&Inner) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let inner = Arc::clone(&self.inner);
        let key = key.clone();
        let task = tokio::task::spawn_blocking(move || {
            let lock = Arc::clone(locked(&inner.locks).entry(key.clone()).or_default());
            let guard = locked(&lock);
            let result = action(&inner);
            drop(guard);
            let mut locks = locked(&inner.locks);
            // Two: ours and the map's. Nobody else waits, and nobody can come while the map is
            // locked.
            if Arc::strong_count(&lock) == 2 {
                locks.remove(&key);
            }
            result
        });
        task.await.map_err(|error| {
            ProviderError::new(
                ErrorClass::Transient,
                format!("the local infra stumbled: {error}"),
            )
        })?
    }
}

#[async_trait]
impl Provider for LocalProvider {
    fn name(&self) -> &'static str {
        "local"
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<(), ProviderError> {
        let request = request.clone();
        let key = request.key.clone();
        self.alone(&key, move |inner| inner.launch(&request)).await
    }

    async fn observe(&self, key: &ReplicaKey) -> Result<Observation, ProviderError> {
        // A few small files: not worth a thread.
        self.inner.observe(key)
    }

    async fn terminate(&self, key: &ReplicaKey, grace_seconds: f64) -> Result<(), ProviderError> {
        let owned = key.clone();
        // Before the wait for our turn: a launch that is still copying files gives up when it sees
        // this.
        self.inner.request_stop(key, grace_seconds)?;
        self.alone(key, move |inner| inner.terminate(&owned, grace_seconds))
            .await
    }

    async fn restart(
        &self,
        request: &LaunchRequest,
        grace_seconds: f64,
    ) -> Result<(), ProviderError> {
        let request = request.clone();
        let key = request.key.clone();
        self.inner.request_stop(&key, grace_seconds)?;
        self.alone(&key, move |inner| {
            inner.terminate(&request.key, grace_seconds)?;
            inner.launch(&request)
        })
        .await
    }

    fn log_path(&self, key: &ReplicaKey) -> Option<PathBuf> {
        let log = self.inner.layout.place(key).ok()?.log;
        log.exists().then_some(log)
    }

    async fn list(&self) -> Result<Vec<ReplicaKey>, ProviderError> {
        self.inner.layout.keys()
    }
}

/// Locks; what a panicking thread left is still whole, for nothing here is changed in two steps.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A failed file operation as the planner needs it: a full disk is no capacity, anything else may
/// pass.
fn failed(what: &str, error: &std::io::Error) -> ProviderError {
    let class = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            ErrorClass::NoCapacity
        }
        _ => ErrorClass::Transient,
    };
    ProviderError::new(class, format!("could not {what}: {error}"))
}
