//! `sky api start`.

use std::process::ExitCode;

use api::Client;

use crate::failure::Failure;
use crate::{output, server_process};

pub(crate) fn run() -> Result<ExitCode, Failure> {
    server_process::block_on(async {
        let home = server_process::home()?;
        let client = Client::new(home.path());
        let (health, verb) = match client.health().await {
            Ok(health) => (health, "runs already"),
            Err(error) if error.is_server_away() => {
                (server_process::start(&home, &client).await?, "is started")
            }
            Err(error) => return Err(error.into()),
        };
        output::line(&format!("The server {verb} (pid {}).", health.pid))?;
        Ok(ExitCode::SUCCESS)
    })
}
