//! `sky serve logs`.

mod common_format;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use api::client::{LogTarget, LogsQuery};
use api::{Client, ClientError, ErrorCode};

use self::common_format::CommonFormat;
use crate::args::{AccessFormat, LogsArguments};
use crate::failure::Failure;
use crate::{output, server_process};

pub(crate) fn run(arguments: &LogsArguments) -> Result<ExitCode, Failure> {
    let mut targets: Vec<LogTarget> = arguments
        .replica_ids
        .iter()
        .map(|id| LogTarget::Replica(*id))
        .collect();
    if arguments.controller {
        targets.push(LogTarget::Controller);
    }
    if arguments.load_balancer {
        targets.push(LogTarget::LoadBalancer);
    }
    if !arguments.sync_down && targets.len() != 1 {
        return Err(Failure::Usage(
            "say which log: one replica ID, --controller, or --load-balancer (several only with --sync-down)"
                .to_owned(),
        ));
    }
    server_process::block_on(async {
        let Some(client) = server_process::connect_if_used().await? else {
            let name = &arguments.service_name;
            return Err(Failure::Refused(format!(
                "Service '{name}' does not exist."
            )));
        };
        if arguments.sync_down {
            return sync_down(&client, arguments, targets).await;
        }
        let Some(target) = targets.into_iter().next() else {
            return Ok(ExitCode::SUCCESS);
        };
        if arguments.follow && arguments.tail.is_some() {
            output::warn("--tail does not follow");
        }
        let follow = !arguments.no_follow && arguments.tail.is_none();
        let query = LogsQuery {
            target,
            follow,
            tail: arguments.tail,
        };
        let name = &arguments.service_name;
        let mut output = std::io::stdout();
        match arguments.format {
            AccessFormat::Json => copy(&client, name, &query, &mut output).await?,
            AccessFormat::Common => {
                let mut common = CommonFormat::new(&mut output);
                copy(&client, name, &query, &mut common).await?;
                common.finish()?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn copy(
    client: &Client,
    name: &str,
    query: &LogsQuery,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let mut log = client.logs(name, query).await?;
    while let Some(chunk) = log.next_chunk().await? {
        output.write_all(&chunk)?;
        output.flush()?;
    }
    Ok(())
}

async fn sync_down(
    client: &Client,
    arguments: &LogsArguments,
    mut targets: Vec<LogTarget>,
) -> Result<ExitCode, Failure> {
    let name = &arguments.service_name;
    if targets.is_empty() {
        let service = client.service(name).await?;
        targets.extend(
            service
                .replicas
                .iter()
                .map(|r| LogTarget::Replica(r.replica_id)),
        );
        targets.extend([LogTarget::Controller, LogTarget::LoadBalancer]);
    }
    let folder = folder(name)?;
    fs::create_dir_all(&folder)?;
    for target in targets {
        let file = match target {
            LogTarget::Replica(id) => format!("replica-{id}.log"),
            LogTarget::Controller => "controller.log".to_owned(),
            LogTarget::LoadBalancer => "load_balancer.log".to_owned(),
        };
        let query = LogsQuery {
            target,
            follow: false,
            tail: arguments.tail,
        };
        fetch(client, name, &query, &folder.join(file)).await?;
    }
    output::line(&format!("Logs are in {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

async fn fetch(client: &Client, name: &str, query: &LogsQuery, path: &Path) -> Result<(), Failure> {
    let mut log = match client.logs(name, query).await {
        Ok(log) => log,
        // A log that was never written is no reason to miss the others.
        Err(ClientError::Api(error)) if error.code == ErrorCode::NotFound => {
            output::warn(&format!("{}: {error}", path.display()));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let mut file = File::create(path)?;
    while let Some(chunk) = log.next_chunk().await? {
        file.write_all(&chunk)?;
    }
    Ok(())
}

/// `~/sky_logs/service/<name>_<timestamp>`, as SkyServe has it.
fn folder(name: &str) -> Result<PathBuf, Failure> {
    let home = std::env::var_os("HOME").ok_or_else(|| {
        Failure::Refused("HOME is not set; there is no place for logs".to_owned())
    })?;
    let stamp = jiff::Timestamp::now()
        .strftime("%Y-%m-%d-%H-%M-%S-%6f")
        .to_string();
    Ok(PathBuf::from(home)
        .join("sky_logs")
        .join("service")
        .join(format!("{name}_{stamp}")))
}
