//! What the tests of the store commit.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;

use plan::rollout::UpdateMode;
use plan::settings::UpdateSettings;
use plan::{Action, Happening, ServiceState, Timestamp, VersionState};
use spec::{
    Choice, LoadBalancer, LoadBalancingPolicy, ReadinessProbe, ReplicaPolicy, ResourceCandidate,
    Resources, Secret, ServiceSpec, Task,
};
use store::{Commit, FileSource, VersionFiles, VersionRecord};

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

pub(crate) fn service_spec() -> ServiceSpec {
    ServiceSpec {
        readiness_probe: ReadinessProbe::default(),
        replica_policy: ReplicaPolicy::fixed(2),
        load_balancing_policy: LoadBalancingPolicy::LeastLoad,
        load_balancer: LoadBalancer::default(),
        port: 8081,
        tls: None,
        auth: spec::Auth::None,
        update: spec::Update::default(),
    }
}

/// What the planner knows of a version.
pub(crate) fn version_state(number: u32) -> VersionState {
    let spec = service_spec();
    VersionState {
        version: number,
        settings: UpdateSettings::of(&spec),
        spec,
        task_hash: format!("hash-{number}"),
        use_spot: false,
        mode: UpdateMode::Rolling,
        accepted_at: NOW,
        ever_ready: false,
        trusted_at: None,
        failure: None,
        backoff: plan::backoff::Backoff::default(),
    }
}

pub(crate) fn state(name: &str) -> ServiceState {
    let first = version_state(1);
    let listen = "127.0.0.1:30001".parse().unwrap();
    ServiceState::new(
        name.to_owned(),
        "0123456789abcdef".to_owned(),
        listen,
        first,
        NOW,
    )
}

/// What is stored of a version.
pub(crate) fn version(number: u32) -> VersionRecord {
    VersionRecord {
        version: number,
        task: Task {
            name: None,
            workdir: None,
            num_nodes: 1,
            resources: Resources {
                choice: Choice::Single,
                candidates: vec![ResourceCandidate::default()],
            },
            file_mounts: Vec::new(),
            envs: BTreeMap::new(),
            secrets: BTreeMap::from([("TOKEN".to_owned(), Secret::new("hunter2"))]),
            setup: None,
            run: Some("python3 server.py".to_owned()),
            service: Some(service_spec()),
            other: serde_json::Map::new(),
        },
        yaml: "run: python3 server.py\n".to_owned(),
        files: VersionFiles {
            workdir: Some(FileSource {
                digest: format!("digest-{number}"),
            }),
            mounts: Vec::new(),
        },
    }
}

pub(crate) fn commit<'a>(
    state: &'a ServiceState,
    version: Option<&'a VersionRecord>,
    owed: &'a [Action],
    settled: &'a [String],
    happenings: &'a [Happening],
) -> Commit<'a> {
    Commit {
        state,
        at: NOW,
        version,
        requested_by: None,
        keys: None,
        owed,
        settled,
        happenings,
    }
}
