//! A world that outlives controllers: a provider and a proxy that remember, a store that can be killed.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use controller::{Controller, NewVersion, ProxyLink, Snapshots};
use plan::observation::{Observation, Phase};
use plan::rollout::UpdateMode;
use plan::routing::{ProxyCommand, ProxyReport, RoutingTable};
use plan::settings::UpdateSettings;
use provider::{LaunchRequest, Provider, ProviderError, ReplicaKey};
use spec::{
    Choice, LoadBalancer, LoadBalancingPolicy, ReadinessProbe, ReplicaPolicy, ResourceCandidate,
    Resources, ServiceSpec, Task,
};
use store::{Commit, SqliteStore, Store, StoreError, StoredEvent, StoredService, VersionRecord};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};

/// What the machines know, whatever becomes of controllers.
#[derive(Default)]
pub(crate) struct Machines {
    /// Replicas that are there, with the phase they show.
    pub(crate) held: BTreeMap<ReplicaKey, Phase>,
    /// How often a replica really came into being.
    pub(crate) started: BTreeMap<ReplicaKey, u32>,
    /// Replicas restarted in place, with what they ran from then on.
    pub(crate) restarted: Vec<(ReplicaKey, String)>,
    /// Every replica that was ended while a table in force still named it.
    pub(crate) ended_while_routed: Vec<ReplicaKey>,
}

pub(crate) struct World {
    pub(crate) machines: Arc<Mutex<Machines>>,
    pub(crate) tables: Arc<Mutex<BTreeMap<String, RoutingTable>>>,
    pub(crate) app: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    /// Starts the app that every replica pretends to be, and the proxy.
    pub(crate) async fn new() -> Self {
        let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = app.local_addr().unwrap();
        tokio::spawn(answer_200(app));
        let folder = tempfile::tempdir().unwrap();
        let tables = Arc::new(Mutex::new(BTreeMap::new()));
        let socket = UnixListener::bind(folder.path().join("proxy.sock")).unwrap();
        tokio::spawn(fake_proxy(socket, Arc::clone(&tables)));
        Self {
            machines: Arc::default(),
            tables,
            app: address,
            folder,
        }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("state.db")
    }

    pub(crate) fn machines(&self) -> MutexGuard<'_, Machines> {
        self.machines.lock().unwrap()
    }

    /// A controller on what the store holds now.
    pub(crate) async fn controller(&self, store: Arc<dyn Store>) -> Controller {
        let provider = FakeProvider {
            machines: Arc::clone(&self.machines),
            tables: Arc::clone(&self.tables),
            app: self.app,
        };
        let socket = self.folder.path().join("proxy.sock");
        let link = ProxyLink::new(socket, Box::new(|| Ok(())));
        let snapshots = Arc::new(Snapshots::new(self.folder.path()));
        Controller::start(store, Arc::new(provider), link, snapshots)
            .await
            .unwrap()
    }
}

async fn answer_200(listener: TcpListener) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(async move {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
                .await;
        });
    }
}

async fn fake_proxy(listener: UnixListener, tables: Arc<Mutex<BTreeMap<String, RoutingTable>>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let tables = Arc::clone(&tables);
        tokio::spawn(async move {
            let (reader, mut writer) = stream.into_split();
            let known = tables
                .lock()
                .unwrap()
                .values()
                .map(|t| (t.service.clone(), t.generation))
                .collect();
            let mut say = vec![ProxyReport::Hello {
                pid: 1,
                tables: known,
            }];
            let mut lines = BufReader::new(reader).lines();
            loop {
                for report in say.drain(..) {
                    let line = serde_json::to_string(&report).unwrap() + "\n";
                    if writer.write_all(line.as_bytes()).await.is_err() {
                        return;
                    }
                }
                let Ok(Some(line)) = lines.next_line().await else {
                    return;
                };
                let mut tables = tables.lock().unwrap();
                match serde_json::from_str(&line).unwrap() {
                    ProxyCommand::Apply { table } => {
                        let (service, newer) = (table.service.clone(), table.generation);
                        let current = tables
                            .entry(service.clone())
                            .or_insert_with(|| table.clone());
                        if current.generation < newer {
                            *current = table;
                        }
                        say.push(ProxyReport::Acknowledged {
                            service,
                            generation: current.generation,
                            in_flight: Vec::new(),
                        });
                    }
                    ProxyCommand::ProbeSucceeded { .. } => {}
                    ProxyCommand::Withdraw { service } => {
                        tables.remove(&service);
                        say.push(ProxyReport::Withdrawn { service });
                    }
                }
            }
        });
    }
}

