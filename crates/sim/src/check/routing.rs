//! What the routing tables may say.

use std::collections::{BTreeMap, BTreeSet};

use plan::routing::{ReplicaId, RoutingTable, Version};
use plan::status::ReplicaStatus;
use plan::{Event, Timestamp};

use super::{Checks, Taken};

impl Checks {
    pub(super) fn routed(&mut self, taken: Taken<'_>, table: &RoutingTable, now: Timestamp) {
        if table.generation <= self.generation {
            let message = format!("table {} follows on {}", table.generation, self.generation);
            self.violated("numbers", message);
        }
        self.generation = table.generation;
        let named: BTreeMap<ReplicaId, Version> = table
            .upstreams
            .iter()
            .map(|u| (u.replica_id, u.version))
            .collect();
        let before = std::mem::replace(&mut self.named, named.clone());
        for id in named.keys() {
            let replica = taken.step.state.replicas.get(id);
            let serves =
                replica.is_some_and(|r| r.status == ReplicaStatus::Ready && r.ending.is_none());
            if !serves {
                self.violated(
                    "routing",
                    format!("replica {id} is in the table and not READY"),
                );
            }
            if let Some(book) = self.books.get_mut(id) {
                book.left_at = None;
            }
        }
        for id in before.keys().filter(|id| !named.contains_key(id)) {
            if let Some(book) = self.books.get_mut(id) {
                book.left_at = Some(now);
                book.left_drain_seconds = book.drain_seconds;
            }
        }
        self.mixes(&named);
        self.undone_is_served(&named);
        self.unverified_is_served(&named);
        self.taken_out(taken, &before, &named);
    }

    /// Where all updates are blue-green, no table has two contents.
    fn mixes(&mut self, named: &BTreeMap<ReplicaId, Version>) {
        let contents = named.values().filter_map(|version| self.known.get(version));
        let contents: BTreeSet<&str> = contents.map(|known| known.content.as_str()).collect();
        if self.whole && contents.len() > 1 {
            let message = format!("table {} mixes {contents:?}", self.generation);
            self.violated("blue_green", message);
        }
    }

    fn undone_is_served(&mut self, named: &BTreeMap<ReplicaId, Version>) {
        let again = named.iter().find(|(id, version)| {
            let served = self.undone.get(version);
            served.is_some_and(|served| !served.contains(id))
        });
        if let Some((id, version)) = again {
            let message =
                format!("version {version} was given up; replica {id} of it gets traffic");
            self.violated("undone", message);
        }
    }

    fn unverified_is_served(&mut self, named: &BTreeMap<ReplicaId, Version>) {
        let refused = |version: &Version| self.known.get(version).is_some_and(|k| k.is_refused);
        let found = named.iter().find(|(id, version)| {
            let launched = self.books.get(id).map(|book| book.launched_version);
            refused(version) && launched == Some(**version)
        });
        if let Some((id, version)) = found {
            let message = format!("replica {id} of version {version} was refused and gets traffic");
            self.violated("verify", message);
        }
    }

    /// A replica that serves may be taken out of traffic only where enough are left.
    fn taken_out(
        &mut self,
        taken: Taken<'_>,
        before: &BTreeMap<ReplicaId, Version>,
        named: &BTreeMap<ReplicaId, Version>,
    ) {
        let state = &taken.step.state;
        if !Self::is_serving(state) {
            return;
        }
        let out = before.keys().filter(|id| !named.contains_key(id));
        let serving: Vec<ReplicaId> = out
            .copied()
            .filter(|id| {
                let book = self.books.get(id);
                book.is_some_and(|b| b.is_healthy && !b.ended_by_user && !b.is_gone)
            })
            .collect();
        let Some(first) = serving.first() else {
            return;
        };
        let (left, floor) = (
            u32::try_from(named.len()).unwrap_or(u32::MAX),
            self.floor(state),
        );
        if left < floor {
            let message = format!(
                "replica {first} serves and is taken out of traffic, which leaves {left} of at least {floor}"
            );
            self.violated("capacity_floor", message);
        }
        self.paused_replacement(taken, *first);
    }

    /// Going back to what stands by is one table, in the same step.
    pub(super) fn undone_at_once(&mut self, event: &Event, taken: Taken<'_>) {
        let (before, state) = (taken.before, &taken.step.state);
        let Some(warm) = before
            .warm
            .filter(|_| matches!(event, Event::Rollback { .. }))
        else {
            return;
        };
        let is_back = state.desired == warm.version && before.desired != warm.version;
        let ready = |replica: &&plan::Replica| {
            replica.version == warm.version
                && replica.status == ReplicaStatus::Ready
                && replica.ending.is_none()
        };
        let ready = before.replicas.values().filter(ready).count();
        if !is_back || ready < state.target() as usize || state.target() == 0 {
            return;
        }
        if self.named.values().any(|version| *version != warm.version) || self.named.is_empty() {
            let message = format!(
                "version {} stands by, and traffic does not move at once",
                warm.version
            );
            self.violated("undone", message);
        }
    }
}
