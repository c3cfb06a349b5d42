//! Everything the planner knows of one service. What must survive a crash is serialised; what the
//! proxy tells again after a reconnect ([`Live`]) is not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use spec::ServiceSpec;

use crate::autoscale::Autoscaler;
use crate::backoff::Backoff;
use crate::replica::Replica;
use crate::rollout::{Rollout, UpdateMode, Warm};
use crate::routing::{ApiKeyHash, Generation, ReplicaId, RoutingTable, Version};
use crate::settings::UpdateSettings;
use crate::time::{Span, Timestamp};

/// Steps further apart than this leave a gap in which nobody looked.
const LONGEST_TICK_SECONDS: f64 = 60.0;

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceState {
    /// Its name.
    pub name: String,
    /// Random hex drawn when it was created; also the seed of every jitter.
    pub incarnation: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Where its endpoint listens.
    pub listen: SocketAddr,
    /// Serving, or on its way out.
    pub phase: ServicePhase,
    /// Every version that is desired, trusted, or has a replica, and the newest.
    pub versions: BTreeMap<Version, VersionState>,
    /// The version the service is being brought to. Always a key of `versions`.
    pub desired: Version,
    /// The last version that was fully rolled out: repairs use it, failures return to it.
    pub trusted: Option<Version>,
    /// The versions whose ready replicas may be given requests.
    pub traffic: BTreeSet<Version>,
    /// The version that stands by to be gone back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<Warm>,
    /// The update in progress, or the last one.
    pub rollout: Option<Rollout>,
    /// Replicas by number, those that failed included.
    pub replicas: BTreeMap<ReplicaId, Replica>,
    /// The number that the next replica gets. Only grows.
    pub next_replica_id: ReplicaId,
    /// How many replicas are wanted, and why.
    pub autoscaler: Autoscaler,
    /// The API keys that may use the endpoint. `None`: there never was one, so that the YAML alone says whether keys
    /// are asked for; an empty list lets nobody in.
    #[serde(default)]
    pub api_keys: Option<Vec<ApiKeyHash>>,
    /// The newest routing table, acknowledged or not.
    pub table: Option<RoutingTable>,
    /// Why the endpoint is not there, if the proxy refused the table.
    pub endpoint_error: Option<String>,
    /// When a replica was ready for the first time.
    pub first_ready_at: Option<Timestamp>,
    /// What the proxy last said.
    #[serde(skip)]
    pub live: Live,
    /// Since when time has been followed without a gap.
    #[serde(skip)]
    pub awake: Awake,
}

/// Serving, or on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum ServicePhase {
    /// Serving.
    Running,
    /// `sky serve down`: replicas drain, then end.
    ShuttingDown {
        /// Since when.
        since: Timestamp,
        /// Forget it even where something may be left behind.
        purge: bool,
    },
    /// All replicas are gone; the proxy is closing the endpoint.
    Withdrawing,
    /// Nothing is left; the store may forget it.
    Gone,
}

/// One version: immutable but for what was learned of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionState {
    /// Its number.
    pub version: Version,
    /// Its `service` section.
    pub spec: ServiceSpec,
    /// Content hash of everything a replica can see. Equal hashes need no new replicas.
    pub task_hash: String,
    /// Whether its replicas are asked for on spot machines.
    pub use_spot: bool,
    /// How the update that brought it was to be carried out.
    pub mode: UpdateMode,
    /// Limits of that update.
    pub settings: UpdateSettings,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Whether a replica of it was ever ready.
    pub ever_ready: bool,
    /// When it was first held to be good: fully rolled out. Failures return to such versions.
    #[serde(default)]
    pub trusted_at: Option<Timestamp>,
    /// Why no more replicas of it are launched.
    pub failure: Option<VersionFailure>,
    /// When the next replica may be launched, after failures.
    pub backoff: Backoff,
}

/// Why a version is given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionFailure {
    /// When.
    pub at: Timestamp,
    /// A sentence for the person.
    pub reason: String,
    /// The replica that showed it.
    pub replica_id: Option<ReplicaId>,
}

/// What the proxy last said. Lost with the process and learned again when the proxy answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// Newest generation that the proxy has put in force.
    pub acknowledged: Generation,
    /// Requests in flight, counted while `counted_at` was in force; absent means none.
    pub in_flight: BTreeMap<ReplicaId, u32>,
    /// Generation in force when `in_flight` was counted.
    pub counted_at: Generation,
}