pub(crate) struct FakeProvider {
    machines: Arc<Mutex<Machines>>,
    tables: Arc<Mutex<BTreeMap<String, RoutingTable>>>,
    app: SocketAddr,
}

impl FakeProvider {
    /// Whether a table in force names the replica.
    fn is_routed(&self, key: &ReplicaKey) -> bool {
        let tables = self.tables.lock().unwrap();
        tables.get(&key.service).is_some_and(|table| {
            let mut upstreams = table.upstreams.iter();
            upstreams.any(|upstream| upstream.replica_id == key.replica_id)
        })
    }
}

#[async_trait]
impl Provider for FakeProvider {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<(), ProviderError> {
        let mut machines = self.machines.lock().unwrap();
        let key = request.key.clone();
        if !machines.held.contains_key(&key) {
            *machines.started.entry(key.clone()).or_default() += 1;
            machines.held.insert(
                key,
                Phase::Running {
                    since: controller::now(),
                },
            );
        }
        Ok(())
    }

    async fn observe(&self, key: &ReplicaKey) -> Result<Observation, ProviderError> {
        let phase = self.machines.lock().unwrap().held.get(key).cloned();
        if phase.is_none() {
            // A slow look: by the time it is told, a launch may have overtaken it.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Observation {
            phase: phase.unwrap_or(Phase::Absent),
            endpoint: Some(self.app),
            infra: Some("Fake".to_owned()),
            resources: None,
            resources_full: None,
        })
    }

    async fn restart(
        &self,
        request: &LaunchRequest,
        _grace_seconds: f64,
    ) -> Result<(), ProviderError> {
        let routed = self.is_routed(&request.key);
        let mut machines = self.machines.lock().unwrap();
        let since = controller::now();
        machines
            .held
            .insert(request.key.clone(), Phase::Running { since });
        let run = request.run.clone().unwrap_or_default();
        machines.restarted.push((request.key.clone(), run));
        if routed {
            machines.ended_while_routed.push(request.key.clone());
        }
        Ok(())
    }

    async fn terminate(&self, key: &ReplicaKey, _grace_seconds: f64) -> Result<(), ProviderError> {
        let routed = self.is_routed(key);
        let mut machines = self.machines.lock().unwrap();
        if machines.held.remove(key).is_some() && routed {
            machines.ended_while_routed.push(key.clone());
        }
        Ok(())
    }

    fn log_path(&self, _key: &ReplicaKey) -> Option<PathBuf> {
        None
    }

    async fn list(&self) -> Result<Vec<ReplicaKey>, ProviderError> {
        Ok(self.machines.lock().unwrap().held.keys().cloned().collect())
    }
}

/// When a [`MortalStore`] dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// Just before the commit of this number takes effect.
    Before(u32),
    /// Just after; nobody learns that it has.
    After(u32),
    /// Nothing can be written from this commit on, until so many have been refused; then it can again.
    DiskFull {
        /// First commit refused.
        from: u32,
        /// How many are refused.
        refused: u32,
    },
    /// Not at all.
    Never,
}

/// A store whose process is killed at a chosen commit: from then on nothing is written any more.
pub(crate) struct MortalStore {
    store: SqliteStore,
    death: Death,
    commits: Mutex<u32>,
}

