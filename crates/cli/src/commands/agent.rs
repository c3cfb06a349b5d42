//! `sky agent`: supervises one replica.

use std::path::Path;
use std::process::ExitCode;

pub(crate) fn run(folder: &Path) -> ExitCode {
    let code = agent::run(folder);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
