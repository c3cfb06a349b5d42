//! Start and end of the server.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use controller::{Controller, ControllerError, ProxyLink, Snapshots, now};
use provider::ProviderError;
use provider_local::LocalProvider;
use rustix::fs::{FlockOperation, flock};
use store::{SqliteStore, Store, StoreError};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::home::Home;
use crate::routes::{self, Shared};

/// How long a new server waits for one that was killed to be gone: it may take a moment to die, and so may a child
/// that it was just starting, which has its files until then.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// How long open requests may go on after the server was asked to stop.
const LINGER: Duration = Duration::from_secs(3);

/// What the server needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Absolute path of the home.
    pub home: PathBuf,
    /// This very program, to start agents and the proxy with.
    pub sky: PathBuf,
}

/// Why the server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another server has this home.
    #[error("a server is running already for {0}")]
    Running(PathBuf),
    /// A file or socket cannot be used.
    #[error("{what} {path}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The local infra cannot be used.
    #[error("the local infra cannot be used: {0}")]
    Provider(#[from] ProviderError),
    /// The controller cannot start.
    #[error(transparent)]
    Controller(#[from] ControllerError),
}

/// Runs the server until it is asked to stop (by the API, SIGTERM or SIGINT).
///
/// # Errors
/// When it cannot start, or its socket fails.
pub fn run(options: &Options) -> Result<(), ServerError> {
    let home = Home::new(options.home.clone());
    let io = |what, path: PathBuf| move |error| ServerError::Io { what, path, error };
    home.create()
        .map_err(io("cannot create", home.path().to_owned()))?;
    let lock = take_lock(&home)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(io("cannot start threads for", home.path().to_owned()))?;
    let outcome = runtime.block_on(serve(&home, &options.sky));
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(lock);
    outcome
}

/// The lock of the home; held until dropped or the process ends, however that comes about.
fn take_lock(home: &Home) -> Result<File, ServerError> {
    let path = home.server_lock();
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| ServerError::Io {
            what: "cannot open",
            path,
            error,
        })?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    while flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() >= deadline {
            return Err(ServerError::Running(home.path().to_owned()));
        }
        std::thread::sleep(LOCK_RETRY_INTERVAL);
    }
    Ok(lock)
}

async fn serve(home: &Home, sky: &std::path::Path) -> Result<(), ServerError> {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&home.database())?);
    let snapshots = Arc::new(Snapshots::new(home.path()));
    let agent: Vec<OsString> = vec![sky.into(), "agent".into()];
    let provider = Arc::new(LocalProvider::new(home.path().to_owned(), agent)?);
    let proxy = ProxyLink::new(home.proxy_socket(), proxy_launcher(home, sky));
    let listener = listen(home)?;
    let controller = Controller::start(
        Arc::clone(&store),
        provider,
        proxy.clone(),
        Arc::clone(&snapshots),
    )
    .await?;
    let stop = CancellationToken::new();
    let shared = Arc::new(Shared {
        home: home.clone(),
        controller: controller.clone(),
        store,
        snapshots,
        started_at: now().as_seconds(),
        stop: stop.clone(),
        accepting: Mutex::new(()),
    });
    tracing::info!(home = %home.path().display(), pid = std::process::id(), "the server is up");
    stop_on_signals(&stop);
    let stopped = stop.clone();
    let serving = axum::serve(listener, routes::router(shared))
        .with_graceful_shutdown(async move { stopped.cancelled().await });
    let mut serving = std::pin::pin!(async move { serving.await });
    let served = tokio::select! {
        served = &mut serving => served,
        // Long answers (logs that are followed) must not keep the server.
        served = async {
            stop.cancelled().await;
            tokio::time::timeout(LINGER, std::future::pending::<io::Result<()>>()).await
        } => served.unwrap_or(Ok(())),
    };
    controller.shutdown().await;
    proxy.close();
    let _ = fs::remove_file(home.api_socket());
    tracing::info!("the server ends; replicas and proxy go on");
    served.map_err(|error| ServerError::Io {
        what: "cannot serve",
        path: home.api_socket(),
        error,
    })
}

/// The API's socket, for its owner only. The lock on the home makes a socket that is there a leftover.
fn listen(home: &Home) -> Result<UnixListener, ServerError> {
    let path = home.api_socket();
    let io = |what| {
        let path = path.clone();
        move |error| ServerError::Io { what, path, error }
    };
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io("cannot remove")(error));
        }
        _ => {}
    }
    // The home is closed to others, so nobody can connect before the mode is set.
    let listener = UnixListener::bind(&path).map_err(io("cannot listen on"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(io("cannot protect"))?;
    Ok(listener)
}

fn stop_on_signals(stop: &CancellationToken) {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let stop = stop.clone();
        match signal(kind) {
            Ok(mut signals) => {
                tokio::spawn(async move {
                    signals.recv().await;
                    stop.cancel();
                });
            }
            Err(error) => tracing::warn!(%error, "cannot watch for a signal"),
        }
    }
}

/// Starts the proxy in a session of its own, so that it outlives the server.
fn proxy_launcher(home: &Home, sky: &std::path::Path) -> controller::ProxyLauncher {
    let (home, sky) = (home.clone(), sky.to_owned());
    Box::new(move || {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(home.logs().join("proxy-process.log"))?;
        let mut child = Command::new(&sky)
            .args(["proxy", "hold"])
            .env("SKYSERVE_HOME", home.path())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        // Reaped when it ends, if we still live then.
        std::thread::spawn(move || child.wait());
        Ok(())
    })
}
