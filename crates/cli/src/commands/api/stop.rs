//! `sky api stop`: ends the server. Replicas and endpoints go on.
//!
//! With `--all` the data plane ends too, but only where no service needs it. Who needs it stands in
//! the database, which only a server reads; so a server that does not run is started to be asked.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use api::{Client, Health};
use proxy::{ProxyPaths, RunningProxy};
use rustix::process::{Pid, Signal, kill_process};
use server::Home;

use crate::args::ApiStopArguments;
use crate::failure::Failure;
use crate::{output, server_process};

/// How long a proxy may take to come up.
const PROXY_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

pub(crate) fn run(arguments: &ApiStopArguments) -> Result<ExitCode, Failure> {
    server_process::block_on(async {
        let home = server_process::home()?;
        let client = Client::new(home.path());
        let services = match client.health().await {
            Ok(health) => {
                let health = if arguments.all {
                    settled(&client, health).await
                } else {
                    health
                };
                let services = stop(&client, &health).await?;
                output::line("The server is stopped.")?;
                services
            }
            Err(error) if error.is_server_away() => {
                output::line("The server does not run.")?;
                if !arguments.all {
                    return Ok(ExitCode::SUCCESS);
                }
                services_on_disk(&home, &client).await?
            }
            Err(error) => return Err(error.into()),
        };
        if services > 0 {
            output::line("Replicas and endpoints go on; any sky command starts the server again.")?;
        } else if arguments.all {
            stop_proxy(home.path())?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Stops the server and returns how many services it managed.
async fn stop(client: &Client, health: &Health) -> Result<usize, Failure> {
    server_process::stop(client).await?;
    Ok(health.services)
}

/// How many services a server that does not run would manage.
async fn services_on_disk(home: &Home, client: &Client) -> Result<usize, Failure> {
    if !home.database().exists() {
        return Ok(0);
    }
    let health = server_process::start(home, client).await?;
    let health = settled(client, health).await;
    stop(client, &health).await
}

/// The server's health once it has its proxy: one that is only just being started could not be told to end.
async fn settled(client: &Client, mut health: Health) -> Health {
    let begun = Instant::now();
    while health.proxy_pid.is_none() && begun.elapsed() < PROXY_LIMIT {
        tokio::time::sleep(POLL).await;
        match client.health().await {
            Ok(newer) => health = newer,
            Err(_) => break,
        }
    }
    health
}

/// Ends the data plane in an orderly way, if it runs.
fn stop_proxy(home: &std::path::Path) -> Result<(), Failure> {
    let home = home.to_owned();
    let Some(proxy) = RunningProxy::find(&ProxyPaths { home }) else {
        return Ok(());
    };
    let holder = i32::try_from(proxy.holder).ok().and_then(Pid::from_raw);
    let Some(holder) = holder else {
        return Ok(());
    };
    kill_process(holder, Signal::TERM).map_err(std::io::Error::from)?;
    output::line("The proxy is told to end.")
}
