//! Machines: what is launched, looked at, probed and ended, and the work that the controller has under way on them.

use plan::observation::{ErrorClass, Observation, Phase};
use plan::routing::{ReplicaId, Version};
use plan::{Action, Event, Span};

use super::{Message, World};
use crate::fault::Fault;
use crate::history::Temper;
use crate::machine::{Answer, Behaviour, Machine};

impl World {
    /// Ends the first piece of work on a replica: its effect, its answer, and the next one's beginning.
    pub(super) fn work(&mut self, life: u64, replica: ReplicaId) {
        if life != self.life {
            return;
        }
        let Some(action) = self.controller.as_mut().and_then(|c| c.end_work(replica)) else {
            return;
        };
        let settles = Some(action.key());
        if let Some(event) = self.carry_out(&action) {
            let span = self.random.milliseconds(1, 20);
            let message = Message::Event { event, settles };
            self.post(span, message);
        }
        self.begin_work(replica);
    }

    /// What a provider does, and says.
    pub(super) fn carry_out(&mut self, action: &Action) -> Option<Event> {
        match *action {
            Action::Launch { replica, version } => Some(self.launch(replica, version)),
            Action::RestartInPlace { replica, version } => Some(self.restart(replica, version)),
            Action::Terminate { replica, .. } => Some(self.terminate(replica)),
            _ => None,
        }
    }

    /// The command that a replica must satisfy has ended. Beside everything else that is done on the replica.
    pub(super) fn verified(&mut self, life: u64, replica: ReplicaId, version: Version) {
        if life != self.life {
            return;
        }
        self.advance(replica);
        let satisfied = self.answers(replica) && !self.fails_verify(version);
        let machine = self.machines.get(&replica);
        let is_lost = machine.is_none_or(|m| matches!(m.phase, Phase::Absent | Phase::Lost { .. }));
        if !satisfied && is_lost {
            return;
        }
        let failure = (!satisfied).then(|| "it says 'wrong answer'".to_owned());
        let settles = Some(format!("verify/{replica}"));
        let event = Event::Verified {
            replica,
            version,
            failure,
        };
        self.post(Span(1000), Message::Event { event, settles });
    }

    /// A fixed property of a content, so that equal contents are judged alike.
    pub(super) fn fails_verify(&self, version: Version) -> bool {
        let state = self.state();
        let known = state.and_then(|state| state.version(version));
        self.history.temper != Temper::Innocent
            && known.is_some_and(|known| known.task_hash == "content 4")
    }

    fn launch(&mut self, replica: ReplicaId, version: Version) -> Event {
        if self.machines.contains_key(&replica) {
            // Idempotent by key.
            return Event::Launched { replica };
        }
        let behaviour = self
            .behaviours
            .get(&version)
            .copied()
            .unwrap_or(Behaviour::Good);
        let full = self.troubles.room.is_some_and(|room| self.held() >= room);
        let struck = self.take_launch_error();
        let refusal = match (behaviour, struck) {
            (Behaviour::Refused, _) => Some((ErrorClass::UserFault, "there is no such image")),
            (Behaviour::NoRoom, _) => Some((ErrorClass::NoCapacity, "no room")),
            (_, Some(class)) => Some((class, "the cloud says no")),
            _ if full => Some((ErrorClass::NoCapacity, "no machine is free")),
            _ => None,
        };
        if let Some((class, message)) = refusal {
            self.tell("provider", || {
                format!("replica {replica}: {message} ({class:?})")
            });
            self.checks.launch_failed(replica);
            let message = message.to_owned();
            return Event::LaunchFailed {
                replica,
                class,
                message,
            };
        }
        let mut machine = Machine::new(behaviour, self.now, &mut self.random);
        if let Some(place) = self.waits_for(Fault::ProvisioningHangs) {
            self.troubles.launches.remove(place);
            machine.delay(self.random.milliseconds(20_000, 200_000));
        }
        self.machines.insert(replica, machine);
        self.checks.came_into_being(replica);
        self.tell("provider", || {
            format!("replica {replica} of version {version} is launched ({behaviour:?})")
        });
        Event::Launched { replica }
    }

