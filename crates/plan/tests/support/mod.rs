//! A small world around the planner: machines that take their time, probes, a proxy that
//! acknowledges, a controller that can be killed, and time.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod checker;
pub(crate) mod machine;

use std::collections::{BTreeMap, VecDeque};

use plan::observation::{ErrorClass, Observation, Phase};
use plan::rollout::UpdateMode;
use plan::routing::{Arrivals, Generation, ReplicaId, Version};
use plan::settings::UpdateSettings;
use plan::{Action, Event, ServiceState, Span, Timestamp, VersionState, step};
use spec::{LoadBalancer, LoadBalancingPolicy, ReadinessProbe, ReplicaPolicy, ServiceSpec};

use checker::Checker;
pub(crate) use machine::Behaviour;
use machine::Machine;

pub(crate) const START: Timestamp = Timestamp(1_700_000_000_000_000);

pub(crate) struct World {
    pub(crate) state: ServiceState,
    pub(crate) now: Timestamp,
    pub(crate) behaviours: BTreeMap<Version, Behaviour>,
    machines: BTreeMap<ReplicaId, Machine>,
    /// Requests in flight, as the proxy counts them.
    pub(crate) in_flight: BTreeMap<ReplicaId, u32>,
    pub(crate) proxy_stalls: bool,
    pub(crate) requests_per_second: u32,
    pub(crate) termination_fails: bool,
    /// Seconds until a launch or an end is taken up.
    pub(crate) latency_seconds: f64,
    /// Owed and not done yet, with the instant before which it is not done. Survives a restart.
    owed: VecDeque<(Timestamp, Action)>,
    working: bool,
    in_force: Generation,
    pub(crate) tables: u32,
    /// Machines there are; `None`: as many as anybody wants.
    pub(crate) room: Option<usize>,
    /// What was said to those who steered.
    pub(crate) answers: Vec<String>,
    pub(crate) launched: Vec<(ReplicaId, Version)>,
    pub(crate) restarted: Vec<(ReplicaId, Version)>,
    pub(crate) collected: Vec<Version>,
    pub(crate) forgotten: u32,
    pub(crate) checker: Checker,
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
        load_balancer: LoadBalancer::default(),
        port: 8081,
        tls: None,
        auth: spec::Auth::None,
        update: spec::Update::default(),
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
        settings: UpdateSettings::of(&spec),
        spec,
        task_hash: content.to_owned(),
        use_spot: false,
        mode,
        accepted_at: now,
        ever_ready: false,
        trusted_at: None,
        failure: None,
        backoff: plan::backoff::Backoff::default(),
    }
}

pub(crate) fn new_state(policy: ReplicaPolicy, content: &str) -> ServiceState {
    let first = version(1, content, spec(policy), UpdateMode::Rolling, START);
    let listen = "127.0.0.1:30001".parse().unwrap();
    let incarnation = "0011223344556677".to_owned();
    ServiceState::new("web".to_owned(), incarnation, listen, first, START)
}

