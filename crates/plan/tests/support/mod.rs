//! A small world around the planner: machines that take their time, probes, a proxy that acknowledges, and time.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::{BTreeMap, BTreeSet};

use plan::observation::{ErrorClass, Exit, Observation, Phase, Stage};
use plan::replica::Routed;
use plan::rollout::UpdateMode;
use plan::routing::{Arrivals, ReplicaId, RoutingTable, Version};
use plan::settings::UpdateSettings;
use plan::status::ReplicaStatus;
use plan::{Action, Event, ServiceState, Span, Timestamp, VersionState, report, step};
use spec::{LoadBalancer, LoadBalancingPolicy, ReadinessProbe, ReplicaPolicy, ServiceSpec};

pub(crate) const START: Timestamp = Timestamp(1_700_000_000_000_000);

/// What becomes of replicas of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Good,
    /// `setup` fails.
    SetupFails,
    /// `run` exits at once.
    Exits,
    /// Never passes a probe.
    NeverReady,
    /// Exits so many seconds after it became ready.
    Dies(i64),
    /// The provider refuses it as the user's fault.
    Refused,
    /// There is no room.
    NoRoom,
}

#[derive(Clone, Debug)]
struct Machine {
    launched: Timestamp,
    ready_at: Option<Timestamp>,
    phase: Phase,
}

pub(crate) struct World {
    pub(crate) state: ServiceState,
    pub(crate) now: Timestamp,
    pub(crate) behaviours: BTreeMap<Version, Behaviour>,
    machines: BTreeMap<ReplicaId, Machine>,
    pub(crate) in_flight: BTreeMap<ReplicaId, u32>,
    pub(crate) proxy_stalls: bool,
    pub(crate) requests_per_second: u32,
    pub(crate) termination_fails: bool,
    pub(crate) tables: Vec<RoutingTable>,
    in_force: u64,
    pub(crate) launched: Vec<(ReplicaId, Version)>,
    pub(crate) forgotten: u32,
    pub(crate) happened: Vec<String>,
    checker: Checker,
}

/// What holds after every step, worked out from outside.
#[derive(Default)]
struct Checker {
    ids: BTreeSet<ReplicaId>,
    statuses: BTreeMap<ReplicaId, ReplicaStatus>,
}

pub(crate) fn spec(policy: ReplicaPolicy) -> ServiceSpec {
    ServiceSpec {
        readiness_probe: ReadinessProbe {
            path: "/health".to_owned(),
            initial_delay_seconds: 60.0,
            ..ReadinessProbe::default()
        },
        replica_policy: policy,
        load_balancing_policy: LoadBalancingPolicy::LeastLoad,
        load_balancer: LoadBalancer {
            stream_timeout_seconds: 120.0,
        },
        port: 8081,
        tls: None,
    }
}

pub(crate) fn version(
    number: Version,
    content: &str,
    spec: ServiceSpec,
    mode: UpdateMode,
    now: Timestamp,
) -> VersionState {
    VersionState {
        version: number,
        settings: UpdateSettings::defaults(&spec),
        spec,
        task_hash: content.to_owned(),
        use_spot: false,
        mode,
        accepted_at: now,
        ever_ready: false,
        failure: None,
        backoff: plan::backoff::Backoff::default(),
    }
}

impl World {
    pub(crate) fn up(policy: ReplicaPolicy, content: &str, behaviour: Behaviour) -> Self {
        let first = version(1, content, spec(policy), UpdateMode::Rolling, START);
        let listen = "127.0.0.1:30001".parse().unwrap();
        let state = ServiceState::new(
            "web".to_owned(),
            "0011223344556677".to_owned(),
            listen,
            first,
            START,
        );
        let mut world = Self {
            state,
            now: START,
            behaviours: BTreeMap::from([(1, behaviour)]),
            machines: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            proxy_stalls: false,
            requests_per_second: 0,
            termination_fails: false,
            tables: Vec::new(),
            in_force: 0,
            launched: Vec::new(),
            forgotten: 0,
            happened: Vec::new(),
            checker: Checker::default(),
        };
        world.tell(&Event::Tick);
        world
    }

