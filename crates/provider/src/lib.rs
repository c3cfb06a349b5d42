//! The contract between the controller and an infrastructure: launch, observe, terminate, logs, list.
//!
//! Every call is idempotent by [`ReplicaKey`]: launching what is launched, or terminating what is gone, is no
//! error. Whatever a provider makes carries the key, so that after a crash what is ours can be found and
//! nothing else is touched. A provider knows nothing of versions, rollouts or traffic.

#[cfg(feature = "contract")]
pub mod contract;
mod error;
mod launch;

use std::path::PathBuf;

use async_trait::async_trait;
use plan::observation::{ErrorClass, Observation};

pub use error::ProviderError;
pub use launch::{LaunchMount, LaunchRequest, ReplicaKey};

/// One kind of infrastructure.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Short name, as in `infra:` (`local`).
    fn name(&self) -> &'static str;

    /// Starts a replica. Returns once what must survive a crash of the caller is durable; the replica then
    /// comes up on its own, as [`observe`](Self::observe) tells. Launching a key that exists changes nothing.
    ///
    /// # Errors
    /// The class says what the planner may conclude. After an error nothing of the key is left behind.
    async fn launch(&self, request: &LaunchRequest) -> Result<(), ProviderError>;

    /// What is known of a replica now; [`Phase::Absent`](plan::observation::Phase::Absent) for a key never launched.
    ///
    /// # Errors
    /// Only where nothing can be said (the infrastructure does not answer).
    async fn observe(&self, key: &ReplicaKey) -> Result<Observation, ProviderError>;

    /// Ends a replica: TERM to all its processes, KILL after `grace_seconds`, then every trace but its logs.
    /// Returns when all of it is gone. Terminating what is gone is no error.
    ///
    /// # Errors
    /// When something may be left behind.
    async fn terminate(&self, key: &ReplicaKey, grace_seconds: f64) -> Result<(), ProviderError>;

    /// Ends what runs for a key and starts `request` in its place, on the same machine. Doing it twice is harmless.
    ///
    /// # Errors
    /// As [`launch`](Self::launch), but something of the key may be left behind. An infrastructure that cannot do
    /// it says so, which is the default, and has changed nothing.
    async fn restart(
        &self,
        _request: &LaunchRequest,
        _grace_seconds: f64,
    ) -> Result<(), ProviderError> {
        let message = format!(
            "{} cannot restart replicas in place; use another `mode`",
            self.name()
        );
        Err(ProviderError::new(ErrorClass::UserFault, message))
    }

    /// The file that holds setup's and run's output, also after the replica's end; `None` if there never was one.
    fn log_path(&self, key: &ReplicaKey) -> Option<PathBuf>;

    /// Every replica of ours that this provider holds, for finding leaks after a crash.
    ///
    /// # Errors
    /// When the infrastructure does not answer.
    async fn list(&self) -> Result<Vec<ReplicaKey>, ProviderError>;
}
