//! `sky serve events`: the timeline of a service.

use std::process::ExitCode;
use std::time::Duration;

use api::{Client, EventList, EventRecord};

use crate::args::EventsArguments;
use crate::failure::Failure;
use crate::output::{self, instant, one_line};
use crate::server_process;

/// Between two attempts to reach a server that is away.
const AWAY_PAUSE: Duration = Duration::from_millis(500);
const TITLE: &str = "TIME                  KIND                 VERSION  REPLICA  EVENT";

pub(crate) fn run(arguments: &EventsArguments) -> Result<ExitCode, Failure> {
    let name = &arguments.service_name;
    server_process::block_on(async {
        let client = server_process::connect_if_used().await?;
        let client =
            client.ok_or_else(|| Failure::Refused(format!("Service '{name}' does not exist.")))?;
        let mut list = client.events(name, 0, false).await?;
        if !arguments.json {
            output::line(&output::bold(TITLE))?;
        }
        let mut last = 0;
        // Everything that is kept comes in several answers.
        while !list.events.is_empty() {
            last = show(&list, arguments.json)?.unwrap_or(last);
            list = client.events(name, last, false).await?;
        }
        if arguments.follow {
            follow(&client, arguments, last).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Shows what comes after the event numbered `last` until the service is gone. A server that is away is waited for
/// and not started: somebody may have stopped it on purpose.
async fn follow(
    client: &Client,
    arguments: &EventsArguments,
    mut last: i64,
) -> Result<(), Failure> {
    let name = &arguments.service_name;
    let mut away = false;
    loop {
        let list = match client.events(name, last, true).await {
            Ok(list) => list,
            Err(error) if error.is_server_away() => {
                if !away {
                    output::warn("the server is away; waiting for it");
                }
                away = true;
                tokio::time::sleep(AWAY_PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        away = false;
        last = show(&list, arguments.json)?.unwrap_or(last);
        if list.gone {
            if !arguments.json {
                output::line(&format!("Service '{name}' is gone."))?;
            }
            return Ok(());
        }
    }
}

/// Prints events and returns the number of the last.
fn show(list: &EventList, json: bool) -> Result<Option<i64>, Failure> {
    let mut text = String::new();
    for event in &list.events {
        let line = if json {
            serde_json::to_string(event).map_err(|error| Failure::Refused(error.to_string()))?
        } else {
            row(event)
        };
        text.push_str(&line);
        text.push('\n');
    }
    output::print(&text)?;
    Ok(list.events.last().map(|event| event.sequence))
}

fn row(event: &EventRecord) -> String {
    let or_dash = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    format!(
        "{:<20}  {:<19}  {:<7}  {:<7}  {}",
        instant::utc(event.at),
        one_line(&event.kind),
        or_dash(event.version),
        or_dash(event.replica_id),
        one_line(&event.message)
    )
}