    fn restart(&mut self, replica: ReplicaId, version: Version) -> Event {
        if !self.machines.get(&replica).is_some_and(Machine::is_up) {
            let message = "it is not there any more".to_owned();
            let class = ErrorClass::Gone;
            return Event::LaunchFailed {
                replica,
                class,
                message,
            };
        }
        self.checks.restarted(
            replica,
            self.table_names(replica),
            self.busy(replica),
            self.now,
        );
        self.cut(replica, "it is restarted");
        let behaviour = self
            .behaviours
            .get(&version)
            .copied()
            .unwrap_or(Behaviour::Good);
        if behaviour == Behaviour::Refused {
            // Nothing is left of what cannot be started anew.
            self.machines.remove(&replica);
            let message = "there is no such image".to_owned();
            let class = ErrorClass::UserFault;
            return Event::LaunchFailed {
                replica,
                class,
                message,
            };
        }
        let machine = Machine::new(behaviour, self.now, &mut self.random);
        self.machines.insert(replica, machine);
        self.tell("provider", || {
            format!("replica {replica} is restarted with version {version}")
        });
        Event::Launched { replica }
    }

    fn terminate(&mut self, replica: ReplicaId) -> Event {
        let is_up = self.machines.get(&replica).is_some_and(Machine::is_up);
        let (named, busy) = (self.table_names(replica), self.busy(replica));
        if is_up {
            self.checks.stopped(replica, named, busy, self.now);
        }
        if self.troubles.termination_fails {
            let message = "the machine does not answer".to_owned();
            self.tell("provider", || format!("replica {replica} cannot be ended"));
            return Event::TerminateFailed { replica, message };
        }
        if self.machines.remove(&replica).is_some() {
            self.cut(replica, "it is ended");
            self.tell("provider", || format!("replica {replica} is ended"));
        }
        Event::Terminated { replica }
    }

    /// Machines that take up room.
    pub(super) fn held(&self) -> usize {
        let held = self.machines.values();
        held.filter(|machine| !matches!(machine.phase, Phase::Lost { .. } | Phase::Absent))
            .count()
    }

    fn waits_for(&self, fault: Fault) -> Option<usize> {
        self.troubles
            .launches
            .iter()
            .position(|waiting| *waiting == fault)
    }

    fn take_launch_error(&mut self) -> Option<ErrorClass> {
        let waiting = &mut self.troubles.launches;
        let place = waiting
            .iter()
            .position(|fault| fault.launch_error().is_some())?;
        waiting.remove(place).launch_error()
    }

    /// How long a piece of work takes.
    pub(super) fn duration(&mut self, action: &Action) -> Span {
        match action {
            Action::Launch { .. } => {
                if let Some(place) = self.waits_for(Fault::LaunchHangs) {
                    self.troubles.launches.remove(place);
                    return self.random.milliseconds(20_000, 120_000);
                }
                self.random.milliseconds(10, 1500)
            }
            Action::Verify { .. } => self.random.milliseconds(50, 3000),
            _ => self.random.milliseconds(10, 1000),
        }
    }

    /// Lets a machine get on; its requests die with its processes.
    pub(super) fn advance(&mut self, replica: ReplicaId) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(&replica) else {
            return;
        };
        let was_up = machine.is_up();
        machine.advance(now);
        if was_up && !machine.is_up() {
            let phase = machine.phase.clone();
            self.tell("replica", || format!("replica {replica}: {phase:?}"));
            self.cut(replica, "it has exited");
        }
    }

    /// What the provider sees of a replica.
    pub(super) fn observe(&mut self, replica: ReplicaId) -> Observation {
        self.advance(replica);
        let machine = self.machines.get(&replica);
        let phase = machine.map_or(Phase::Absent, |machine| machine.phase.clone());
        let (high, low) = (replica / 250, replica % 250 + 1);
        let octet = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
        let address = std::net::SocketAddr::from(([10, 0, octet(high), octet(low)], 8081));
        let there = !matches!(phase, Phase::Absent | Phase::Provisioning { .. });
        Observation {
            phase,
            endpoint: there.then_some(address),
            infra: None,
            resources: None,
            resources_full: None,
        }
    }

    /// What a probe that begins now will see, and how long it takes.
    pub(super) fn probe_outcome(
        &mut self,
        replica: ReplicaId,
        wrong: bool,
    ) -> (Option<String>, Span) {
        self.advance(replica);
        let now = self.now;
        let machine = self.machines.get_mut(&replica);
        let answer = machine.map_or(Answer::Refused, |machine| machine.probed(now));
        let quick = self.random.milliseconds(1, 30);
        match answer {
            Answer::Good if wrong => (Some("answered 404".to_owned()), quick),
            Answer::Good => (None, quick),
            Answer::Refused => (Some("connection refused".to_owned()), quick),
            Answer::Silent => (
                Some("no answer within 5s".to_owned()),
                Span::from_seconds(5.0),
            ),
        }
    }
}
