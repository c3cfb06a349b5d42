//! What holder and worker say to each other, and how sockets travel between them.
//!
//! A pair of Unix sockets that keep message boundaries; each message is one JSON value, with the
//! sockets it speaks of attached to it (`SCM_RIGHTS`). The end of the channel is how each learns
//! that the other died.
//!
//! The process that is started gets its end as standard input: it is the one descriptor that a
//! command can be given without knowing more about it.

mod channel;

use std::ffi::OsString;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use plan::routing::ReplicaId;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

pub(crate) use self::channel::{Channel, MAX_SOCKETS_PER_MESSAGE};

use crate::error::ProxyError;

/// Set for a holder that is started with sockets: to [`ADOPT_WORKER`] by a worker which has them already, to
/// [`ADOPT_HOLDER`] by a holder that goes on as another program.
pub(crate) const ADOPT_VARIABLE: &str = "SKYSERVE_PROXY_ADOPT";
pub(crate) const ADOPT_WORKER: &str = "1";
pub(crate) const ADOPT_HOLDER: &str = "holder";

/// A set of listening sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ListenerName {
    /// The one of the control socket.
    Control,
    /// The one on which a worker takes requests of workers that have left.
    Relay,
    /// Those of an endpoint.
    Endpoint(SocketAddr),
}

/// Requests in flight of one service, for the replicas that have some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceLoad {
    pub(crate) service: String,
    pub(crate) in_flight: Vec<(ReplicaId, u32)>,
}

/// What a worker that is leaving still has in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Carried {
    /// Tells workers that are leaving at the same time apart.
    pub(crate) worker: u32,
    pub(crate) in_flight: Vec<ServiceLoad>,
}

/// From the worker to the holder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "message")]
pub(crate) enum WorkerMessage {
    /// The saved tables are loaded and nothing is served yet; answered by `Serve` once no other worker gives anything to
    /// a replica.
    Prepared { process: u32 },
    /// Wants the listeners of this name, `count` of them at least; answered by `Listeners` or
    /// `Refused`.
    Bind { name: ListenerName, count: usize },
    /// The listeners of this address are no longer needed; answered by `Released`.
    Release { address: SocketAddr },
    /// Attached are listeners that the holder shall hold (it is new and the worker is not).
    Adopt { name: ListenerName },
    /// Every listener that is needed has been asked for or handed over; others may be closed.
    Ready { process: u32 },
    /// Wants another worker in its place, and serves on; answered by `Yield` or `Stay`. `command` starts that one, and all
    /// after it; `None`: what started the others.
    WantsSuccessor { command: Option<Vec<String>> },
    /// This worker accepts no more and gives no request to a replica any more; these are in flight
    /// until it ends. Another worker is needed, or may serve now.
    Leaving { in_flight: Vec<ServiceLoad> },
    /// Wants the holder to go on as the program that this command starts, with all that it has.
    RenewHolder { command: Vec<String> },
    /// What a newer worker says that this holder does not know is passed over.
    #[serde(other)]
    Unknown,
}

/// From the holder to the worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "message")]
pub(crate) enum HolderMessage {
    /// No other worker serves: take over.
    Serve,
    /// Attached are `count` listeners of the name last asked for; `more` are in the next message.
    Listeners { count: usize, more: bool },
    /// The name last asked for cannot be bound.
    Refused { reason: String },
    /// The listeners are closed here.
    Released,
    /// A worker before this one still has these in flight; none when it has ended.
    Carried(Carried),
    /// A successor is prepared: give nothing to replicas any more and say `Leaving`.
    Yield,
    /// There is no successor: go on.
    Stay { reason: String },
    /// Accept no more, finish what is in flight, end.
    Stop,
    /// What a newer holder says that this worker does not know is passed over.
    #[serde(other)]
    Unknown,
}

/// Starts `command` with `channel` as its standard input.
pub(crate) fn start_process(
    command: &[OsString],
    role: &'static str,
    channel: OwnedFd,
    adopt: bool,
) -> Result<Child, ProxyError> {
    let (program, arguments) = command.split_first().ok_or(ProxyError::NoCommand(role))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::from(channel))
        .env_remove(ADOPT_VARIABLE);
    if adopt {
        command.env(ADOPT_VARIABLE, ADOPT_WORKER);
    }
    command.spawn().map_err(ProxyError::Handover)
}

/// Takes the channel that this process was started with from its standard input, which is nothing
/// from then on.
pub(crate) fn take_from_stdin() -> Result<OwnedFd, ProxyError> {
    let channel = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(ProxyError::Handover)?;
    let nothing = File::open("/dev/null").map_err(ProxyError::Handover)?;
    set_stdin(nothing).map_err(ProxyError::Handover)?;
    Ok(channel)
}

/// Makes this the standard input of the process.
pub(crate) fn set_stdin(input: impl AsFd) -> std::io::Result<()> {
    Ok(rustix::stdio::dup2_stdin(input)?)
}
