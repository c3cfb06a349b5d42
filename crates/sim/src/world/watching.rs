//! How the controller looks at replicas and probes them: the rules of `controller/src/observe.rs` and `probing.rs`.

use std::collections::{BTreeMap, BTreeSet};

use plan::observation::Phase;
use plan::probe::{EAGER_PROBE_INTERVAL_SECONDS, targets};
use plan::routing::{ReplicaId, Version};
use plan::{Event, Span};

use super::{Message, Occurrence, World};

/// Between two looks at a replica. (Four times as long as in production: there a look costs nothing.)
const LOOK_SECONDS: f64 = 1.0;

/// One schedule of probes.
pub(super) struct Prober {
    wrong: bool,
    interval_seconds: f64,
    serial: u64,
}

impl World {
    /// Brings what looks at replicas in line with the state.
    pub(super) fn follow(&mut self) {
        let Some(controller) = &mut self.controller else {
            return;
        };
        let (state, life) = (&controller.state, self.life);
        let live = |id: &ReplicaId| state.replicas.get(id).is_some_and(plan::Replica::is_live);
        controller.told.retain(|id, _| live(id));
        let replicas = &state.replicas;
        controller
            .launches
            .retain(|id, _| replicas.contains_key(id));
        let mut fresh = Vec::new();
        for id in replicas.keys().copied().filter(live) {
            if let std::collections::btree_map::Entry::Vacant(place) = controller.told.entry(id) {
                place.insert(None);
                fresh.push(Occurrence::Look { life, replica: id });
            }
        }
        let mut wanted: BTreeMap<(ReplicaId, Version), (bool, f64)> = BTreeMap::new();
        for target in targets(state) {
            let key = (target.replica, target.version);
            let wrong = target.probe.path == "/wrong";
            wanted.insert(key, (wrong, target.interval_seconds));
        }
        let mut rescheduled = BTreeSet::new();
        controller.probers.retain(|key, prober| {
            let same = wanted.get(key) == Some(&(prober.wrong, prober.interval_seconds));
            if same {
                wanted.remove(key);
            } else {
                rescheduled.insert(*key);
            }
            same
        });
        let mut later = Vec::new();
        for ((replica, version), (wrong, interval_seconds)) in wanted {
            controller.probes_begun += 1;
            let serial = controller.probes_begun;
            let prober = Prober {
                wrong,
                interval_seconds,
                serial,
            };
            controller.probers.insert((replica, version), prober);
            let occurrence = Occurrence::Probe {
                life,
                replica,
                version,
                serial,
            };
            // What has just been probed waits for its turn.
            match rescheduled.contains(&(replica, version)) {
                true => later.push((Span::from_seconds(interval_seconds), occurrence)),
                false => fresh.push(occurrence),
            }
        }
        for (span, occurrence) in later {
            self.after(span, occurrence);
        }
        for occurrence in fresh {
            self.after(Span(1000), occurrence);
        }
    }

    pub(super) fn look(&mut self, life: u64, replica: ReplicaId) {
        let watched = self
            .controller
            .as_ref()
            .is_some_and(|c| c.told.contains_key(&replica));
        if life != self.life || !watched {
            return;
        }
        self.after(
            Span::from_seconds(LOOK_SECONDS),
            Occurrence::Look { life, replica },
        );
        let (begun, observation) = (self.now, self.observe(replica));
        let span = self.random.milliseconds(1, 150);
        let told = self
            .controller
            .as_mut()
            .and_then(|c| c.told.get_mut(&replica));
        let Some(told) = told else { return };
        if told.as_ref() != Some(&observation) || observation.phase == Phase::Absent {
            *told = Some(observation.clone());
            self.post(
                span,
                Message::Observed {
                    replica,
                    observation,
                    begun,
                },
            );
        }
    }

    pub(super) fn probe(&mut self, life: u64, replica: ReplicaId, version: Version, serial: u64) {
        let prober = self
            .controller
            .as_ref()
            .and_then(|c| c.probers.get(&(replica, version)));
        let Some(prober) = prober.filter(|p| life == self.life && p.serial == serial) else {
            return;
        };
        let (wrong, interval) = (prober.wrong, prober.interval_seconds);
        let (failure, takes) = self.probe_outcome(replica, wrong);
        let span = Span::from_seconds(interval.max(takes.as_seconds()));
        self.after(
            span,
            Occurrence::Probe {
                life,
                replica,
                version,
                serial,
            },
        );
        let event = Event::Probed {
            replica,
            version,
            failure,
        };
        self.post(
            takes,
            Message::Event {
                event,
                settles: None,
            },
        );
    }

    /// The proxy could not reach a replica: it is probed at once, whatever its schedule says.
    pub(super) fn probe_now(&mut self, replica: ReplicaId) {
        let life = self.life;
        let Some(controller) = &mut self.controller else {
            return;
        };
        let mut due = Vec::new();
        for ((id, version), prober) in &mut controller.probers {
            // One that is eager is on its way already.
            if *id == replica && prober.interval_seconds > EAGER_PROBE_INTERVAL_SECONDS {
                controller.probes_begun += 1;
                prober.serial = controller.probes_begun;
                due.push((*version, prober.serial));
            }
        }
        for (version, serial) in due {
            self.after(
                Span(1000),
                Occurrence::Probe {
                    life,
                    replica,
                    version,
                    serial,
                },
            );
        }
    }
}