impl MortalStore {
    pub(crate) fn open(path: &Path, death: Death) -> Arc<Self> {
        let store = SqliteStore::open(path).unwrap();
        Arc::new(Self {
            store,
            death,
            commits: Mutex::new(0),
        })
    }

    pub(crate) fn is_dead(&self) -> bool {
        let commits = *self.commits.lock().unwrap();
        match self.death {
            Death::Before(last) | Death::After(last) => commits >= last,
            Death::DiskFull { .. } | Death::Never => false,
        }
    }

    pub(crate) fn commits(&self) -> u32 {
        *self.commits.lock().unwrap()
    }

    fn mortal(
        &self,
        write: impl FnOnce(&SqliteStore) -> Result<u64, StoreError>,
    ) -> Result<u64, StoreError> {
        let mut commits = self.commits.lock().unwrap();
        *commits += 1;
        let killed = || StoreError::File {
            path: "killed".to_owned(),
            error: std::io::Error::other("the process is dead"),
        };
        match self.death {
            Death::Before(last) if *commits >= last => Err(killed()),
            Death::After(last) if *commits > last => Err(killed()),
            Death::After(last) if *commits == last => {
                write(&self.store)?;
                Err(killed())
            }
            Death::DiskFull { from, refused } if (from..from + refused).contains(&commits) => {
                Err(killed())
            }
            _ => write(&self.store),
        }
    }
}

impl Store for MortalStore {
    fn create(&self, commit: Commit<'_>) -> Result<u64, StoreError> {
        self.mortal(|store| store.create(commit))
    }
    fn commit(&self, commit: Commit<'_>) -> Result<u64, StoreError> {
        self.mortal(|store| store.commit(commit))
    }
    fn load(&self) -> Result<Vec<StoredService>, StoreError> {
        self.store.load()
    }
    fn version(&self, service: &str, version: u32) -> Result<Option<VersionRecord>, StoreError> {
        self.store.version(service, version)
    }
    fn snapshots_in_use(&self) -> Result<Vec<String>, StoreError> {
        self.store.snapshots_in_use()
    }
    fn keys(&self, service: &str) -> Result<Vec<store::KeyRecord>, StoreError> {
        self.store.keys(service)
    }
    fn history(&self, service: &str) -> Result<Vec<store::HistoryRecord>, StoreError> {
        self.store.history(service)
    }
    fn forget_version(&self, service: &str, version: u32) -> Result<(), StoreError> {
        self.mortal(|store| store.forget_version(service, version).map(|()| 0))
            .map(|_| ())
    }
    fn forget(&self, service: &str) -> Result<(), StoreError> {
        self.mortal(|store| store.forget(service).map(|()| 0))
            .map(|_| ())
    }
    fn events(
        &self,
        service: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.store.events(service, after, limit)
    }
}

/// A version whose replicas differ by `content`.
pub(crate) fn version(content: &str, replicas: u32, mode: UpdateMode) -> NewVersion {
    let service = ServiceSpec {
        readiness_probe: ReadinessProbe::default(),
        replica_policy: ReplicaPolicy::fixed(replicas),
        load_balancing_policy: LoadBalancingPolicy::LeastLoad,
        load_balancer: LoadBalancer::default(),
        port: 8081,
        tls: None,
        auth: spec::Auth::None,
        update: spec::Update::default(),
    };
    let task = Task {
        name: None,
        workdir: None,
        num_nodes: 1,
        resources: Resources {
            choice: Choice::Single,
            candidates: vec![ResourceCandidate::default()],
        },
        file_mounts: Vec::new(),
        envs: BTreeMap::new(),
        secrets: BTreeMap::new(),
        setup: None,
        run: Some(content.to_owned()),
        service: Some(service.clone()),
        other: serde_json::Map::new(),
    };
    let mut settings = UpdateSettings::of(&service);
    settings.min_healthy_seconds = 0.0;
    NewVersion {
        task,
        service,
        yaml: String::new(),
        files: store::VersionFiles::default(),
        task_hash: content.to_owned(),
        use_spot: false,
        requested_by: None,
        mode,
        settings,
    }
}
