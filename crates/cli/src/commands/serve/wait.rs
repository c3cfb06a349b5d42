//! `--wait`: follows a service until what was asked is done, has failed, or the time is over.

use std::time::{Duration, Instant};

use api::{Client, ErrorCode, RolloutState, ServiceRecord};
use plan::status::{ReplicaStatus, ServiceStatus};

use crate::failure::Failure;
use crate::output::{self, progress::Progress};

/// The longest pause between two looks, so that elapsed times move.
const LOOK: Duration = Duration::from_secs(1);
/// How long a server that has gone may take to come back before the wait gives up.
const AWAY_LIMIT: Duration = Duration::from_secs(60);

/// What a look says.
enum Verdict {
    Done(String),
    Failed(String),
    Waiting(String),
}

pub(crate) async fn for_up(client: &Client, name: &str, seconds: f64) -> Result<(), Failure> {
    follow(client, name, seconds, |record| {
        let Some(service) = record else {
            return Verdict::Failed("it is gone".to_owned());
        };
        let progress = format!(
            "{} of {} replicas ready",
            service.ready_replicas, service.target_replicas
        );
        if let Some(error) = &service.endpoint_error {
            return Verdict::Failed(format!("the endpoint cannot be had: {error}"));
        }
        let ready = service.ready_replicas >= service.target_replicas && service.endpoint_ready;
        match service.status {
            ServiceStatus::Failed
            | ServiceStatus::ControllerFailed
            | ServiceStatus::FailedCleanup
            | ServiceStatus::ShuttingDown => Verdict::Failed(
                service
                    .message
                    .clone()
                    .unwrap_or_else(|| service.status.to_string()),
            ),
            _ if ready && service.status != ServiceStatus::ControllerInit => {
                Verdict::Done(format!("✓ Service '{name}' is ready ({progress})."))
            }
            _ => Verdict::Waiting(service.message.clone().unwrap_or(progress)),
        }
    })
    .await
}

pub(crate) async fn for_update(
    client: &Client,
    name: &str,
    version: u32,
    seconds: f64,
) -> Result<(), Failure> {
    follow(client, name, seconds, |record| {
        let Some(service) = record else {
            return Verdict::Failed("it is gone".to_owned());
        };
        let Some(rollout) = &service.rollout else {
            return Verdict::Waiting("the update to begin".to_owned());
        };
        if rollout.version != version {
            return Verdict::Failed(format!(
                "version {version} was superseded by version {}",
                rollout.version
            ));
        }
        match rollout.state {
            RolloutState::Succeeded => Verdict::Done(format!(
                "✓ Every replica of '{name}' is of version {version}."
            )),
            RolloutState::Failed | RolloutState::Aborted | RolloutState::Superseded => {
                Verdict::Failed(rollout.summary.clone())
            }
            RolloutState::InProgress => Verdict::Waiting(rollout.summary.clone()),
        }
    })
    .await
}

/// Waits until every request is answered by `version`, with as many replicas as are wanted. `quiet`: says nothing in the
/// end.
pub(crate) async fn for_rollback(
    client: &Client,
    name: &str,
    version: u32,
    seconds: f64,
    quiet: bool,
) -> Result<(), Failure> {
    follow(client, name, seconds, |record| {
        let Some(service) = record else {
            return Verdict::Failed("it is gone".to_owned());
        };
        if service.desired_version != version {
            let desired = service.desired_version;
            return Verdict::Failed(format!("version {desired} is desired by now"));
        }
        let ready = service
            .replicas
            .iter()
            .filter(|replica| replica.version == version && replica.status == ReplicaStatus::Ready);
        let enough =
            ready.count() >= usize::try_from(service.target_replicas).unwrap_or(usize::MAX);
        let alone = service.active_versions == [version] || service.target_replicas == 0;
        if enough && alone && service.endpoint_ready {
            return Verdict::Done(if quiet {
                String::new()
            } else {
                format!("✓ Version {version} of '{name}' has all the traffic.")
            });
        }
        let rollout = service.rollout.as_ref();
        let told = rollout.filter(|rollout| rollout.version == version);
        match told.map(|rollout| (rollout.state, rollout.summary.clone())) {
            Some((RolloutState::Failed | RolloutState::Aborted, summary)) => {
                Verdict::Failed(summary)
            }
            Some((RolloutState::InProgress, summary)) => Verdict::Waiting(summary),
            _ => Verdict::Waiting(
                service
                    .message
                    .clone()
                    .unwrap_or_else(|| "traffic to move".to_owned()),
            ),
        }
    })
    .await
}

