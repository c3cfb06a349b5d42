//! The actor of one service: takes messages one at a time, steps, commits, publishes, executes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use plan::observation::{Observation, Phase};
use plan::routing::{ProxyReport, ReplicaId};
use plan::steering::Answer;
use plan::{Action, Event, ServicePhase, ServiceState, Step};
use store::{Commit, KeyChange, StoreError, StoredService, VersionRecord};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::canary;
use crate::clock::now;
use crate::controller::{ControllerError, Shared, View};
use crate::masks;
use crate::new_version::{NewVersion, Updated};
use crate::observe::Observers;
use crate::probing::Probers;

/// Time passes at least this often.
const TICK: Duration = Duration::from_millis(500);
/// Between two attempts to commit what the world has already done.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

/// The longest that the proxy gives no requests to a replica that failed.
const COMPLAINT_TIME: Duration = Duration::from_secs(300);

/// What an actor may be told.
pub(crate) enum Message {
    /// Something happened; `settles` names the action whose outcome it is.
    Event {
        /// What.
        event: Event,
        /// The action.
        settles: Option<String>,
    },
    /// A look at a replica.
    Observed {
        /// The replica.
        replica: ReplicaId,
        /// What was seen.
        observation: Observation,
        /// When the look began; what is seen is at least this new.
        begun: Instant,
    },
    /// The proxy reports.
    Proxy(ProxyReport),
    /// A user asks.
    Request {
        /// For what.
        event: Event,
        /// The answer.
        reply: oneshot::Sender<Result<(), ControllerError>>,
    },
    /// A user steers an update.
    Steer {
        /// Where to: `Steer` or `Rollback`.
        event: Event,
        /// Who asks, where that is known.
        requested_by: Option<String>,
        /// The answer.
        reply: oneshot::Sender<Result<Answer, ControllerError>>,
    },
    /// A user makes, revokes or forgets API keys.
    Keys {
        /// What.
        change: KeyChange,
        /// The answer.
        reply: oneshot::Sender<Result<(), ControllerError>>,
    },
    /// A user updates.
    Update {
        /// The version.
        next: Box<NewVersion>,
        /// The answer.
        reply: oneshot::Sender<Result<Updated, ControllerError>>,
    },
}

pub(crate) struct Actor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) inbox: mpsc::Sender<Message>,
    pub(crate) state: Arc<ServiceState>,
    revision: u64,
    /// What happened and is not committed yet, because the store could not be written.
    waiting: VecDeque<(Event, Option<String>)>,
    /// When to try again to commit it.
    retry_at: Option<Instant>,
    /// The secrets of its versions.
    pub(crate) masks: spec::Masks,
    /// Who asked for the next step, where somebody did.
    pub(crate) requested_by: Option<String>,
    /// The state as it is in the store.
    committed: String,
    publish: watch::Sender<View>,
    observers: Observers,
    probers: Probers,
    /// The last task on each replica; the next one on it waits for its end.
    pub(crate) busy: BTreeMap<ReplicaId, JoinHandle<()>>,
    /// Launches that were begun by this process, with the instant their outcome was taken in, once it was.
    pub(crate) launches: BTreeMap<ReplicaId, Option<Instant>>,
    /// What the proxy counted of a canary.
    canary: canary::Told,
    /// Those of them that are restarts: what was seen before is of the app before.
    pub(crate) restarts: BTreeSet<ReplicaId>,
    /// Replicas that the proxy could not reach, and when it last said so.
    complained_of: BTreeMap<ReplicaId, Instant>,
}

/// Runs until the service is gone (true) or the controller ends (false).
pub(crate) async fn run(
    shared: Arc<Shared>,
    service: StoredService,
    inbox: mpsc::Sender<Message>,
    mut messages: mpsc::Receiver<Message>,
    publish: watch::Sender<View>,
) -> bool {
    let shutdown = shared.shutdown.clone();
    let mut actor = Actor {
        observers: Observers::default(),
        probers: Probers::default(),
        busy: BTreeMap::new(),
        launches: BTreeMap::new(),
        restarts: BTreeSet::new(),
        canary: canary::Told::default(),
        complained_of: BTreeMap::new(),
        requested_by: None,
        masks: masks::of(&*shared.store, &service.state),
        committed: serialised(&service.state),
        state: Arc::new(service.state),
        revision: service.revision,
        waiting: VecDeque::new(),
        retry_at: None,
        shared,
        inbox,
        publish,
    };
    actor.resume(service.owed);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while actor.state.phase != ServicePhase::Gone {
        let message = tokio::select! {
            biased;
            () = shutdown.cancelled() => return false,
            message = messages.recv() => match message {
                Some(message) => message,
                None => return false,
            },
            _ = ticks.tick() => Message::Event { event: Event::Tick, settles: None },
        };
        actor.take(message).await;
    }
    actor.forget().await;
    true
}