/// Since when time has been followed without a gap. While the server is down or the machine sleeps
/// nobody looks at the replicas, so deadlines that condemn do not run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Awake {
    /// The first step after the last gap.
    pub since: Option<Timestamp>,
    /// The last step.
    pub last: Option<Timestamp>,
}

/// What was watched is no part of what a service is: it is not stored, and makes no two differ.
impl PartialEq for Awake {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Awake {
    /// Whether it has lasted for `seconds` at `now`.
    #[must_use]
    pub fn for_seconds(self, seconds: f64, now: Timestamp) -> bool {
        self.since
            .is_some_and(|since| (now - since).as_seconds() >= seconds)
    }

    /// Notes a step.
    pub(crate) fn note(&mut self, now: Timestamp) {
        let gap = Span::from_seconds(LONGEST_TICK_SECONDS);
        if self.last.is_none_or(|last| now - last > gap) {
            self.since = Some(now);
        }
        self.last = Some(now);
    }
}

impl ServiceState {
    /// A new service with its first version.
    #[must_use]
    pub fn new(
        name: String,
        incarnation: String,
        listen: SocketAddr,
        first: VersionState,
        now: Timestamp,
    ) -> Self {
        let desired = first.version;
        let autoscaler = Autoscaler::new(&first.spec.replica_policy, now);
        Self {
            name,
            incarnation,
            created_at: now,
            listen,
            phase: ServicePhase::Running,
            versions: BTreeMap::from([(desired, first)]),
            desired,
            trusted: None,
            traffic: BTreeSet::from([desired]),
            warm: None,
            rollout: None,
            replicas: BTreeMap::new(),
            next_replica_id: 1,
            autoscaler,
            api_keys: None,
            table: None,
            endpoint_error: None,
            first_ready_at: None,
            live: Live::default(),
            awake: Awake::default(),
        }
    }

    /// The newest accepted version.
    #[must_use]
    pub fn newest(&self) -> Version {
        self.versions
            .keys()
            .next_back()
            .copied()
            .unwrap_or(self.desired)
    }

    /// The rollout, if it is still going on.
    #[must_use]
    pub fn rollout_in_progress(&self) -> Option<&Rollout> {
        self.rollout
            .as_ref()
            .filter(|rollout| rollout.is_in_progress())
    }

    /// Seconds that a replica of a version must be ready without a break to count as available now.
    #[must_use]
    pub fn min_healthy_seconds(&self, version: Version) -> f64 {
        let hurried = self
            .rollout_in_progress()
            .is_some_and(|rollout| rollout.version == version && rollout.hurried);
        match self.versions.get(&version) {
            Some(known) if !hurried => known.settings.min_healthy_seconds,
            _ => 0.0,
        }
    }

    /// Whether a replica is available now: ready without a break for as long as its version asks for.
    #[must_use]
    pub fn is_available(&self, replica: &Replica, now: Timestamp) -> bool {
        replica.is_available(now, self.min_healthy_seconds(replica.version))
    }

    /// Whether nothing of the update may change: it is paused, or has failed and is to stay as it is. The trusted
    /// version is looked after meanwhile.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| {
            let paused = rollout.is_in_progress() && rollout.paused_at.is_some();
            paused || (rollout.has_stopped() && rollout.version == self.desired)
        })
    }

    /// Replicas wanted now: the autoscaler's target plus the over-provision of the desired version.
    #[must_use]
    pub fn target(&self) -> u32 {
        let extra = self
            .versions
            .get(&self.desired)
            .and_then(|version| version.spec.replica_policy.num_overprovision)
            .unwrap_or(0);
        self.autoscaler.target.saturating_add(extra)
    }

    /// The generation of the newest routing table; 0 when there is none yet.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.table.as_ref().map_or(0, |table| table.generation)
    }

    /// The versions that receive traffic now (the VERSION column), ascending.
    #[must_use]
    pub fn active_versions(&self) -> Vec<Version> {
        let upstreams = self.table.iter().flat_map(|table| &table.upstreams);
        let versions: BTreeSet<Version> = upstreams.map(|upstream| upstream.version).collect();
        versions.into_iter().collect()
    }

    /// What is known of a version.
    #[must_use]
    pub fn version(&self, version: Version) -> Option<&VersionState> {
        self.versions.get(&version)
    }
}
