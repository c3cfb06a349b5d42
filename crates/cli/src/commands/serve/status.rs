//! `sky serve status`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::{Client, ServiceList};

use crate::args::StatusArguments;
use crate::failure::Failure;
use crate::output::{self, status};
use crate::server_process;

pub(crate) fn run(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    if arguments.endpoint && arguments.service_names.len() != 1 {
        return Err(Failure::Usage(
            "--endpoint needs exactly one service name".to_owned(),
        ));
    }
    server_process::block_on(async {
        let mut client = server_process::connect_if_used().await?;
        let Some(seconds) = arguments.watch else {
            return show(client.as_ref(), arguments).await;
        };
        let pause = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        loop {
            if std::io::stdout().is_terminal() {
                output::print("\x1b[H\x1b[2J")?;
            }
            match show(client.as_ref(), arguments).await {
                Ok(_) => {}
                // Whoever watches wants to see how it goes on, also when the server is away.
                Err(Failure::Refused(text)) => output::warn(&text),
                Err(other) => return Err(other),
            }
            tokio::time::sleep(pause).await;
            // Watching starts no server: somebody may have stopped it on purpose.
            client = server_process::client_if_used()?;
        }
    })
}

async fn show(client: Option<&Client>, arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let names = &arguments.service_names;
    let list = match client {
        Some(client) => client.services(names).await?,
        None => ServiceList {
            services: Vec::new(),
            not_found: names.clone(),
        },
    };
    let all_missing = !names.is_empty() && list.services.is_empty();
    let code = if all_missing {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    };
    if arguments.json {
        for line in not_found(&list.not_found) {
            output::warn(&line);
        }
        let json = serde_json::to_string_pretty(&list.services);
        output::line(&json.map_err(|error| Failure::Refused(error.to_string()))?)?;
        return Ok(code);
    }
    if arguments.endpoint {
        if let [service] = list.services.as_slice() {
            output::line(service.endpoint.as_deref().unwrap_or("-"))?;
            return Ok(code);
        }
        return Err(Failure::Refused(not_found(&list.not_found).join("\n")));
    }
    let detail = status::Detail {
        verbose: arguments.verbose,
        all: arguments.all,
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    output::line(&status::heading("Services"))?;
    output::line(&status::tables(&list.services, detail, now))?;
    let notes = status::notes(&list.services);
    if !notes.is_empty() {
        output::line("")?;
    }
    for note in notes.into_iter().chain(not_found(&list.not_found)) {
        output::line(&note)?;
    }
    Ok(code)
}

fn not_found(names: &[String]) -> Vec<String> {
    names
        .iter()
        .map(|name| format!("Service '{name}' not found."))
        .collect()
}
