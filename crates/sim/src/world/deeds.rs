//! What users do and what strikes, at its instant.

use plan::observation::{Phase, Stage as Part};
use plan::routing::ReplicaId;
use plan::{Event, Span};

use super::{Occurrence, World, version_state};
use crate::fault::Fault;
use crate::history::{Deed, Wish};
use crate::machine::{Machine, exit};

impl World {
    pub(super) fn perform(&mut self, deed: &Deed) {
        match deed {
            Deed::Strike(fault) => self.strike(*fault),
            Deed::Update(wish) => self.update(wish),
            Deed::Steer(what) => self.steer(&Event::Steer { what: *what }),
            Deed::Rollback(to) => self.steer(&Event::Rollback { to: *to }),
            Deed::EndOne { now, purge } => self.end_one(*now, *purge),
        }
    }

    /// A user is refused while the server is down, or the store cannot be written.
    fn may_ask(&mut self) -> bool {
        self.is_running() && self.catch_up().is_ok() && self.is_running()
    }

    fn update(&mut self, wish: &Wish) {
        if !self.may_ask() {
            return self.tell("user", || "update: refused".to_owned());
        }
        let Some(state) = self.state() else { return };
        let number = state.newest() + 1;
        let version = version_state(&self.history, number, wish, self.now);
        let behaviour = self.history.contents[wish.content];
        self.tell("user", || {
            let (mode, replicas) = (wish.mode.as_str(), wish.replicas);
            format!("update to version {number}: {mode}, content {} ({behaviour:?}), {replicas} replicas", wish.content)
        });
        self.behaviours.insert(number, behaviour);
        self.checks.accepted(&version, behaviour);
        let version = Box::new(version);
        let _ = self.step(&Event::Update { version }, &[]);
        if self
            .store
            .state
            .as_ref()
            .is_some_and(|state| state.newest() < number)
        {
            // Killed, or not written: no version came of it.
            self.behaviours.remove(&number);
            self.checks.refused(number);
        }
    }

    pub(super) fn steer(&mut self, event: &Event) {
        if !self.may_ask() {
            return;
        }
        let Some(controller) = &self.controller else {
            return;
        };
        let answer = plan::steering::answer(&controller.state, event);
        self.tell("user", || format!("{event:?}: {answer:?}"));
        if answer.is_ok() {
            let _ = self.step(event, &[]);
        }
    }

    fn end_one(&mut self, now: bool, purge: bool) {
        if !self.may_ask() {
            return;
        }
        if let Some(replica) = self.one_of(Machine::is_up) {
            self.tell("user", || format!("terminate replica {replica}"));
            let _ = self.step(
                &Event::TerminateReplica {
                    replica,
                    now,
                    purge,
                },
                &[],
            );
        }
    }

    pub(super) fn down(&mut self) -> bool {
        self.is_running()
            && self.catch_up().is_ok()
            && self
                .step(
                    &Event::Down {
                        now: false,
                        purge: false,
                    },
                    &[],
                )
                .is_ok()
    }

    fn one_of(&mut self, wanted: impl Fn(&Machine) -> bool) -> Option<ReplicaId> {
        let those = self.machines.iter().filter(|(_, machine)| wanted(machine));
        let ids: Vec<ReplicaId> = those.map(|(id, _)| *id).collect();
        self.random.pick(&ids)
    }

    fn strike(&mut self, fault: Fault) {
        if !self.strikes(fault) {
            return;
        }
        if fault != Fault::ControllerKilled {
            self.faults.note(fault);
        }
        self.tell("fault", || fault.to_string());
    }

    /// Brings a trouble about. Says whether there was anything to trouble.
    fn strikes(&mut self, fault: Fault) -> bool {
        let seconds = self.random.milliseconds(1000, 60_000);
        match fault {
            Fault::Crash
            | Fault::Lost
            | Fault::Vanished
            | Fault::Lies
            | Fault::Stalls
            | Fault::NetworkLost => {
                return self.strike_one(fault, seconds);
            }
            Fault::CapacityGone => {
                let fewer = usize::from(self.random.percent(30));
                self.troubles.room = Some(self.held().saturating_sub(fewer));
                self.after(seconds, Occurrence::CapacityReturns);
            }
            Fault::TerminateFails => {
                self.troubles.termination_fails = true;
                self.after(seconds, Occurrence::TerminationWorks);
            }
            Fault::LateAcknowledgements => {
                self.troubles.link_is_slow = true;
                self.after(seconds, Occurrence::LinkIsQuick);
            }
            Fault::DuplicateAcknowledgement => self.troubles.duplicates = true,
            Fault::Reconnect if self.proxy.connection.is_some() => self.reconnect(),
            Fault::ProxyCrash if !self.proxy.is_down => self.proxy_crashes(),
            Fault::StoreFails => {
                self.store.fails = true;
                let seconds = self.random.milliseconds(200, 8000);
                self.after(seconds, Occurrence::StoreWorks);
            }
            Fault::ControllerKilled if self.controller.is_some() => self.kill(fault),
            // Those that are drawn by number strike by themselves.
            Fault::Reconnect
            | Fault::ProxyCrash
            | Fault::ControllerKilled
            | Fault::KilledBeforeCommit
            | Fault::KilledAfterCommit => return false,
            _ => self.troubles.launches.push(fault),
        }
        true
    }

    fn strike_one(&mut self, fault: Fault, seconds: Span) -> bool {
        let Some(id) = self.one_of(Machine::is_up) else {
            return false;
        };
        let until = self.now + seconds;
        let at = self.now;
        self.tell("fault", || format!("replica {id}:"));
        let Some(machine) = self.machines.get_mut(&id) else {
            return false;
        };
        match fault {
            Fault::Crash => machine.phase = exit(Part::Run, 1, "boom", at),
            Fault::Lost => {
                let reason = "the machine was taken away".to_owned();
                machine.phase = Phase::Lost { reason };
            }
            Fault::Lies => machine.lies_until = until,
            Fault::Stalls => machine.stalled_until = until,
            Fault::NetworkLost => machine.unreachable_until = until,
            _ => {
                self.machines.remove(&id);
            }
        }
        if matches!(fault, Fault::Crash | Fault::Lost | Fault::Vanished) {
            self.cut(id, "its machine is gone");
        }
        self.checks.harmed(id, fault);
        true
    }

    /// From now on nothing strikes any more.
    pub(super) fn end_faults(&mut self) {
        self.tell("world", || "faults end".to_owned());
        let now = self.now;
        self.troubles = super::Troubles::default();
        self.store.fails = false;
        self.history.deaths.clear();
        self.machines
            .values_mut()
            .for_each(|machine| machine.heal(now));
        self.rest(super::Stage::Settling);
    }
}
