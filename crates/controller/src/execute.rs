//! Action → call. One match, one arm per action; what comes of it returns to the actor as an event.

use std::collections::BTreeMap;
use std::sync::Arc;

use plan::observation::{ErrorClass, Phase};
use plan::routing::{ReplicaId, Version};
use plan::settings::TERMINATION_GRACE_SECONDS;
use plan::{Action, Event};
use provider::{LaunchMount, LaunchRequest, ProviderError, ReplicaKey};
use spec::ServiceSpec;
use store::{FileSource, VersionRecord};

use crate::actor::{Actor, Message};
use crate::controller::{Shared, key};
use crate::{snapshots, verify};

impl Actor {
    /// Begins to carry out an action. Never waits.
    pub(crate) fn execute(&mut self, action: Action) {
        let settles = Some(action.key());
        match action {
            Action::Launch { replica, version } => {
                self.launches.insert(replica, None);
                let (shared, key) = (Arc::clone(&self.shared), key(&self.state, replica));
                self.on_replica(replica, async move {
                    let event = launch(&shared, key, version).await;
                    Message::Event { event, settles }
                });
            }
            Action::Terminate {
                replica,
                grace_seconds,
            } => {
                let (shared, key) = (Arc::clone(&self.shared), key(&self.state, replica));
                self.on_replica(replica, async move {
                    let event = match shared.provider.terminate(&key, grace_seconds).await {
                        Ok(()) => Event::Terminated { replica },
                        Err(error) => Event::TerminateFailed {
                            replica,
                            message: error.message,
                        },
                    };
                    Message::Event { event, settles }
                });
            }
            Action::Verify { replica, version } => self.verify(replica, version, settles),
            Action::RestartInPlace { replica, version } => {
                self.launches.insert(replica, None);
                self.restarts.insert(replica);
                let (shared, key) = (Arc::clone(&self.shared), key(&self.state, replica));
                self.on_replica(replica, async move {
                    let event = restart(&shared, key, version).await;
                    Message::Event { event, settles }
                });
            }
            Action::Route { table } => self.shared.proxy.apply(table),
            Action::Withdraw => self.shared.proxy.withdraw(&self.state.name),
            Action::CollectVersion { version } => {
                let (shared, service) = (Arc::clone(&self.shared), self.state.name.clone());
                self.shared.tasks.spawn_blocking(move || {
                    if let Err(error) = shared.store.forget_version(&service, version) {
                        tracing::warn!(service, version, %error, "cannot forget the version");
                    }
                    snapshots::collect(&shared);
                });
            }
            // The actor sees that the service is gone and forgets it when its loop ends.
            Action::Forget => {}
        }
    }

    /// Runs the command that a replica must satisfy. Beside everything else that is done on the replica: its end need
    /// not wait for it.
    fn verify(&self, replica: ReplicaId, version: Version, settles: Option<String>) {
        let known = self.state.version(version);
        let wanted = known.and_then(|known| known.settings.verify.clone());
        let address = self.state.replicas.get(&replica).and_then(|r| r.endpoint);
        let (shared, inbox) = (Arc::clone(&self.shared), self.inbox.clone());
        let (service, key) = (self.state.name.clone(), key(&self.state, replica));
        let shutdown = self.shared.shutdown.clone();
        let work = async move {
            let failure = match (wanted, address) {
                (Some(wanted), Some(address)) => {
                    let seen = verify::run(&wanted, &format!("http://{address}")).await;
                    seen.map(|seen| masked(&shared, &service, version, &seen))
                }
                (None, _) => None,
                (_, None) => Some("its address is not known".to_owned()),
            };
            if failure.is_some() && is_lost(&shared, &key).await {
                // Its machine failed, not its version; whoever observes it tells.
                return;
            }
            let event = Event::Verified {
                replica,
                version,
                failure,
            };
            let _ = inbox.send(Message::Event { event, settles }).await;
        };
        // The next server runs it again.
        let task = async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = work => {}
            }
        };
        self.shared.tasks.spawn(task);
    }

    /// Runs `work` after everything that was begun on the replica before, and hands its outcome to the actor.
    fn on_replica(
        &mut self,
        replica: ReplicaId,
        work: impl Future<Output = Message> + Send + 'static,
    ) {
        let before = self.busy.remove(&replica);
        let inbox = self.inbox.clone();
        let task = self.shared.tasks.spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let _ = inbox.send(work.await).await;
        });
        self.busy.insert(replica, task);
    }
}

/// A command may print what it was told.
fn masked(shared: &Shared, service: &str, version: Version, text: &str) -> String {
    match shared.store.version(service, version) {
        Ok(Some(record)) => record.task.masked(text),
        // Rather nothing than a secret.
        _ => "it was not satisfied".to_owned(),
    }
}

/// Whether a replica's machine is there no more.
async fn is_lost(shared: &Shared, key: &ReplicaKey) -> bool {
    let seen = shared.provider.observe(key).await;
    seen.is_ok_and(|seen| matches!(seen.phase, Phase::Absent | Phase::Lost { .. }))
}

async fn launch(shared: &Shared, key: ReplicaKey, version: Version) -> Event {
    let replica = key.replica_id;
    let outcome = match request(shared, key, version) {
        Ok(request) => shared.provider.launch(&request).await,
        Err(error) => Err(error),
    };
    launched(replica, outcome)
}

async fn restart(shared: &Shared, key: ReplicaKey, version: Version) -> Event {
    let (replica, grace) = (key.replica_id, TERMINATION_GRACE_SECONDS);
    let outcome = match request(shared, key, version) {
        Ok(request) => shared.provider.restart(&request, grace).await,
        Err(error) => Err(error),
    };
    launched(replica, outcome)
}

fn launched(replica: ReplicaId, outcome: Result<(), ProviderError>) -> Event {
    match outcome {
        Ok(()) => Event::Launched { replica },
        Err(error) => Event::LaunchFailed {
            replica,
            class: error.class,
            message: error.message,
        },
    }
}

fn request(
    shared: &Shared,
    key: ReplicaKey,
    version: Version,
) -> Result<LaunchRequest, ProviderError> {
    let transient = |message: String| ProviderError::new(ErrorClass::Transient, message);
    let stored = shared.store.version(&key.service, version);
    let record = stored
        .map_err(|error| transient(error.to_string()))?
        .ok_or_else(|| transient(format!("version {version} is not in the store")))?;
    let VersionRecord { task, files, .. } = record;
    let resources = task
        .resources
        .candidates
        .first()
        .cloned()
        .unwrap_or_default();
    let port = task
        .service
        .as_ref()
        .map_or(0, |service: &ServiceSpec| service.port);
    let snapshot = |source: &FileSource| shared.snapshots.path(&source.digest);
    let envs: BTreeMap<String, String> = task.envs;
    Ok(LaunchRequest {
        key,
        setup: task.setup,
        run: task.run,
        envs,
        secrets: task.secrets,
        workdir: files.workdir.as_ref().map(snapshot),
        file_mounts: files
            .mounts
            .iter()
            .map(|(destination, source)| LaunchMount {
                destination: destination.clone(),
                source: snapshot(source),
            })
            .collect(),
        port,
        resources,
        num_nodes: task.num_nodes,
    })
}
