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
        tell(&client, arguments).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Shows everything that is kept, which comes in several answers; then, if so asked, what comes after it, until the
/// service is gone.
async fn tell(client: &Client, arguments: &EventsArguments) -> Result<(), Failure> {
    let name = &arguments.service_name;
    let (mut last, mut caught_up, mut titled) = (0, false, arguments.json);
    loop {
        let follow = arguments.follow && caught_up;
        let list = if arguments.follow {
            patient(client, name, last, follow).await?
        } else {
            client.events(name, last, follow).await?
        };
        if !titled {
            output::line(&output::bold(TITLE))?;
            titled = true;
        }
        last = show(&list, arguments.json)?.unwrap_or(last);
        if list.events.is_empty() && !arguments.follow {
            return Ok(());
        }
        if list.gone {
            return if arguments.json {
                Ok(())
            } else {
                output::line(&format!("Service '{name}' is gone."))
            };
        }
        caught_up |= list.events.is_empty();
    }
}

/// Asks until there is an answer. A server that is away is waited for and not started: somebody may have stopped it on
/// purpose.
async fn patient(
    client: &Client,
    name: &str,
    last: i64,
    follow: bool,
) -> Result<EventList, Failure> {
    let mut told = false;
    loop {
        match client.events(name, last, follow).await {
            Ok(list) => return Ok(list),
            Err(error) if error.is_server_away() => {}
            Err(error) => return Err(error.into()),
        }
        if !told {
            output::warn("the server is away; waiting for it");
            told = true;
        }
        tokio::time::sleep(AWAY_PAUSE).await;
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