pub(crate) async fn for_down(client: &Client, name: &str, seconds: f64) -> Result<(), Failure> {
    follow(client, name, seconds, |record| match record {
        None => Verdict::Done(format!("✓ Service '{name}' is gone.")),
        Some(service) if service.status == ServiceStatus::FailedCleanup => Verdict::Failed(
            "something could not be cleaned up; see sky serve status, then use --purge".to_owned(),
        ),
        Some(service) => Verdict::Waiting(
            service
                .message
                .clone()
                .unwrap_or_else(|| "shutting down".to_owned()),
        ),
    })
    .await
}

/// Waits until one replica has ended.
pub(crate) async fn for_replica_down(
    client: &Client,
    name: &str,
    id: u32,
    seconds: f64,
) -> Result<(), Failure> {
    follow(client, name, seconds, |record| {
        let replica = record.and_then(|service| {
            service
                .replicas
                .iter()
                .find(|replica| replica.replica_id == id)
        });
        match replica {
            None => Verdict::Done(format!("✓ Replica {id} of '{name}' is gone.")),
            Some(replica) if replica.status == ReplicaStatus::FailedCleanup => Verdict::Failed(
                replica
                    .reason
                    .clone()
                    .unwrap_or_else(|| format!("replica {id} could not be cleaned up")),
            ),
            Some(replica) => Verdict::Waiting(format!("replica {id} is {}", replica.status)),
        }
    })
    .await
}

async fn follow(
    client: &Client,
    name: &str,
    seconds: f64,
    judge: impl Fn(Option<&ServiceRecord>) -> Verdict,
) -> Result<(), Failure> {
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    let begun = Instant::now();
    let mut progress = Progress::default();
    let mut revision = None;
    let mut seen = begun;
    let too_late =
        |waiting: &str| Failure::Refused(format!("not done after {seconds}s: {waiting}"));
    loop {
        let record = match look(client, name, revision).await {
            Ok(record) => record,
            Err(error) if error.is_server_away() && seen.elapsed() < AWAY_LIMIT => {
                let waiting = "the server is away; waiting for it";
                if begun.elapsed() >= limit {
                    progress.end();
                    return Err(too_late(waiting));
                }
                progress.show(waiting);
                // Any sky command starts it; so does this one.
                let _ = crate::server_process::connect().await;
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        seen = Instant::now();
        revision = record.as_ref().map(|record| record.revision);
        let waiting = match judge(record.as_ref()) {
            Verdict::Done(text) => {
                progress.end();
                return if text.is_empty() {
                    Ok(())
                } else {
                    output::line(&text)
                };
            }
            Verdict::Failed(reason) => {
                progress.end();
                return Err(Failure::Refused(reason));
            }
            Verdict::Waiting(text) => text,
        };
        if begun.elapsed() >= limit {
            progress.end();
            return Err(too_late(&waiting));
        }
        progress.show(&waiting);
    }
}

/// The service now, or after its next change; `None` when it is gone.
async fn look(
    client: &Client,
    name: &str,
    revision: Option<u64>,
) -> Result<Option<ServiceRecord>, api::ClientError> {
    let record = match revision {
        None => client.service(name).await,
        Some(revision) => client.service_after(name, revision, LOOK).await,
    };
    match record {
        Ok(record) => Ok(Some(record)),
        Err(api::ClientError::Api(error)) if error.code == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
