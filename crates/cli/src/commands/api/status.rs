//! `sky api status`.

use std::process::ExitCode;

use api::Client;

use crate::args::JsonArgument;
use crate::failure::Failure;
use crate::{output, server_process};

pub(crate) fn run(arguments: &JsonArgument) -> Result<ExitCode, Failure> {
    server_process::block_on(async {
        let home = server_process::home()?;
        match Client::new(home.path()).health().await {
            Ok(health) if arguments.json => {
                let json = serde_json::to_string_pretty(&health);
                output::line(&json.map_err(|error| Failure::Refused(error.to_string()))?)?;
                Ok(ExitCode::SUCCESS)
            }
            Ok(health) => {
                let proxy = match health.proxy_pid {
                    Some(pid) => format!("pid {pid}"),
                    None => "not connected".to_owned(),
                };
                output::line(&format!(
                    "The server runs.\n  version:  {}\n  pid:      {}\n  proxy:    {proxy}\n  services: {}\n  \
                     home:     {}\n  log:      {}",
                    health.version,
                    health.pid,
                    health.services,
                    health.home.display(),
                    home.server_log().display(),
                ))?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) if error.is_server_away() => {
                let text = if arguments.json {
                    "null"
                } else {
                    "The server does not run."
                };
                output::line(text)?;
                Ok(ExitCode::FAILURE)
            }
            Err(error) => Err(error.into()),
        }
    })
}
