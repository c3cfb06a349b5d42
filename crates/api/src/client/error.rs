//! [`ClientError`]: why a call has no result, in words for the person at the terminal.

use std::io;
use std::path::{Path, PathBuf};

use crate::types::ApiError;

/// What can go wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered with an error.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Nobody listens on the socket.
    #[error("the Skyserve server is not running (no answer at {}); start it with `sky api start`", .socket.display())]
    NotRunning {
        /// The socket tried.
        socket: PathBuf,
    },
    /// The socket belongs to somebody else.
    #[error("no permission to open {}: it belongs to another user; set SKYSERVE_HOME to a folder of your own", .socket.display())]
    PermissionDenied {
        /// The socket tried.
        socket: PathBuf,
    },
    /// The operating system allows about 107 bytes for the path of a socket.
    #[error("the path {} is too long for a socket; set SKYSERVE_HOME to a shorter path", .socket.display())]
    PathTooLong {
        /// The socket tried.
        socket: PathBuf,
    },
    /// Any other failure to connect.
    #[error("cannot connect to the Skyserve server at {}: {source}", .socket.display())]
    Connect {
        /// The socket tried.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The time limit of the call is over.
    #[error(
        "the Skyserve server did not answer within {seconds} s; see its log with `sky api status`"
    )]
    Timeout {
        /// The limit, whole seconds.
        seconds: u64,
    },
    /// The connection broke before the answer was complete; the request may or may not have been carried out.
    #[error(
        "the connection to the Skyserve server broke before its answer was complete ({reason})"
    )]
    Disconnected {
        /// What broke.
        reason: String,
    },
    /// The answer is not one of this API.
    #[error(
        "the Skyserve server gave an answer that this `sky` does not understand ({reason}); \
         if their versions differ, run `sky api stop` and `sky api start`"
    )]
    UnexpectedAnswer {
        /// What was wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// Whether the server is away, as while it restarts: trying again later may help.
    #[must_use]
    pub fn is_server_away(&self) -> bool {
        matches!(self, Self::NotRunning { .. } | Self::Disconnected { .. })
    }

    pub(super) fn from_connect(socket: &Path, source: io::Error) -> Self {
        let socket = socket.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Self::NotRunning { socket }
            }
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { socket },
            io::ErrorKind::InvalidInput => Self::PathTooLong { socket },
            _ => Self::Connect { socket, source },
        }
    }
}
