//! The world of one seed: virtual time, one service, its controller, machines, proxy, users and troubles.
//!
//! **What is real.** Every decision is the production planner's: `plan::step`, `plan::probe::targets` and
//! `plan::steering::answer`. The state survives a kill as it does in production, through its JSON.
//!
//! **What is modelled.** The controller's actor is driven by an event loop of its own (`world/controller.rs`) that
//! follows `controller/src/actor.rs` rule by rule: one event at a time, commit before execution, nothing committed where
//! nothing changed, what the world did waits while the store cannot be written, what is owed is done again after a
//! start, work on one replica in order, a look that a launch has overtaken is not believed, a complaint of the proxy
//! probes at once. So do the link to the proxy (everything is told anew on each connection) and the store (an action
//! takes the place of an earlier one with its key). The real actor needs a runtime, sockets and a database, and could
//! play some dozens of histories in the time in which this plays thousands; it is killed at every commit of a life in
//! `controller/tests/recovery.rs`.
//!
//! **What is not covered.** SQLite itself, the wire formats, HTTP, the agents, several services at a time, and clocks that
//! jump.

mod controller;
mod deeds;
mod link;
mod provider;
mod proxy;
mod settle;
mod watching;

use std::collections::BTreeMap;

use plan::routing::{ProxyReport, ReplicaId, Version};
use plan::{Action, Event, ServiceState, Span, Timestamp, VersionState};

use crate::check::{Checks, Violation};
use crate::fault::{Fault, FaultCounts};
use crate::history::{Deed, History, START, Temper, Wish};
use crate::machine::{Behaviour, Machine};
use crate::queue::Queue;
use crate::random::Random;
use crate::trace::Trace;
use controller::Controller;
use proxy::Proxy;
pub(crate) use settle::{Rest, Stage};

/// No world needs so many steps of its loop; one that does goes round in circles.
const MOST_OCCURRENCES: u64 = 400_000;

/// What the controller's inbox holds.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Event {
        event: Event,
        settles: Option<String>,
    },
    Observed {
        replica: ReplicaId,
        observation: plan::observation::Observation,
        begun: Timestamp,
    },
    Report(ProxyReport),
}

/// What may be next.
pub(crate) enum Occurrence {
    Deed(Deed),
    FaultsEnd,
    /// Outside looks, once a second.
    Watch,
    // Of the controller that lives; a killed one's are void.
    Tick {
        life: u64,
    },
    Look {
        life: u64,
        replica: ReplicaId,
    },
    Probe {
        life: u64,
        replica: ReplicaId,
        version: Version,
        serial: u64,
    },
    Work {
        life: u64,
        replica: ReplicaId,
    },
    Verified {
        life: u64,
        replica: ReplicaId,
        version: Version,
    },
    Deliver {
        life: u64,
        message: Box<Message>,
    },
    Connect {
        life: u64,
    },
    Start,
    Retry {
        life: u64,
    },
    // Of one connection between controller and proxy.
    Command {
        connection: u64,
        command: Box<plan::routing::ProxyCommand>,
    },
    Report {
        connection: u64,
        report: Box<ProxyReport>,
    },
    // Of the proxy.
    Count,
    Arrive,
    Finish {
        request: u64,
    },
    ProxyStarts,
    // Ends of troubles.
    CapacityReturns,
    TerminationWorks,
    LinkIsQuick,
    StoreWorks,
}

/// What survives the controller.
pub(crate) struct Store {
    /// The service, until it is forgotten.
    pub(crate) state: Option<ServiceState>,
    pub(crate) owed: Vec<Action>,
    pub(crate) commits: u32,
    pub(crate) fails: bool,
}

