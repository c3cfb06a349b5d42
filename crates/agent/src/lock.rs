//! The agent's proof of life: a record lock that the kernel drops when its holder dies.
//!
//! A record lock (`F_SETLK`) rather than `flock`: it is never inherited by a child, and `F_GETLK`
//! tells who holds it without touching it, so asking can never disturb an agent that is about to
//! take it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, Pid, fcntl_getlk};

use crate::ReplicaDir;

/// The lock, held until this value is dropped or the process ends.
///
/// The kernel drops a record lock as soon as its process closes *any* descriptor of the file: the
/// holder must not open `agent.lock` a second time.
#[derive(Debug)]
pub struct AgentLock {
    _file: File,
}

impl AgentLock {
    /// Takes the lock; `None` if another process holds it.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub fn acquire(dir: &ReplicaDir) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.lock())?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The process that holds the agent's lock of this replica: its live agent, if there is one.
///
/// # Errors
/// The file is there and cannot be asked.
pub fn holder(dir: &ReplicaDir) -> io::Result<Option<Pid>> {
    let file = match File::open(dir.lock()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let held = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?;
    Ok(held.and_then(|lock| lock.pid))
}
