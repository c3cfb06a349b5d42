//! What the cases have in common: calls that tell which one failed, and waiting.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use plan::observation::{Exit, Observation, Phase};
use tokio::time::Instant;

use super::{Fixture, SERVER, get};
use crate::{LaunchRequest, Provider, ReplicaKey};

/// Pause between two observations, where the trait gives nothing to wait for.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Seconds between TERM and KILL where a case does not care.
const GRACE_SECONDS: f64 = 5.0;

/// What a case has to say: nothing, or which promise was broken and how.
pub(super) type Verdict = Result<(), String>;

/// A provider under test.
pub(super) struct Suite<'a> {
    pub(super) provider: &'a dyn Provider,
    pub(super) fixture: &'a dyn Fixture,
}

impl Suite<'_> {
    pub(super) fn with(&self, setup: Option<&str>, run: &str) -> LaunchRequest {
        let (setup, run) = (setup.map(str::to_owned), Some(run.to_owned()));
        LaunchRequest {
            setup,
            run,
            ..self.fixture.request()
        }
    }

    pub(super) fn server(&self, answer: &str) -> LaunchRequest {
        let mut request = self.with(None, SERVER);
        request.envs.insert("ANSWER".to_owned(), answer.to_owned());
        request
    }

    pub(super) async fn launch(&self, request: &LaunchRequest) -> Verdict {
        self.provider.launch(request).await.map_err(told("launch"))
    }

    pub(super) async fn terminate(&self, key: &ReplicaKey, grace_seconds: f64) -> Verdict {
        self.provider
            .terminate(key, grace_seconds)
            .await
            .map_err(told("terminate"))
    }

    pub(super) async fn end(&self, key: &ReplicaKey) -> Verdict {
        self.terminate(key, GRACE_SECONDS).await
    }

    /// Ends the replica whatever came of the case.
    pub(super) async fn ending(&self, key: &ReplicaKey, outcome: Verdict) -> Verdict {
        let ended = self.end(key).await;
        let outcome = outcome.map_err(|what| format!("{what}; its log: {:?}", self.log(key)));
        outcome.and(ended)
    }

    pub(super) async fn observe(&self, key: &ReplicaKey) -> Result<Observation, String> {
        self.provider.observe(key).await.map_err(told("observe"))
    }

    pub(super) async fn listed(&self, key: &ReplicaKey) -> Result<bool, String> {
        Ok(self
            .provider
            .list()
            .await
            .map_err(told("list"))?
            .contains(key))
    }

    pub(super) fn log(&self, key: &ReplicaKey) -> String {
        let path = self.provider.log_path(key);
        path.and_then(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default()
    }

    /// Observes until `done`, for as long as the fixture is patient.
    pub(super) async fn until(
        &self,
        key: &ReplicaKey,
        what: &str,
        done: impl Fn(&Observation) -> bool,
    ) -> Result<Observation, String> {
        let deadline = Instant::now() + self.fixture.patience();
        loop {
            let observation = self.observe(key).await?;
            if done(&observation) {
                return Ok(observation);
            }
            if Instant::now() >= deadline {
                return Err(format!("waited in vain for it {what}: {observation:?}"));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Waits until it runs and says where.
    pub(super) async fn running(&self, key: &ReplicaKey) -> Result<SocketAddr, String> {
        let runs = |observation: &Observation| {
            matches!(observation.phase, Phase::Running { .. }) && observation.endpoint.is_some()
        };
        let observation = self.until(key, "to run at an endpoint", runs).await?;
        observation
            .endpoint
            .ok_or_else(|| "what runs has an endpoint".to_owned())
    }

    /// Waits until it has failed.
    pub(super) async fn exited(&self, key: &ReplicaKey) -> Result<Exit, String> {
        let failed = |observation: &Observation| matches!(observation.phase, Phase::Exited(_));
        match self.until(key, "to fail", failed).await?.phase {
            Phase::Exited(exit) => Ok(exit),
            other => Err(format!("it was {other:?}")),
        }
    }

    /// Waits until a GET at `endpoint` is answered with `expected`.
    pub(super) async fn answers(&self, endpoint: SocketAddr, expected: &str) -> Verdict {
        let deadline = Instant::now() + self.fixture.patience();
        loop {
            let outcome = get(endpoint).await;
            match outcome {
                Ok(answer) if answer.ends_with(expected) => return Ok(()),
                _ if Instant::now() < deadline => tokio::time::sleep(LOOK_PAUSE).await,
                outcome => {
                    return Err(format!(
                        "{endpoint} does not answer {expected:?}: {outcome:?}"
                    ));
                }
            }
        }
    }
}

/// A promise that must hold.
pub(super) fn demand(holds: bool, promise: &str) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(format!("broken promise: {promise}"))
    }
}

fn told<E: Display>(call: &'static str) -> impl FnOnce(E) -> String {
    move |error| format!("{call}: {error}")
}