    pub(crate) fn update(
        &mut self,
        content: &str,
        spec: ServiceSpec,
        mode: UpdateMode,
        how: Behaviour,
    ) {
        let number = self.state.newest() + 1;
        self.behaviours.insert(number, how);
        let version = Box::new(version(number, content, spec, mode, self.now));
        self.tell(&Event::Update { version });
    }

    /// Steps, checks, and does what the step owes.
    pub(crate) fn tell(&mut self, event: &Event) {
        let before = self.state.clone();
        let taken = step(&before, self.now, event);
        assert_eq!(taken, step(&before, self.now, event), "the same step twice");
        self.state = taken.state;
        self.happened
            .extend(taken.happenings.into_iter().map(|told| told.message));
        self.check(&before, &taken.actions);
        for action in taken.actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Launch { replica, version } => {
                self.launched.push((replica, version));
                let behaviour = self
                    .behaviours
                    .get(&version)
                    .copied()
                    .unwrap_or(Behaviour::Good);
                let refused = |class, message: &str| Event::LaunchFailed {
                    replica,
                    class,
                    message: message.to_owned(),
                };
                match behaviour {
                    Behaviour::Refused => {
                        self.tell(&refused(ErrorClass::UserFault, "there is no such image"));
                    }
                    Behaviour::NoRoom => self.tell(&refused(ErrorClass::NoCapacity, "no room")),
                    _ => {
                        let phase = Phase::Provisioning { detail: None };
                        let machine = Machine {
                            launched: self.now,
                            ready_at: None,
                            phase,
                        };
                        self.machines.insert(replica, machine);
                        self.tell(&Event::Launched { replica });
                    }
                }
            }
            Action::Terminate { replica, .. } if self.termination_fails => {
                let message = "the machine does not answer".to_owned();
                self.tell(&Event::TerminateFailed { replica, message });
            }
            Action::Terminate { replica, .. } => {
                self.machines.remove(&replica);
                self.in_flight.remove(&replica);
                self.tell(&Event::Terminated { replica });
            }
            Action::Route { table } => {
                self.tables.push(table);
                self.acknowledge();
            }
            Action::Withdraw => self.tell(&Event::Withdrawn),
            Action::CollectVersion { .. } => {}
            Action::Forget => self.forgotten += 1,
        }
    }

    pub(crate) fn acknowledge(&mut self) {
        let newest = self.tables.last().map_or(0, |table| table.generation);
        if self.proxy_stalls || newest == self.in_force {
            return;
        }
        self.in_force = newest;
        let in_flight = self.in_flight.clone().into_iter().collect();
        self.tell(&Event::Acknowledged {
            generation: newest,
            in_flight,
        });
    }

    /// Lets seconds pass, one by one.
    pub(crate) fn run(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now = self.now + Span::from_seconds(1.0);
            self.acknowledge();
            self.machines_move();
            if self.requests_per_second > 0 || !self.in_flight.is_empty() {
                let arrivals = vec![Arrivals {
                    at: self.now,
                    count: self.requests_per_second,
                }];
                let in_flight = self.in_flight.clone().into_iter().collect();
                self.tell(&Event::Traffic {
                    generation: self.in_force,
                    in_flight,
                    arrivals,
                });
            }
            self.tell(&Event::Tick);
            let settled = step(&self.state, self.now, &Event::Tick);
            assert!(
                settled.actions.is_empty(),
                "a second tick owes {:?}",
                settled.actions
            );
            assert_eq!(settled.state, self.state, "a second tick changes the state");
        }
    }

    fn machines_move(&mut self) {
        let ids: Vec<ReplicaId> = self.machines.keys().copied().collect();
        for id in ids {
            let Some(machine) = self.machines.get(&id).cloned() else {
                continue;
            };
            let launched_version = self.state.replicas.get(&id).map(|r| r.launched_version);
            let behaviour = launched_version.and_then(|v| self.behaviours.get(&v).copied());
            let behaviour = behaviour.unwrap_or(Behaviour::Good);
            let age = (self.now - machine.launched).as_seconds();
            let phase = self.phase(&machine, behaviour, age);
            if let Some(machine) = self.machines.get_mut(&id) {
                machine.phase = phase.clone();
            }
            let running = matches!(phase, Phase::Running { .. });
            self.observed(id, phase);
            if !running {
                continue;
            }
            let passes = behaviour != Behaviour::NeverReady && age >= 3.0;
            if passes && machine.ready_at.is_none() {
                let now = self.now;
                if let Some(machine) = self.machines.get_mut(&id) {
                    machine.ready_at = Some(now);
                }
            }
            self.probe(id, passes);
        }
    }

    fn phase(&self, machine: &Machine, behaviour: Behaviour, age: f64) -> Phase {
        let exit = |stage, code, line: &str| {
            Phase::Exited(Exit {
                stage,
                code: Some(code),
                signal: None,
                at: self.now,
                log_tail: vec![line.to_owned()],
                hint: None,
            })
        };
        if !matches!(
            machine.phase,
            Phase::Provisioning { .. } | Phase::Running { .. }
        ) {
            return machine.phase.clone();
        }
        match behaviour {
            Behaviour::SetupFails if age >= 1.0 => exit(Stage::Setup, 1, "no such package"),
            Behaviour::Exits if age >= 2.0 => exit(Stage::Run, 3, "cannot import"),
            Behaviour::Dies(after) => match machine.ready_at {
                Some(ready)
                    if (self.now - ready).as_seconds() >= Span(after * 1_000_000).as_seconds() =>
                {
                    exit(Stage::Run, 9, "out of memory")
                }
                _ if age >= 2.0 => Phase::Running {
                    since: machine.launched,
                },
                _ => Phase::Provisioning { detail: None },
            },
            _ if age >= 2.0 => Phase::Running {
                since: machine.launched,
            },
            _ => Phase::Provisioning { detail: None },
        }
    }

    fn observed(&mut self, replica: ReplicaId, phase: Phase) {
        let address = format!("10.0.{}.{}:8081", replica / 250, replica % 250 + 1)
            .parse()
            .unwrap();
        let observation = Observation {
            phase,
            endpoint: Some(address),
            infra: Some("Test".to_owned()),
            resources: None,
            resources_full: None,
        };
        self.tell(&Event::Observed {
            replica,
            observation,
        });
    }

    /// Probes as the planner wants, the probes of a new version included.
    fn probe(&mut self, replica: ReplicaId, passes: bool) {
        let targets = plan::probe::targets(&self.state);
        for target in targets
            .into_iter()
            .filter(|target| target.replica == replica)
        {
            let wrong = target.probe.path == "/wrong";
            let failure = match (passes, wrong) {
                (true, false) => None,
                (true, true) => Some("answered 404".to_owned()),
                (false, _) => Some("connection refused".to_owned()),
            };
            self.tell(&Event::Probed {
                replica,
                version: target.version,
                failure,
            });
        }
    }

    /// The machine of a replica vanishes.
    pub(crate) fn lose(&mut self, replica: ReplicaId) {
        if self.machines.contains_key(&replica) {
            let phase = Phase::Lost {
                reason: "the machine was taken away".to_owned(),
            };
            self.set_phase(replica, phase.clone());
            self.observed(replica, phase);
        }
    }

    /// The app of a replica crashes.
    pub(crate) fn crash(&mut self, replica: ReplicaId) {
        if self.machines.contains_key(&replica) {
            let phase = Phase::Exited(Exit {
                stage: Stage::Run,
                code: Some(1),
                signal: None,
                at: self.now,
                log_tail: vec!["boom".to_owned()],
                hint: None,
            });
            self.set_phase(replica, phase.clone());
            self.observed(replica, phase);
        }
    }

    fn set_phase(&mut self, replica: ReplicaId, phase: Phase) {
        if let Some(machine) = self.machines.get_mut(&replica) {
            machine.phase = phase;
        }
    }

    /// The server was killed: what the proxy said is forgotten, everything else comes back from the store.
    pub(crate) fn restart(&mut self) {
        let stored = serde_json::to_string(&self.state).unwrap();
        self.state = serde_json::from_str(&stored).unwrap();
        self.tell(&Event::ProxyConnected);
        let in_flight = self.in_flight.clone().into_iter().collect();
        if self.in_force > 0 && !self.proxy_stalls {
            self.tell(&Event::Acknowledged {
                generation: self.in_force,
                in_flight,
            });
        }
    }

    pub(crate) fn replicas(&self, wanted: impl Fn(&plan::Replica) -> bool) -> Vec<ReplicaId> {
        self.state
            .replicas
            .values()
            .filter(|r| wanted(r))
            .map(|r| r.id)
            .collect()
    }

    /// READY replicas that the newest table names.
    pub(crate) fn serving(&self) -> usize {
        self.state
            .table
            .as_ref()
            .map_or(0, |table| table.upstreams.len())
    }

    fn check(&mut self, before: &ServiceState, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Launch { replica, version } => {
                    assert!(
                        self.checker.ids.insert(*replica),
                        "replica {replica} is launched twice"
                    );
                    let known = &self.state.versions[version];
                    let trusted = self.state.trusted == Some(*version);
                    assert!(
                        known.failure.is_none() || trusted,
                        "a failed version is launched"
                    );
                }
                Action::Terminate { replica, .. } => self.may_end(*replica),
                Action::Route { table } => self.check_table(before, table),
                _ => {}
            }
        }
        for replica in self.state.replicas.values() {
            let last = self.checker.statuses.insert(replica.id, replica.status);
            let last = last.unwrap_or(ReplicaStatus::Pending);
            let legal = last == replica.status || reachable(last, replica.status);
            assert!(
                legal,
                "replica {} went from {last} to {}",
                replica.id, replica.status
            );
        }
        let over = self.state.replicas.values().filter(|replica| {
            replica.status.is_failed()
                && replica.status != ReplicaStatus::FailedCleanup
                && replica
                    .ending
                    .as_ref()
                    .is_some_and(|ending| ending.released)
        });
        assert!(over.count() <= 10, "failed records are not bounded");
        let _ = report::service_status(&self.state);
        let _ = report::service_message(&self.state, self.now);
        if let Some(rollout) = &self.state.rollout {
            assert!(!report::rollout_sentence(&self.state, rollout, self.now).is_empty());
        }
    }

    /// Promise 1, worked out anew from what the proxy said.
    fn may_end(&self, id: ReplicaId) {
        let replica = &self.state.replicas[&id];
        let ending = replica.ending.as_ref().expect("an end was decided");
        let named = self.tables.last().is_some_and(|table| {
            table
                .upstreams
                .iter()
                .any(|upstream| upstream.replica_id == id)
        });
        let ever = self
            .tables
            .iter()
            .any(|table| table.upstreams.iter().any(|u| u.replica_id == id));
        if self.now >= ending.drain_deadline {
            return;
        }
        // The step's own new table has not been carried out yet: `named` speaks of the one before.
        let left = self.tables.iter().rev().take_while(|table| {
            table
                .upstreams
                .iter()
                .all(|upstream| upstream.replica_id != id)
        });
        let first_without = left.last().map(|table| table.generation);
        if ever || named || replica.routed != Routed::Never {
            let generation = first_without.expect("replica is ended while a table names it");
            assert!(
                self.in_force >= generation,
                "replica {id} is ended before the proxy knows"
            );
            assert!(
                !self.in_flight.contains_key(&id),
                "replica {id} is ended with requests in flight"
            );
        }
    }

    fn check_table(&self, before: &ServiceState, table: &RoutingTable) {
        assert_eq!(
            table.generation,
            before.generation() + 1,
            "generations grow by one"
        );
        for upstream in &table.upstreams {
            let replica = &self.state.replicas[&upstream.replica_id];
            assert!(
                replica.is_ready() && replica.ending.is_none(),
                "{replica:?} has no business here"
            );
            assert_eq!(Some(upstream.address), replica.endpoint);
            assert_eq!(upstream.version, replica.version);
        }
    }
}

/// Whether one step may take a replica from one status to another, through any number of transitions.
fn reachable(from: ReplicaStatus, to: ReplicaStatus) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut front = vec![from];
    while let Some(status) = front.pop() {
        for next in status.successors() {
            if *next == to {
                return true;
            }
            if seen.insert(*next) {
                front.push(*next);
            }
        }
    }
    false
}
