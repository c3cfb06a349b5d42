//! The proxy and its users: tables in force, requests in flight, and the connection to the controller. On one connection
//! nothing overtakes; what is under way when it breaks is lost.

use std::collections::BTreeMap;

use plan::routing::{Arrivals, ProxyCommand, ProxyReport, ReplicaId, RoutingTable};
use plan::{Span, Timestamp};

use super::{Occurrence, World};
use crate::history::Temper;
use crate::machine::Answer;

#[derive(Default)]
pub(crate) struct Proxy {
    /// In force, also across a crash: it is on disk before it is acknowledged.
    pub(crate) table: Option<RoutingTable>,
    pub(crate) is_down: bool,
    /// Number of the present connection, if there is one.
    pub(crate) connection: Option<u64>,
    connections: u64,
    /// When the last message of each direction arrives.
    down_until: Timestamp,
    up_until: Timestamp,
    requests: BTreeMap<u64, ReplicaId>,
    asked: u64,
    arrivals: u32,
    /// The counts told last.
    told: Vec<(ReplicaId, u32)>,
    pub(crate) lost: u64,
    pub(crate) served: u64,
}

impl World {
    /// Connects the controller that lives.
    pub(super) fn connect(&mut self, life: u64) {
        if life != self.life || self.controller.is_none() {
            return;
        }
        if self.proxy.is_down {
            return self.after(Span::from_seconds(0.2), Occurrence::Connect { life });
        }
        self.proxy.connections += 1;
        self.proxy.connection = Some(self.proxy.connections);
        self.tell("proxy", || "connected".to_owned());
        let tables = self.proxy.table.iter();
        let tables = tables.map(|t| (t.service.clone(), t.generation)).collect();
        self.report(ProxyReport::Hello { pid: 1, tables });
    }

    pub(super) fn disconnect(&mut self) {
        self.proxy.connection = None;
    }

    fn link_time(&mut self) -> Span {
        let most = self.history.link_milliseconds;
        // A proxy that says nothing for longer than a drain is not waited for; a gentle one is quicker.
        let slowest = match self.history.temper {
            Temper::Gentle => 4000,
            _ => 15_000,
        };
        match self.troubles.link_is_slow {
            true => self.random.milliseconds(1000, slowest),
            false => self.random.milliseconds(1, most.max(1)),
        }
    }

    /// From the controller.
    pub(super) fn command(&mut self, command: ProxyCommand) {
        let Some(connection) = self.proxy.connection else {
            return;
        };
        let at = (self.now + self.link_time()).max(self.proxy.down_until);
        self.proxy.down_until = at;
        let command = Box::new(command);
        if std::mem::take(&mut self.troubles.duplicates) {
            let command = command.clone();
            self.queue.push(
                at,
                Occurrence::Command {
                    connection,
                    command,
                },
            );
        }
        self.queue.push(
            at,
            Occurrence::Command {
                connection,
                command,
            },
        );
    }

    /// To the controller.
    fn report(&mut self, report: ProxyReport) {
        let Some(connection) = self.proxy.connection else {
            return;
        };
        let at = (self.now + self.link_time()).max(self.proxy.up_until);
        self.proxy.up_until = at;
        let report = Box::new(report);
        self.queue
            .push(at, Occurrence::Report { connection, report });
    }

    pub(super) fn commanded(&mut self, connection: u64, command: ProxyCommand) {
        if self.proxy.connection != Some(connection) {
            return;
        }
        match command {
            ProxyCommand::Apply { table } => self.apply(table),
            ProxyCommand::Withdraw { service } => {
                self.proxy.table = None;
                self.tell("proxy", || "the endpoint is closed".to_owned());
                self.report(ProxyReport::Withdrawn { service });
            }
            ProxyCommand::ProbeSucceeded { .. }
            | ProxyCommand::ReplaceWorker { .. }
            | ProxyCommand::RenewHolder { .. } => {}
        }
    }

    fn apply(&mut self, table: RoutingTable) {
        let newer = self
            .proxy
            .table
            .as_ref()
            .is_none_or(|old| old.generation < table.generation);
        if newer {
            self.tell("proxy", || {
                let mut names = String::new();
                for upstream in &table.upstreams {
                    names += &format!(" {}(v{})", upstream.replica_id, upstream.version);
                }
                format!("table {} is in force:{names}", table.generation)
            });
            self.proxy.table = Some(table);
        }
        let Some(current) = &self.proxy.table else {
            return;
        };
        let (service, generation) = (current.service.clone(), current.generation);
        let in_flight = self.in_flight();
        self.report(ProxyReport::Acknowledged {
            service,
            generation,
            in_flight,
        });
    }

