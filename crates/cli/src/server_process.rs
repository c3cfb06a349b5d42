//! The server as the client sees it: where it is, whether it runs, and how it is started.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use api::{Client, ClientError, Health};
use rustix::fs::{FlockOperation, flock};
use server::Home;

use crate::failure::Failure;

/// How long a server may take to answer for the first time.
const START_DEADLINE: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(20);
/// How long a server may take to end.
const STOP_DEADLINE: Duration = Duration::from_secs(40);
const STOP_POLL: Duration = Duration::from_millis(20);
/// Lines of its log shown when it does not start.
const LOG_LINES_SHOWN: usize = 5;

/// `SKYSERVE_HOME`, default `~/.skyserve`.
pub(crate) fn home() -> Result<Home, Failure> {
    let path = match std::env::var_os("SKYSERVE_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => std::env::var_os("HOME")
            .filter(|home| !home.is_empty())
            .map(|home| PathBuf::from(home).join(".skyserve"))
            .ok_or_else(|| Failure::Refused("neither SKYSERVE_HOME nor HOME is set".to_owned()))?,
    };
    Ok(Home::new(std::path::absolute(path)?))
}

/// Runs a client's work.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// A client of a server that runs, started if need be.
pub(crate) async fn connect() -> Result<Client, Failure> {
    let home = home()?;
    let client = Client::new(home.path());
    match client.health().await {
        Ok(health) => warn_of_other_version(&health),
        // Where there is no home yet, or something else in its place, starting says what is wrong.
        Err(error) if error.is_server_away() || !home.path().is_dir() => {
            start(&home, &client).await?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(client)
}

/// A client if there is anything to ask about: no server is started for a home that was never used.
pub(crate) async fn connect_if_used() -> Result<Option<Client>, Failure> {
    if home()?.database().exists() {
        Ok(Some(connect().await?))
    } else {
        Ok(None)
    }
}

/// A client to ask about a service: where no server was ever used there is none.
pub(crate) async fn connect_to(service: &str) -> Result<Client, Failure> {
    let client = connect_if_used().await?;
    client.ok_or_else(|| Failure::Refused(format!("Service '{service}' does not exist.")))
}

/// A client if there is anything to ask about, of a server that may not run.
pub(crate) fn client_if_used() -> Result<Option<Client>, Failure> {
    let home = home()?;
    Ok(home.database().exists().then(|| Client::new(home.path())))
}

fn warn_of_other_version(health: &Health) {
    let ours = env!("CARGO_PKG_VERSION");
    if health.version != ours {
        crate::output::warn(&format!(
            "the server runs version {}, this is {ours}; run: sky api restart",
            health.version
        ));
    }
}

/// Starts the server in a session of its own and waits until it answers.
pub(crate) async fn start(home: &Home, client: &Client) -> Result<Health, Failure> {
    let refused = |what: &str, error: io::Error| {
        Failure::Refused(format!("cannot start the server: {what}: {error}"))
    };
    home.create()
        .map_err(|error| refused(&home.path().display().to_string(), error))?;
    let path = home.server_log();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| refused(&path.display().to_string(), error))?;
    let log_start = log.metadata().map_or(0, |metadata| metadata.len());
    let this = std::env::current_exe().map_err(|error| refused("this program", error))?;
    let mut child = Command::new(this)
        .args(["api", "serve"])
        .env("SKYSERVE_HOME", home.path())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .map_err(|error| refused("this program", error))?;
    let begun = Instant::now();
    loop {
        match client.health().await {
            Ok(health) => return Ok(health),
            Err(error) if error.is_server_away() => {}
            Err(error) => return Err(error.into()),
        }
        // Another one may have been quicker: then ours ends at once and that one answers.
        let ended = child.try_wait()?.is_some();
        if ended && begun.elapsed() > Duration::from_secs(2) || begun.elapsed() > START_DEADLINE {
            return Err(not_started(home, log_start, client.health().await.err()));
        }
        tokio::time::sleep(START_POLL).await;
    }
}

/// Ends the server; replicas and endpoints go on.
pub(crate) async fn stop(client: &Client) -> Result<(), Failure> {
    let pid = client.health().await.ok().map(|health| health.pid);
    client.shutdown().await?;
    let begun = Instant::now();
    while begun.elapsed() < STOP_DEADLINE {
        match client.health().await {
            // Another command has started the next one already.
            Ok(health) if pid.is_some_and(|pid| pid != health.pid) => return Ok(()),
            Ok(_) => {}
            // It has let go of everything, the proxy among it, when it lets go of its lock.
            Err(_) if is_unlocked(&home()?)? => return Ok(()),
            Err(_) => {}
        }
        tokio::time::sleep(STOP_POLL).await;
    }
    Err(Failure::Refused("the server does not stop".to_owned()))
}

fn is_unlocked(home: &Home) -> io::Result<bool> {
    match fs::File::open(home.server_lock()) {
        Ok(lock) => Ok(flock(&lock, FlockOperation::NonBlockingLockShared).is_ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn not_started(home: &Home, log_start: u64, error: Option<ClientError>) -> Failure {
    let path = home.server_log();
    let log = fs::read(&path).unwrap_or_default();
    let start = usize::try_from(log_start)
        .unwrap_or(usize::MAX)
        .min(log.len());
    let log = String::from_utf8_lossy(log.get(start..).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = log.lines().collect();
    let last = lines
        .get(lines.len().saturating_sub(LOG_LINES_SHOWN)..)
        .unwrap_or_default();
    let why = match (last.is_empty(), error) {
        (true, Some(error)) => error.to_string(),
        _ => format!("its last words:\n  {}", last.join("\n  ")),
    };
    Failure::Refused(format!(
        "the server does not start ({}); {why}",
        path.display()
    ))
}
