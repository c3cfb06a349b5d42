//! A home with a provider for one case. When it goes, also by a panic, everything in it is ended; a
//! case that otherwise passed fails if something of it is left.

use std::ffi::OsString;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use agent::{NetworkChoice, ReplicaDir};
use plan::observation::{Exit, Observation, Phase};
use provider::contract::get;
use provider::{LaunchRequest, Provider, ReplicaKey};
use provider_local::{LocalProvider, Machine, Options};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two looks where there is nothing to wait for.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// How replicas are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything of their own.
    Isolated,
    /// The machine's network.
    Shared,
    /// The machine's network and no namespaces, as without root.
    WithoutNamespaces,
}

impl Mode {
    /// All that this machine can do; says so about the others.
    pub(crate) fn possible() -> Vec<Self> {
        [Self::Isolated, Self::Shared, Self::WithoutNamespaces]
            .into_iter()
            .filter(|mode| mode.is_possible())
            .collect()
    }

    /// Whether this machine can do it; says so if not.
    pub(crate) fn is_possible(self) -> bool {
        let possible = self == Self::WithoutNamespaces || Options::detect().unwrap().namespaces;
        if !possible {
            println!("skipped: {self:?} replicas need root");
        }
        possible
    }

    fn options(self) -> Options {
        Options {
            network: if self == Self::Isolated {
                NetworkChoice::Isolated
            } else {
                NetworkChoice::Shared
            },
            namespaces: self != Self::WithoutNamespaces,
            machine: Machine {
                gpus: Vec::new(),
                ..Machine::detect()
            },
        }
    }
}

pub(crate) struct Bench {
    pub(crate) home: tempfile::TempDir,
    pub(crate) provider: LocalProvider,
    incarnation: String,
    next_id: AtomicU32,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    pub(crate) fn new(mode: Mode) -> Self {
        Self::with(mode, |_| {})
    }

    pub(crate) fn with(mode: Mode, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = mode.options();
        change(&mut options);
        let home = tempfile::Builder::new()
            .prefix("skyserve-test-")
            .tempdir()
            .unwrap();
        let provider =
            LocalProvider::with_options(home.path().into(), agent_command(), options).unwrap();
        Self {
            incarnation: incarnation(home.path()),
            home,
            provider,
            next_id: AtomicU32::new(1),
            runtime: tokio::runtime::Runtime::new().unwrap(),
        }
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// A request with a key of its own.
    pub(crate) fn request(&self, run: &str) -> LaunchRequest {
        let replica_id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let key = ReplicaKey {
            service: "test-web".to_owned(),
            incarnation: self.incarnation.clone(),
            replica_id,
        };
        request(key, run)
    }

    pub(crate) fn launch(&self, request: &LaunchRequest) {
        self.block_on(self.provider.launch(request)).unwrap();
    }

    pub(crate) fn terminate(&self, request: &LaunchRequest) {
        self.block_on(self.provider.terminate(&request.key, 5.0))
            .unwrap();
    }

    pub(crate) fn observe(&self, request: &LaunchRequest) -> Observation {
        self.block_on(self.provider.observe(&request.key)).unwrap()
    }

    pub(crate) fn dir(&self, request: &LaunchRequest) -> ReplicaDir {
        let key = &request.key;
        let service = format!("{}-{}", key.service, key.incarnation);
        let replicas = self.home.path().join("replicas");
        ReplicaDir::new(replicas.join(service).join(key.replica_id.to_string()))
    }

    pub(crate) fn log(&self, request: &LaunchRequest) -> String {
        let path = self.provider.log_path(&request.key);
        path.and_then(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default()
    }

    /// Waits until the log holds `text`.
    pub(crate) fn logged(&self, request: &LaunchRequest, text: &str) {
        until(&format!("{text:?} in the log"), || {
            self.log(request).contains(text)
        });
    }

    /// Waits until the replica has failed.
    pub(crate) fn exited(&self, request: &LaunchRequest) -> Exit {
        let mut exit = None;
        until("a failure", || {
            if let Phase::Exited(found) = self.observe(request).phase {
                exit = Some(found);
            }
            exit.is_some()
        });
        exit.unwrap()
    }

    /// Waits until the replica answers with `expected`; returns where.
    pub(crate) fn answers(&self, request: &LaunchRequest, expected: &str) -> SocketAddr {
        let mut endpoint = None;
        until(&format!("the answer {expected:?}"), || {
            endpoint = self.observe(request).endpoint;
            endpoint.is_some_and(|endpoint| {
                self.block_on(get(endpoint))
                    .is_ok_and(|answer| answer.ends_with(expected))
            })
        });
        endpoint.unwrap()
    }

    /// Ends everything by the keys on disk alone; tells what would have been left otherwise.
    fn clear(&self) -> Vec<String> {
        let keys = self.block_on(self.provider.list()).unwrap_or_default();
        let mut left: Vec<String> = keys.iter().map(|key| format!("replica {key}")).collect();
        for key in &keys {
            if let Err(error) = self.block_on(self.provider.terminate(key, 0.0)) {
                left.push(error.to_string());
            }
        }
        for number in 1..self.next_id.load(Ordering::Relaxed) {
            let key = format!("test-web-{}-{number}", self.incarnation);
            left.extend(
                agent::processes::marked(&key)
                    .iter()
                    .map(|pid| format!("process {pid}")),
            );
            let link = agent::network::link_name(&key);
            if Path::new("/sys/class/net").join(&link).exists() {
                left.push(format!("network interface {link}"));
            }
        }
        left
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let left = self.clear();
        if !std::thread::panicking() {
            assert!(left.is_empty(), "the case left behind: {left:?}");
        }
    }
}

/// A request that can be had everywhere.
pub(crate) fn request(key: ReplicaKey, run: &str) -> LaunchRequest {
    let resources = serde_json::json!({
        "infra": null, "cloud": null, "region": null, "zone": null, "cpus": "1+", "memory": null,
        "accelerators": null, "instance_type": null, "use_spot": false, "use_spot_specified": false,
        "disk_size": 256, "disk_tier": null, "network_tier": null, "ports": ["8081"],
        "image_id": null, "labels": {}, "other": {},
    });
    LaunchRequest {
        key,
        setup: None,
        run: Some(run.to_owned()),
        envs: Default::default(),
        secrets: Default::default(),
        workdir: None,
        file_mounts: Vec::new(),
        port: 8081,
        resources: serde_json::from_value(resources).unwrap(),
        num_nodes: 1,
    }
}

/// This program, as an agent.
pub(crate) fn agent_command() -> Vec<OsString> {
    vec![std::env::current_exe().unwrap().into(), "agent".into()]
}

/// Sixteen hex digits that no other case has: from the unique name of its home.
pub(crate) fn incarnation(home: &Path) -> String {
    let name = home.to_string_lossy();
    let digits: String = name
        .bytes()
        .rev()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{digits:0>16}")
}

/// Waits for something that sends no event.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(LOOK_PAUSE);
    }
}

/// Whether a process with this text among its arguments runs, in any namespace.
pub(crate) fn is_running(argument: &str) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return false;
    };
    entries.flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| {
            line.split(|byte| *byte == 0)
                .any(|part| part == argument.as_bytes())
        })
    })
}