/// Troubles that are on.
#[derive(Default)]
pub(crate) struct Troubles {
    /// How the next launches fail, or that they hang.
    pub(crate) launches: Vec<Fault>,
    /// Machines there are; `None`: as many as anybody wants.
    pub(crate) room: Option<usize>,
    pub(crate) termination_fails: bool,
    pub(crate) link_is_slow: bool,
    pub(crate) duplicates: bool,
}

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) history: History,
    pub(crate) random: Random,
    pub(crate) queue: Queue<Occurrence>,
    pub(crate) store: Store,
    pub(crate) controller: Option<Controller>,
    /// Grows with each controller.
    pub(crate) life: u64,
    pub(crate) machines: BTreeMap<ReplicaId, Machine>,
    pub(crate) proxy: Proxy,
    pub(crate) troubles: Troubles,
    /// What the replicas of each version do.
    pub(crate) behaviours: BTreeMap<Version, Behaviour>,
    pub(crate) stage: Stage,
    pub(crate) faults: FaultCounts,
    pub(crate) checks: Checks,
    pub(crate) trace: Trace,
    pub(crate) steps: u64,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Trace) -> Self {
        let history = History::draw(seed);
        let first = version_state(&history, 1, &history.first, START);
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 30001));
        let incarnation = format!("{seed:016x}");
        let state = ServiceState::new("web".to_owned(), incarnation, listen, first, START);
        let mut checks = Checks::new(history.temper);
        checks.accepted(&state.versions[&1], history.contents[0]);
        Self {
            now: START,
            random: Random::new(seed ^ 0xface),
            queue: Queue::new(),
            store: Store {
                state: Some(state),
                owed: Vec::new(),
                commits: 0,
                fails: false,
            },
            controller: None,
            life: 0,
            machines: BTreeMap::new(),
            proxy: Proxy::default(),
            troubles: Troubles::default(),
            behaviours: BTreeMap::from([(1, history.contents[0])]),
            stage: Stage::Action,
            faults: FaultCounts::default(),
            checks,
            trace,
            steps: 0,
            history,
        }
    }

    /// Plays it to its end, or to the first promise that is broken.
    pub(crate) fn play(&mut self) -> Option<Violation> {
        let deeds = std::mem::take(&mut self.history.deeds);
        for (at, deed) in deeds {
            self.queue.push(at, Occurrence::Deed(deed));
        }
        let ends = self.history.faults_end_at;
        self.queue.push(ends, Occurrence::FaultsEnd);
        self.after(Span::ZERO, Occurrence::Start);
        self.after(Span::from_seconds(1.0), Occurrence::Watch);
        self.after(Span::from_seconds(1.0), Occurrence::Count);
        self.after(Span::from_seconds(2.0), Occurrence::Arrive);
        let mut occurrences = 0;
        while let Some((at, occurrence)) = self.queue.pop() {
            self.now = self.now.max(at);
            self.happen(occurrence);
            occurrences += 1;
            if occurrences > MOST_OCCURRENCES {
                self.checks
                    .violated("liveness", "the world goes round in circles".to_owned());
            }
            if self.checks.violation.is_some() || self.stage == Stage::Over {
                break;
            }
        }
        self.checks.violation.take()
    }

    fn happen(&mut self, occurrence: Occurrence) {
        match occurrence {
            Occurrence::Deed(deed) => self.perform(&deed),
            Occurrence::FaultsEnd => self.end_faults(),
            Occurrence::Watch => self.watch(),
            Occurrence::Tick { life } => self.tick(life),
            Occurrence::Look { life, replica } => self.look(life, replica),
            Occurrence::Probe {
                life,
                replica,
                version,
                serial,
            } => {
                self.probe(life, replica, version, serial);
            }
            Occurrence::Work { life, replica } => self.work(life, replica),
            Occurrence::Verified {
                life,
                replica,
                version,
            } => self.verified(life, replica, version),
            Occurrence::Deliver { life, message } => self.deliver(life, *message),
            Occurrence::Connect { life } => self.connect(life),
            Occurrence::Start => self.start_controller(),
            Occurrence::Retry { life } => self.retry(life),
            Occurrence::Command {
                connection,
                command,
            } => self.commanded(connection, *command),
            Occurrence::Report { connection, report } => self.reported(connection, *report),
            Occurrence::Count => self.count(),
            Occurrence::Arrive => self.arrive(),
            Occurrence::Finish { request } => self.finish(request),
            Occurrence::ProxyStarts => self.proxy_starts(),
            Occurrence::CapacityReturns => self.troubles.room = None,
            Occurrence::TerminationWorks => self.troubles.termination_fails = false,
            Occurrence::LinkIsQuick => self.troubles.link_is_slow = false,
            Occurrence::StoreWorks => self.store.fails = false,
        }
    }

    pub(crate) fn after(&mut self, span: Span, occurrence: Occurrence) {
        self.queue.push(self.now + span, occurrence);
    }

    /// The service as its controller knows it, or as the store does.
    pub(crate) fn state(&self) -> Option<&ServiceState> {
        let living = self
            .controller
            .as_ref()
            .map(|controller| &*controller.state);
        living.or(self.store.state.as_ref())
    }

    /// Looks from outside: what serves in truth, and whether the world has come to rest.
    fn watch(&mut self) {
        self.after(Span::from_seconds(1.0), Occurrence::Watch);
        let ids: Vec<ReplicaId> = self.machines.keys().copied().collect();
        for id in ids {
            self.advance(id);
        }
        if self.history.temper == Temper::Gentle && self.stage != Stage::Down {
            let serving = self.serving();
            self.checks.capacity(serving, self.now);
        }
        self.settle();
    }

    /// Replicas of the table in force that answer in truth.
    pub(crate) fn serving(&self) -> u32 {
        let table = self.proxy.table.as_ref();
        let named = table.into_iter().flat_map(|table| &table.upstreams);
        let answering = named.filter(|upstream| self.answers(upstream.replica_id));
        u32::try_from(answering.count()).unwrap_or(u32::MAX)
    }

    pub(crate) fn answers(&self, replica: ReplicaId) -> bool {
        let machine = self.machines.get(&replica);
        machine.is_some_and(|machine| machine.answer(self.now) == crate::machine::Answer::Good)
    }

    pub(crate) fn tell(&mut self, who: &str, what: impl FnOnce() -> String) {
        self.trace.line(self.now, who, what);
    }
}

