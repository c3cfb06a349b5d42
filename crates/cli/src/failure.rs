//! Why a command did not do what was asked, and with which exit code.

use std::io::{self, Write};
use std::process::ExitCode;

/// A failed command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something was refused or failed; exit code 1.
    Refused(String),
    /// Typed wrongly; exit code 2.
    Usage(String),
    /// Told already; exit code 1.
    Told,
    /// Whoever read our output has gone; nothing to say.
    BrokenPipe,
}

impl Failure {
    /// Tells it, once, on standard error.
    pub(crate) fn report(&self) -> ExitCode {
        let (text, code) = match self {
            Self::Refused(text) => (Some(text), ExitCode::FAILURE),
            Self::Usage(text) => (Some(text), ExitCode::from(2)),
            Self::Told => (None, ExitCode::FAILURE),
            Self::BrokenPipe => (None, ExitCode::SUCCESS),
        };
        if let Some(text) = text {
            let error = anstyle::AnsiColor::Red.on_default().bold();
            // Where even standard error is gone there is nobody to tell.
            let _ = writeln!(anstream::stderr(), "{error}Error:{error:#} {text}");
        }
        code
    }
}

impl From<api::ClientError> for Failure {
    fn from(error: api::ClientError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Refused(error.to_string()),
        }
    }
}
