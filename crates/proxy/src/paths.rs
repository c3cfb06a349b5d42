//! Where the proxy keeps its files.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::ProxyError;

/// Only the owner may look: tables name addresses, logs name paths.
const DIRECTORY_MODE: u32 = 0o700;

/// The files of one proxy, all under one home directory.
#[derive(Clone, Debug)]
pub struct ProxyPaths {
    /// The directory that holds all state of the project (`SKYSERVE_HOME`).
    pub home: PathBuf,
}

impl ProxyPaths {
    /// The control socket: newline-delimited JSON, mode 0600.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.home.join("proxy.sock")
    }

    /// Where metrics are asked for: HTTP/1.1, `GET /metrics`, mode 0600.
    #[must_use]
    pub fn metrics_socket(&self) -> PathBuf {
        self.home.join("proxy-metrics.sock")
    }

    /// Where a worker that has left brings requests to the one that serves, mode 0600.
    #[must_use]
    pub fn relay_socket(&self) -> PathBuf {
        self.home.join("proxy-relay.sock")
    }

    /// Locked by the holder as long as it lives; contains its process id.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.home.join("proxy.lock")
    }

    /// The process ids in use, as JSON: `{"holder": 1, "worker": 2}`. For people and tests; nothing
    /// decides by it.
    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.home.join("proxy.pid")
    }

    /// The tables last put in force.
    #[must_use]
    pub fn table_file(&self) -> PathBuf {
        self.home.join("proxy-tables.json")
    }

    /// One JSON line per request of `service`.
    #[must_use]
    pub fn access_log(&self, service: &str) -> PathBuf {
        self.access_logs().join(format!("{service}.log"))
    }

    /// One JSON line per thing that happened to the proxy itself.
    #[must_use]
    pub fn event_log(&self) -> PathBuf {
        self.home.join("logs").join("proxy.log")
    }

    fn access_logs(&self) -> PathBuf {
        self.home.join("logs").join("access")
    }

    /// Creates the directories that are missing.
    pub(crate) fn prepare(&self) -> Result<(), ProxyError> {
        create_private(&self.home)?;
        create_private(&self.access_logs())
    }
}

fn create_private(directory: &Path) -> Result<(), ProxyError> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
        .map_err(ProxyError::file("create", directory))
}
