//! The small supervisor beside each replica of the local infra: one detached process that runs
//! `setup`, then `run`, and owns every process they leave behind until it is told to stop.
//!
//! # Problem
//! Replicas outlive the server, yet nothing of a replica may outlive its end. A process can
//! daemonise, change its session, clear its environment, ignore TERM; the server and the agent
//! itself can be killed with -9 at any moment.
//!
//! # Rules
//! - *Proof of life.* The agent holds a record lock on `agent.lock` for as long as it lives. The
//!   kernel drops the lock when the process dies and names the holder to whoever asks, so no reused
//!   process id is ever taken for it.
//! - *Ownership.* Where we may make namespaces, all processes of the replica live in a PID
//!   namespace whose first process (*init*, this same program) dies with the agent; the kernel then
//!   ends every other. Elsewhere the agent is the subreaper of all of them, and each carries
//!   `SKYSERVE_REPLICA_KEY` in its environment.
//! - *One writer.* `state.json` is written whole and renamed into place, by one process at a time:
//!   the agent until init exists, init while it lives, the agent again afterwards.
//! - *Once.* An agent that finds a `state.json` never runs the replica a second time.
//! - *Stop by file.* `stop.json` asks for the end. It stays on disk, so a request survives whoever
//!   made it.
//!
//! # Cold start
//! `launch.json` is complete before the agent is started. The agent takes the lock, writes its
//! first state, says `started` on its standard output (whoever started it may wait for that line),
//! and from then on reads nothing but `stop.json`.
//!
//! # Recovery
//! A failed replica leaves its last state (`exited`, with the reason) and the lock free. A lock
//! that is free while the last state is not final means that the agent was killed or the machine
//! restarted: the replica is lost. What may be left of it is found by its key: processes with
//! [`processes`], the network with [`network::remove`].

mod dir;
mod environment;
mod hint;
mod init;
mod launch;
mod lock;
mod log;
pub mod network;
pub mod processes;
mod reaper;
mod stages;
mod state;
mod stop;
mod supervise;
mod tail;
mod world;

use std::path::Path;

pub use dir::{ReplicaDir, write_atomically};
pub use launch::{Bind, Launch, NetworkChoice};
pub use lock::{AgentLock, holder};
pub use log::Log;
pub use state::{AgentState, boot_id, now};
pub use stop::StopRequest;

/// Environment variable that every process of a replica carries: the replica's key.
pub const KEY_VARIABLE: &str = "SKYSERVE_REPLICA_KEY";

/// Tells a re-executed agent which part it plays.
const STAGE_VARIABLE: &str = "SKYSERVE_AGENT_STAGE";

/// The value of [`STAGE_VARIABLE`] for the first process of a replica's PID namespace.
const STAGE_INIT: &str = "init";

/// What an agent says on its standard output once it owns the replica and its first state is
/// written.
pub const STARTED_LINE: &str = "started";

/// Runs the agent of the replica in `replica_dir` and returns its exit code once the replica has
/// ended.
///
/// Call it from the first thread of a process that has started no other: `sky agent <dir>`. The
/// process executes itself again, with the same arguments, as the init of the replica's PID
/// namespace.
#[must_use]
pub fn run(replica_dir: &Path) -> i32 {
    let dir = ReplicaDir::new(replica_dir);
    let result = match std::env::var(STAGE_VARIABLE).as_deref() {
        Ok(STAGE_INIT) => init::run(&dir),
        _ => supervise::run(&dir),
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("sky agent: {}: {error}", dir.root().display());
            1
        }
    }
}

/// What went wrong inside an agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// A file of the replica could not be read or written.
    #[error("could not {what}: {source}")]
    File {
        /// What was being done, as a verb phrase.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The replica's world could not be made.
    #[error("could not {what}: {source}")]
    World {
        /// What was being done, as a verb phrase.
        what: String,
        /// The cause.
        source: rustix::io::Errno,
    },
    /// A file does not hold what it should.
    #[error("{0}")]
    Malformed(String),
}

impl AgentError {
    /// For `map_err`: an I/O error while doing `what`.
    pub(crate) fn file(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::File { what, source }
    }

    /// For `map_err`: an error of the kernel while doing `what`.
    pub(crate) fn world(what: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> Self {
        let what = what.into();
        move |source| Self::World { what, source }
    }
}
