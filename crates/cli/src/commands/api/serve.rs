//! `sky api serve`: the server, in the foreground.

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;
use crate::server_process;

pub(crate) fn run() -> Result<ExitCode, Failure> {
    let filter = EnvFilter::try_from_env("SKYSERVE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    let home = server_process::home()?.path().to_owned();
    let options = server::Options {
        home,
        sky: std::env::current_exe()?,
    };
    server::run(&options).map_err(|error| Failure::Refused(error.to_string()))?;
    Ok(ExitCode::SUCCESS)
}