impl World {
    pub(crate) fn up(policy: ReplicaPolicy, content: &str, behaviour: Behaviour) -> Self {
        let mut world = Self {
            state: new_state(policy, content),
            now: START,
            behaviours: BTreeMap::from([(1, behaviour)]),
            machines: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            proxy_stalls: false,
            requests_per_second: 0,
            termination_fails: false,
            latency_seconds: 0.0,
            owed: VecDeque::new(),
            working: false,
            in_force: 0,
            tables: 0,
            room: None,
            answers: Vec::new(),
            launched: Vec::new(),
            restarted: Vec::new(),
            collected: Vec::new(),
            forgotten: 0,
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

    /// What a user does with an update. Whether it changes anything is as was answered.
    pub(crate) fn steer(&mut self, event: &Event) {
        // As the controller does it: what time alone changes is no answer to anybody.
        self.tell(&Event::Tick);
        let answer = plan::steering::answer(&self.state, event);
        let before = self.state.clone();
        self.tell(event);
        let changed = match answer {
            Ok(answer) => {
                let sign = if answer.changed { "=" } else { "~" };
                self.answers.push(format!("{sign} {}", answer.message));
                answer.changed
            }
            Err(refusal) => {
                self.answers.push(format!("! {refusal}"));
                false
            }
        };
        let steered = |state: &ServiceState| {
            let rollout = state.rollout.as_ref();
            let step = |r: &plan::rollout::Rollout| r.canary.as_ref().map(|canary| canary.step);
            let rollout = rollout.map(|r| {
                (
                    r.version,
                    r.paused_at,
                    r.hurried,
                    step(r),
                    r.outcome.clone(),
                )
            });
            (state.desired, rollout)
        };
        assert_eq!(
            changed,
            steered(&before) != steered(&self.state),
            "{event:?}"
        );
    }

    /// Steps, checks, and does what is owed and due.
    pub(crate) fn tell(&mut self, event: &Event) {
        let taken = step(&self.state, self.now, event);
        let again = step(&self.state, self.now, event);
        assert_eq!(
            taken, again,
            "the same state, time and event, and not the same step"
        );
        self.checker.check(event, &taken, self.now);
        self.state = taken.state;
        for action in taken.actions {
            // A later action with the same key takes the place of an earlier one.
            self.owed.retain(|(_, owed)| owed.key() != action.key());
            let slow = matches!(
                action,
                Action::Launch { .. } | Action::Terminate { .. } | Action::RestartInPlace { .. }
            );
            let latency = if slow { self.latency_seconds } else { 0.0 };
            let due = self.now + Span::from_seconds(latency);
            self.owed.push_back((due, action));
        }
        self.work();
    }

    fn work(&mut self) {
        if self.working {
            return;
        }
        self.working = true;
        let mut done = 0;
        while let Some(place) = self.next_owed() {
            done += 1;
            assert!(done < 20_000, "it never comes to rest");
            if let Some((_, action)) = self.owed.remove(place) {
                self.carry_out(action);
            }
        }
        self.working = false;
    }

    /// The first that is due; what is owed on one replica is done in order.
    fn next_owed(&self) -> Option<usize> {
        let about = |action: &Action| match action {
            Action::Launch { replica, .. }
            | Action::Terminate { replica, .. }
            | Action::RestartInPlace { replica, .. } => Some(*replica),
            _ => None,
        };
        (0..self.owed.len()).find(|place| {
            let (due, action) = &self.owed[*place];
            let mut before = self.owed.iter().take(*place);
            let stalled = self.proxy_stalls && matches!(action, Action::Route { .. });
            let waits = about(action).is_some() && before.any(|(_, b)| about(b) == about(action));
            *due <= self.now && !stalled && !waits
        })
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Launch { replica, version } => self.launch(replica, version),
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
                self.tables += 1;
                self.in_force = table.generation;
                self.acknowledge();
            }
            Action::Verify { replica, version } => {
                let verify = self.state.versions[&version].settings.verify.as_ref();
                let failure = match verify.map(|verify| verify.run.as_str()) {
                    Some("true") => None,
                    Some("hangs") => return,
                    _ => Some("it exited with code 1".to_owned()),
                };
                self.tell(&Event::Verified {
                    replica,
                    version,
                    failure,
                });
            }
            Action::RestartInPlace { replica, version } => {
                self.machines.remove(&replica);
                self.in_flight.remove(&replica);
                self.restarted.push((replica, version));
                if self.behaviours[&version] == Behaviour::Refused {
                    return self.tell(&Event::LaunchFailed {
                        replica,
                        class: ErrorClass::UserFault,
                        message: "there is no such image".to_owned(),
                    });
                }
                let machine = Machine::new(self.behaviours[&version], self.now);
                self.machines.insert(replica, machine);
                self.tell(&Event::Launched { replica });
            }
            Action::Withdraw => self.tell(&Event::Withdrawn),
            Action::CollectVersion { version } => self.collected.push(version),
            Action::Forget => self.forgotten += 1,
        }
    }

    fn launch(&mut self, replica: ReplicaId, version: Version) {
        self.launched.push((replica, version));
        let behaviour = self.behaviours[&version];
        let refusal = match behaviour {
            Behaviour::Refused => Some((ErrorClass::UserFault, "there is no such image")),
            Behaviour::NoRoom => Some((ErrorClass::NoCapacity, "no room")),
            _ if self.room.is_some_and(|room| self.machines.len() >= room) => {
                Some((ErrorClass::NoCapacity, "no machine is free"))
            }
            _ => None,
        };
        if let Some((class, message)) = refusal {
            let message = message.to_owned();
            self.tell(&Event::LaunchFailed {
                replica,
                class,
                message,
            });
        } else {
            let machine = Machine::new(behaviour, self.now);
            self.machines.insert(replica, machine);
            self.tell(&Event::Launched { replica });
        }
    }

    fn acknowledge(&mut self) {
        let in_flight = self.in_flight.clone().into_iter().collect();
        self.tell(&Event::Acknowledged {
            generation: self.in_force,
            in_flight,
        });
    }