    fn in_flight(&self) -> Vec<(ReplicaId, u32)> {
        let mut counts: BTreeMap<ReplicaId, u32> = BTreeMap::new();
        for replica in self.proxy.requests.values() {
            *counts.entry(*replica).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    pub(super) fn busy(&self, replica: ReplicaId) -> u32 {
        let there = self.proxy.requests.values().filter(|id| **id == replica);
        u32::try_from(there.count()).unwrap_or(u32::MAX)
    }

    pub(super) fn table_names(&self, replica: ReplicaId) -> bool {
        let table = self.proxy.table.as_ref().filter(|_| !self.proxy.is_down);
        table.is_some_and(|table| table.upstreams.iter().any(|u| u.replica_id == replica))
    }

    /// What was counted goes out, if there is news.
    pub(super) fn count(&mut self) {
        self.after(Span::from_seconds(1.0), Occurrence::Count);
        self.tell_counts();
    }

    fn tell_counts(&mut self) {
        let in_flight = self.in_flight();
        let nothing = self.proxy.arrivals == 0 && in_flight == self.proxy.told;
        let Some(table) = self
            .proxy
            .table
            .as_ref()
            .filter(|_| !nothing && !self.proxy.is_down)
        else {
            return;
        };
        let (service, generation) = (table.service.clone(), table.generation);
        let count = std::mem::take(&mut self.proxy.arrivals);
        let arrivals = (count > 0).then_some(Arrivals {
            at: self.now,
            count,
        });
        self.proxy.told.clone_from(&in_flight);
        let arrivals = arrivals.into_iter().collect();
        self.report(ProxyReport::Traffic {
            service,
            generation,
            in_flight,
            arrivals,
        });
    }

    /// A user's request.
    pub(super) fn arrive(&mut self) {
        let per_minute = self.history.requests_per_minute;
        if per_minute == 0 || !self.stage.has_users() {
            return;
        }
        let mean = 60_000 / per_minute;
        let next = self.random.milliseconds(1, 2 * mean);
        self.after(next, Occurrence::Arrive);
        if self.proxy.is_down {
            return;
        }
        let Some(table) = &self.proxy.table else {
            return;
        };
        self.proxy.arrivals += 1;
        let upstreams: Vec<ReplicaId> = self.candidates(table);
        let Some(replica) = self.random.pick(&upstreams) else {
            return self.fail("no replica serves");
        };
        self.advance(replica);
        let answer = self
            .machines
            .get(&replica)
            .map(|machine| machine.answer(self.now));
        match answer {
            Some(Answer::Refused) | None => self.refused(replica),
            Some(Answer::Good | Answer::Silent) => {
                self.proxy.asked += 1;
                let request = self.proxy.asked;
                self.proxy.requests.insert(request, replica);
                let longest = if self.random.percent(10) {
                    25_000
                } else {
                    2000
                };
                let takes = self.random.milliseconds(20, longest);
                self.after(takes, Occurrence::Finish { request });
            }
        }
    }

    /// The upstreams of one side of a split, or all.
    fn candidates(&self, table: &RoutingTable) -> Vec<ReplicaId> {
        let all = || table.upstreams.iter();
        let Some(split) = &table.split else {
            return all().map(|u| u.replica_id).collect();
        };
        // Enough of a share for what is checked here; weights are measured at the real proxy.
        let share = f64::from(u32::try_from(self.proxy.asked % 100).unwrap_or(0));
        let to_new = share < split.weight_percent;
        let side = all().filter(|u| (u.version == split.version) == to_new);
        let side: Vec<ReplicaId> = side.map(|u| u.replica_id).collect();
        match side.is_empty() {
            true => all().map(|u| u.replica_id).collect(),
            false => side,
        }
    }

    fn refused(&mut self, replica: ReplicaId) {
        let Some(table) = &self.proxy.table else {
            return;
        };
        let service = table.service.clone();
        let error = "connection refused".to_owned();
        self.report(ProxyReport::UpstreamFailed {
            service,
            replica_id: replica,
            error,
        });
        // The real proxy tries another replica; a request is lost only where none answers.
        if self.serving() == 0 {
            self.fail("no replica of the table answers");
        }
    }

    fn fail(&mut self, why: &str) {
        self.proxy.lost += 1;
        if self.history.temper == Temper::Gentle {
            self.checks.request_lost(why, self.now);
        }
    }

    pub(super) fn finish(&mut self, request: u64) {
        let Some(replica) = self.proxy.requests.get(&request).copied() else {
            return;
        };
        let machine = self.machines.get(&replica);
        if machine.is_some_and(|machine| machine.answer(self.now) == Answer::Silent) {
            return self.after(Span::from_seconds(3.0), Occurrence::Finish { request });
        }
        self.proxy.requests.remove(&request);
        self.proxy.served += 1;
        if self.busy(replica) == 0 && !self.table_names(replica) {
            self.tell_counts();
        }
    }

    /// Every request on a replica ends with its processes.
    pub(super) fn cut(&mut self, replica: ReplicaId, why: &str) {
        let before = self.proxy.requests.len();
        self.proxy.requests.retain(|_, on| *on != replica);
        let cut = before - self.proxy.requests.len();
        if cut > 0 {
            self.tell("proxy", || {
                format!("replica {replica}: {cut} requests are cut, {why}")
            });
        }
    }

    pub(super) fn proxy_crashes(&mut self) {
        self.proxy.is_down = true;
        self.proxy.requests.clear();
        self.proxy.arrivals = 0;
        self.disconnect();
        let span = self.random.milliseconds(100, 3000);
        self.after(span, Occurrence::ProxyStarts);
        self.reconnect();
    }

    pub(super) fn reconnect(&mut self) {
        self.disconnect();
        let life = self.life;
        let span = self.random.milliseconds(50, 2000);
        self.after(span, Occurrence::Connect { life });
    }

    pub(super) fn proxy_starts(&mut self) {
        self.proxy.is_down = false;
    }
}