/// The version that a wish makes.
pub(crate) fn version_state(
    history: &History,
    number: Version,
    wish: &Wish,
    now: Timestamp,
) -> VersionState {
    let mut policy = spec::ReplicaPolicy::fixed(wish.replicas);
    if history.autoscales {
        policy.max_replicas = Some(wish.replicas + 2);
        policy.target_qps_per_replica = Some(spec::TargetQps::Uniform(0.2));
        policy.upscale_delay_seconds = Some(20.0);
        policy.downscale_delay_seconds = Some(40.0);
    }
    let path = if wish.wrong_probe {
        "/wrong"
    } else {
        "/health"
    };
    let spec = spec::ServiceSpec {
        readiness_probe: spec::ReadinessProbe {
            path: path.to_owned(),
            initial_delay_seconds: 40.0,
            timeout_seconds: 5.0,
            consecutive_failure_threshold_timeout: Some(30.0),
            ..spec::ReadinessProbe::default()
        },
        replica_policy: policy,
        load_balancing_policy: spec::LoadBalancingPolicy::LeastLoad,
        load_balancer: spec::LoadBalancer::default(),
        port: 8081,
        tls: None,
        auth: spec::Auth::None,
        update: wish.update.clone(),
    };
    VersionState {
        version: number,
        settings: plan::settings::UpdateSettings::of(&spec),
        spec,
        task_hash: format!("content {}", wish.content),
        use_spot: false,
        mode: wish.mode,
        accepted_at: now,
        ever_ready: false,
        trusted_at: None,
        failure: None,
        backoff: plan::backoff::Backoff::default(),
    }
}
