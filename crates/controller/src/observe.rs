//! Looks at each replica through its provider, one task per replica, and tells the actor what changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plan::ServiceState;
use plan::observation::Phase;
use plan::routing::ReplicaId;
use provider::ReplicaKey;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::actor::Message;
use crate::controller::{Shared, key};

/// Between two looks at a replica. A look at a local replica reads one small file.
const INTERVAL: Duration = Duration::from_millis(250);

/// The tasks of one service.
#[derive(Default)]
pub(crate) struct Observers {
    tasks: BTreeMap<ReplicaId, JoinHandle<()>>,
}

impl Observers {
    /// Looks at every live replica, and at no other.
    pub(crate) fn follow(
        &mut self,
        state: &ServiceState,
        shared: &Arc<Shared>,
        inbox: &mpsc::Sender<Message>,
    ) {
        let live = |id: &ReplicaId| state.replicas.get(id).is_some_and(plan::Replica::is_live);
        self.tasks.retain(|id, task| {
            let keep = live(id);
            if !keep {
                task.abort();
            }
            keep
        });
        for replica in state.replicas.values().filter(|replica| replica.is_live()) {
            self.tasks.entry(replica.id).or_insert_with(|| {
                let work = observe(Arc::clone(shared), key(state, replica.id), inbox.clone());
                tokio::spawn(work)
            });
        }
    }
}

impl Drop for Observers {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

async fn observe(shared: Arc<Shared>, key: ReplicaKey, inbox: mpsc::Sender<Message>) {
    let mut told = None;
    loop {
        let begun = Instant::now();
        match shared.provider.observe(&key).await {
            Ok(observation) => {
                // That it is not there is told again and again: the actor may have had reason not to believe it yet.
                if told.as_ref() != Some(&observation) || observation.phase == Phase::Absent {
                    told = Some(observation.clone());
                    let message = Message::Observed {
                        replica: key.replica_id,
                        observation,
                        begun,
                    };
                    if inbox.send(message).await.is_err() {
                        return;
                    }
                }
            }
            // Not knowing is no news: probes go on telling whether it serves.
            Err(error) => tracing::debug!(replica = %key, %error, "cannot observe it"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