impl Actor {
    /// Carries out what the store says is owed, and looks at everything anew.
    fn resume(&mut self, owed: Vec<Action>) {
        if let Some(table) = &self.state.table {
            self.shared.proxy.apply(table.clone());
        }
        let ends: BTreeSet<ReplicaId> = owed
            .iter()
            .filter_map(|action| match action {
                Action::Terminate { replica, .. } => Some(*replica),
                _ => None,
            })
            .collect();
        for action in owed {
            // What is to be ended is not started first, only because nobody heard that it had been.
            if action
                .starts()
                .is_none_or(|replica| !ends.contains(&replica))
            {
                self.execute(action);
            }
        }
        self.watch();
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Event { mut event, settles } => {
                masks::event(&self.masks, &mut event);
                self.tell_of_recovery(&event);
                if let Event::Launched { replica } | Event::LaunchFailed { replica, .. } = &event {
                    self.launches.insert(*replica, Some(Instant::now()));
                }
                self.happened(&event, settles).await;
            }
            Message::Observed {
                replica,
                mut observation,
                begun,
            } => {
                masks::observation(&self.masks, &mut observation);
                if !self.is_premature(replica, &observation, begun) {
                    let event = Event::Observed {
                        replica,
                        observation,
                    };
                    self.happened(&event, None).await;
                }
            }
            Message::Proxy(report) => self.reported(report).await,
            Message::Request { event, reply } => {
                let answer = self.asked(&event).await;
                let _ = reply.send(answer);
            }
            Message::Steer {
                event,
                requested_by,
                reply,
            } => {
                let answer = self.steer(&event, requested_by).await;
                let _ = reply.send(answer);
            }
            Message::Keys { change, reply } => {
                let answer = self.change_keys(&change).await;
                let _ = reply.send(answer);
            }
            Message::Update { next, reply } => {
                let answer = self.update(*next).await;
                let _ = reply.send(answer);
            }
        }
    }

    /// The proxy may give no requests to a replica that it has complained of; it hears when that answers probes again.
    fn tell_of_recovery(&mut self, event: &Event) {
        let Event::Probed {
            replica,
            failure: None,
            ..
        } = event
        else {
            return;
        };
        if let Some(since) = self.complained_of.get(replica) {
            if since.elapsed() > COMPLAINT_TIME {
                self.complained_of.remove(replica);
            }
            self.shared
                .proxy
                .probe_succeeded(&self.state.name, *replica);
        }
    }

    /// Whether a replica was looked for before its launch had come to an end: a launch that the last server left
    /// half-done is done again, not given up, and a look can arrive later than the launch that overtook it.
    fn is_premature(&self, replica: ReplicaId, seen: &Observation, begun: Instant) -> bool {
        let launch = self.launches.get(&replica);
        let is_doubtful = seen.phase == Phase::Absent || self.restarts.contains(&replica);
        is_doubtful && launch.is_some_and(|outcome| outcome.is_none_or(|known| begun <= known))
    }

    /// Takes in what the world did. It cannot be refused, so while the store cannot be written it waits its turn.
    async fn happened(&mut self, event: &Event, settles: Option<String>) {
        let repeats = matches!(
            event,
            Event::Tick | Event::Traffic { .. } | Event::Probed { .. }
        );
        if self.waiting.is_empty() || !repeats {
            self.waiting.push_back((event.clone(), settles));
        }
        if self
            .retry_at
            .is_some_and(|instant| Instant::now() < instant)
        {
            return;
        }
        if let Err(error) = self.catch_up().await {
            let service = &self.state.name;
            tracing::error!(service, %error, "cannot commit; will try again");
        }
    }

    /// Steps through everything that waits, in order.
    pub(crate) async fn catch_up(&mut self) -> Result<(), StoreError> {
        while let Some((event, settles)) = self.waiting.front().cloned() {
            let mut settled: Vec<String> = settles.into_iter().collect();
            if let Event::Terminated { replica } | Event::TerminateFailed { replica, .. } = &event {
                settled.extend(Action::keys_of_starts(*replica));
            }
            if let Err(error) = self.step(&event, &settled, None, None).await {
                self.retry_at = Some(Instant::now() + COMMIT_RETRY);
                return Err(error);
            }
            self.waiting.pop_front();
        }
        self.retry_at = None;
        Ok(())
    }

    async fn reported(&mut self, report: ProxyReport) {
        match report {
            ProxyReport::Hello { .. } => self.happened(&Event::ProxyConnected, None).await,
            ProxyReport::Acknowledged {
                generation,
                in_flight,
                ..
            } => {
                let newest = generation == self.state.generation();
                let settles = newest.then(|| "route".to_owned());
                self.happened(
                    &Event::Acknowledged {
                        generation,
                        in_flight,
                    },
                    settles,
                )
                .await;
            }
            ProxyReport::Refused {
                generation, reason, ..
            } => {
                self.happened(&Event::TableRefused { generation, reason }, None)
                    .await;
            }
            ProxyReport::Withdrawn { .. } => {
                self.happened(&Event::Withdrawn, Some(Action::Withdraw.key()))
                    .await;
            }
            ProxyReport::Traffic {
                generation,
                in_flight,
                arrivals,
                ..
            } => {
                self.happened(
                    &Event::Traffic {
                        generation,
                        in_flight,
                        arrivals,
                    },
                    None,
                )
                .await;
            }
            ProxyReport::Canary { counts, .. } => {
                if let Some(event) = self.canary.take(counts, self.state.table.as_ref()) {
                    self.happened(&event, None).await;
                }
            }
            ProxyReport::UpstreamFailed {
                replica_id, error, ..
            } => {
                let service = &self.state.name;
                tracing::info!(
                    service,
                    replica = replica_id,
                    error,
                    "the proxy cannot reach it"
                );
                self.complained_of.insert(replica_id, Instant::now());
                self.probers.probe_now(replica_id);
            }
        }
    }

    /// One step, from event to execution.
    pub(crate) async fn step(
        &mut self,
        event: &Event,
        settled: &[String],
        version: Option<&VersionRecord>,
        keys: Option<&KeyChange>,
    ) -> Result<(), StoreError> {
        let (at, requested_by) = (now(), self.requested_by.take());
        let Step {
            state,
            actions,
            happenings,
        } = plan::step(&self.state, at, event);
        let json = serialised(&state);
        let state = Arc::new(state);
        let changes = json != self.committed || keys.is_some();
        if changes || !actions.is_empty() || !settled.is_empty() {
            for happening in &happenings {
                let (service, kind) = (&state.name, happening.kind.as_str());
                tracing::info!(service, kind, "{}", happening.message);
            }
            let store = Arc::clone(&self.shared.store);
            let (committing, owed) = (Arc::clone(&state), actions.clone());
            let (settled, version) = (settled.to_vec(), version.cloned());
            let keys = keys.cloned();
            let work = tokio::task::spawn_blocking(move || {
                store.commit(Commit {
                    state: &committing,
                    at,
                    version: version.as_ref(),
                    requested_by: requested_by.as_deref(),
                    keys: keys.as_ref(),
                    owed: &owed,
                    settled: &settled,
                    happenings: &happenings,
                })
            });
            self.revision = work.await.unwrap_or_else(|panic| {
                Err(StoreError::File {
                    path: "commit".to_owned(),
                    error: std::io::Error::other(panic.to_string()),
                })
            })?;
            self.committed = json;
        }
        self.state = state;
        let view = View {
            revision: self.revision,
            state: Arc::clone(&self.state),
        };
        self.publish.send_replace(view);
        for action in actions {
            self.execute(action);
        }
        self.watch();
        Ok(())
    }

    /// Brings the tasks that look at replicas in line with the state.
    fn watch(&mut self) {
        self.observers
            .follow(&self.state, &self.shared, &self.inbox);
        self.probers.follow(&self.state, &self.inbox);
        self.busy.retain(|_, task| !task.is_finished());
        let replicas = &self.state.replicas;
        self.launches.retain(|id, _| replicas.contains_key(id));
        self.restarts.retain(|id| replicas.contains_key(id));
        self.complained_of.retain(|id, _| replicas.contains_key(id));
    }

    async fn forget(&mut self) {
        let name = self.state.name.clone();
        loop {
            let (store, service) = (Arc::clone(&self.shared.store), name.clone());
            let work = tokio::task::spawn_blocking(move || store.forget(&service)).await;
            match work {
                Ok(Ok(())) => break,
                Ok(Err(error)) => tracing::error!(service = name, %error, "cannot forget it"),
                Err(panic) => tracing::error!(service = name, %panic, "cannot forget it"),
            }
            tokio::time::sleep(COMMIT_RETRY).await;
        }
        let shared = Arc::clone(&self.shared);
        self.shared
            .tasks
            .spawn_blocking(move || crate::snapshots::collect(&shared));
        tracing::info!(service = name, "the service is gone");
    }
}

fn serialised(state: &ServiceState) -> String {
    // The state is plain data with string-like keys: it always serialises.
    serde_json::to_string(state).unwrap_or_default()
}
