//! Probes each replica on its own schedule: one task per replica and probe, each with its own timeout, so that a
//! slow replica delays nobody else's probe.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use plan::probe::{EAGER_PROBE_INTERVAL_SECONDS, ProbeTarget, targets};
use plan::routing::{ReplicaId, Version};
use plan::{Event, ServiceState};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::actor::Message;
use crate::http_probe::{self, REFUSED};

/// A refused connection costs nobody anything: an app that is just starting is asked again this soon.
const REFUSED_INTERVAL: Duration = Duration::from_millis(200);

/// The tasks of one service.
#[derive(Default)]
pub(crate) struct Probers {
    tasks: BTreeMap<(ReplicaId, Version), Prober>,
}

struct Prober {
    target: ProbeTarget,
    hurry: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Probers {
    /// Probes what the planner wants probed, as it wants it.
    pub(crate) fn follow(&mut self, state: &ServiceState, inbox: &mpsc::Sender<Message>) {
        let mut wanted: BTreeMap<(ReplicaId, Version), ProbeTarget> = targets(state)
            .into_iter()
            .map(|target| ((target.replica, target.version), target))
            .collect();
        let mut known = BTreeSet::new();
        self.tasks.retain(|key, prober| {
            let same = wanted.get(key) == Some(&prober.target);
            if same {
                wanted.remove(key);
            } else {
                prober.task.abort();
                known.insert(*key);
            }
            same
        });
        for (key, target) in wanted {
            let hurry = Arc::new(Notify::new());
            // It has just been probed: that is what changed its schedule. An app that passes one probe and fails the
            // next must not be probed without a pause.
            let waits = known.contains(&key);
            let work = probe(target.clone(), waits, Arc::clone(&hurry), inbox.clone());
            let task = tokio::spawn(work);
            self.tasks.insert(
                key,
                Prober {
                    target,
                    hurry,
                    task,
                },
            );
        }
    }

    /// Probes a replica at once, whatever its schedule says.
    pub(crate) fn probe_now(&self, replica: ReplicaId) {
        let probers = self.tasks.iter().filter(|((id, _), _)| *id == replica);
        probers.for_each(|(_, prober)| prober.hurry.notify_one());
    }
}

impl Drop for Probers {
    fn drop(&mut self) {
        self.tasks.values().for_each(|prober| prober.task.abort());
    }
}

async fn probe(target: ProbeTarget, waits: bool, hurry: Arc<Notify>, inbox: mpsc::Sender<Message>) {
    let interval = Duration::try_from_secs_f64(target.interval_seconds).unwrap_or(Duration::MAX);
    if waits {
        pause(&hurry, Instant::now().checked_add(interval)).await;
    }
    loop {
        let begun = Instant::now();
        let failure = http_probe::probe(target.address, &target.probe).await.err();
        let eager = target.interval_seconds <= EAGER_PROBE_INTERVAL_SECONDS;
        let refused = failure
            .as_ref()
            .is_some_and(|seen| eager && seen.starts_with(REFUSED));
        let event = Event::Probed {
            replica: target.replica,
            version: target.version,
            failure,
        };
        if inbox
            .send(Message::Event {
                event,
                settles: None,
            })
            .await
            .is_err()
        {
            return;
        }
        let next = begun.checked_add(if refused {
            REFUSED_INTERVAL.min(interval)
        } else {
            interval
        });
        pause(&hurry, next).await;
    }
}

/// Waits until an instant, for ever where there is none, or until somebody is in a hurry.
async fn pause(hurry: &Notify, until: Option<Instant>) {
    tokio::select! {
        () = hurry.notified() => {}
        () = async { match until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        } } => {}
    }
}
