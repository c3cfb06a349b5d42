//! Why a proxy process could not start or go on.

use std::io;
use std::path::{Path, PathBuf};

/// Why [`run_holder`](crate::run_holder) or [`run_worker`](crate::run_worker) ended.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Another holder has the lock of this home directory. Not a failure: the proxy that was asked
    /// for runs.
    #[error("a proxy already runs for {} ({holder}); nothing to do", home.display())]
    AlreadyRunning {
        /// The home directory.
        home: PathBuf,
        /// The process that holds the lock, for a person.
        holder: String,
    },
    /// A file or directory of the proxy could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, a verb.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The control socket would have too long a path.
    #[error(
        "the path of the control socket, {}, has {length} bytes but the system allows {limit}: \
         set SKYSERVE_HOME to a shorter directory", path.display()
    )]
    SocketPathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The longest path allowed, in bytes.
        limit: usize,
    },
    /// A runtime or thread could not be started.
    #[error("cannot start the proxy's runtime")]
    Runtime(#[source] io::Error),
    /// The other process of the proxy could not be reached or started.
    #[error("cannot talk to the other process of the proxy")]
    Handover(#[source] io::Error),
    /// The command that starts the other process is empty.
    #[error("no command was given to start the proxy's {0} process")]
    NoCommand(&'static str),
}

impl ProxyError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