    /// Lets seconds pass, one by one.
    pub(crate) fn run(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.pass(1.0);
        }
    }

    /// Lets time pass at one go: machines move, probes end, the proxy tells what it counted.
    pub(crate) fn pass(&mut self, seconds: f64) {
        self.now = self.now + Span::from_seconds(seconds);
        self.work();
        let ids: Vec<ReplicaId> = self.machines.keys().copied().collect();
        for id in ids {
            self.look_at(id);
        }
        if self.requests_per_second > 0 || !self.in_flight.is_empty() {
            let count = self.requests_per_second;
            self.traffic(vec![Arrivals {
                at: self.now,
                count,
            }]);
        }
        self.tell(&Event::Tick);
        let settled = step(&self.state, self.now, &Event::Tick);
        assert_eq!(settled.actions, [], "a second tick owes something");
        assert_eq!(settled.state, self.state, "a second tick changes the state");
    }

    /// Time passes with nobody there to see it: the server is down, or the machine slept.
    pub(crate) fn sleep(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now = self.now + Span::from_seconds(1.0);
            let now = self.now;
            for machine in self.machines.values_mut() {
                machine.advance(now);
            }
        }
    }

    pub(crate) fn traffic(&mut self, arrivals: Vec<Arrivals>) {
        let in_flight = self.in_flight.clone().into_iter().collect();
        self.tell(&Event::Traffic {
            generation: self.in_force,
            in_flight,
            arrivals,
        });
    }

    /// What the provider sees of a replica, and the probes that the planner wants of it.
    fn look_at(&mut self, id: ReplicaId) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(&id) else {
            return;
        };
        machine.advance(now);
        let (phase, passes) = (machine.phase.clone(), machine.answers(now));
        let running = matches!(phase, Phase::Running { .. });
        self.observed(id, phase);
        if !running {
            return;
        }
        let targets = plan::probe::targets(&self.state);
        for target in targets.into_iter().filter(|target| target.replica == id) {
            let failure = match (passes, target.probe.path.as_str()) {
                (true, "/wrong") => Some("answered 404".to_owned()),
                (true, _) => None,
                (false, _) => Some("connection refused".to_owned()),
            };
            self.tell(&Event::Probed {
                replica: id,
                version: target.version,
                failure,
            });
        }
    }

    fn observed(&mut self, replica: ReplicaId, phase: Phase) {
        let (high, low) = (replica / 250, replica % 250 + 1);
        let observation = Observation {
            phase,
            endpoint: format!("10.0.{high}.{low}:8081").parse().ok(),
            infra: Some("Test".to_owned()),
            resources: None,
            resources_full: None,
        };
        self.tell(&Event::Observed {
            replica,
            observation,
        });
    }

    /// The machine of a replica vanishes.
    pub(crate) fn lose(&mut self, replica: ReplicaId) {
        let reason = "the machine was taken away".to_owned();
        self.strike(replica, Phase::Lost { reason });
    }

    /// The app of a replica crashes.
    pub(crate) fn crash(&mut self, replica: ReplicaId) {
        let phase = machine::exit(plan::observation::Stage::Run, 1, "boom", self.now);
        self.strike(replica, phase);
    }

    fn strike(&mut self, replica: ReplicaId, phase: Phase) {
        if let Some(machine) = self.machines.get_mut(&replica) {
            machine.phase = phase.clone();
            self.observed(replica, phase);
        }
    }

    /// From now on, or no longer, a replica fails its probes without any other sign of trouble.
    pub(crate) fn mute(&mut self, replica: ReplicaId, mute: bool) {
        if let Some(machine) = self.machines.get_mut(&replica) {
            machine.mute = mute;
        }
    }

    /// The server was killed: what the proxy said is forgotten, everything else comes from the
    /// store.
    pub(crate) fn restart(&mut self) {
        let stored = serde_json::to_string(&self.state).unwrap();
        let restored: ServiceState = serde_json::from_str(&stored).unwrap();
        assert_eq!(serde_json::to_string(&restored).unwrap(), stored);
        self.state = restored;
        self.checker.proxy_is_unknown();
        self.proxy_connects();
    }

    /// A proxy connects and is told the newest table.
    pub(crate) fn proxy_connects(&mut self) {
        self.tell(&Event::ProxyConnected);
        if !self.proxy_stalls {
            self.in_force = self.state.generation();
            self.acknowledge();
        }
    }

    pub(crate) fn replicas(&self, wanted: impl Fn(&plan::Replica) -> bool) -> Vec<ReplicaId> {
        let replicas = self.state.replicas.values().filter(|r| wanted(r));
        replicas.map(|replica| replica.id).collect()
    }

    /// Replicas that the newest table names.
    pub(crate) fn serving(&self) -> usize {
        let table = self.state.table.as_ref();
        table.map_or(0, |table| table.upstreams.len())
    }
}
