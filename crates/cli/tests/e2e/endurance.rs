//! The hard sentence: updates and scale changes in a row under load of every kind, with replicas killed at random and
//! the proxy upgraded in between, and nothing is lost but what was inside a replica when it was killed.
//!
//! Most updates are overtaken by the next: that is harder than waiting, and a waited one takes the ten seconds that a
//! new replica must stay ready. Every tenth is waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use api::{RolloutState, ServiceRecord};
use plan::status::ReplicaStatus;
use testkit::{Evidence, Installation, JOURNAL_VARIABLE, Kill, MixedLoad, VERSION_VARIABLE};

/// How much of it.
#[derive(Clone, Copy, Debug)]
struct Size {
    changes: usize,
    upgrades: usize,
    kills: usize,
    /// How long streams, WebSockets and gRPC streams last.
    session_seconds: u32,
}

#[tokio::test(flavor = "multi_thread")]
async fn endurance() {
    let size = Size {
        changes: 12,
        upgrades: 1,
        kills: 2,
        session_seconds: 10,
    };
    Endurance::new(size).run().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes 13 minutes"]
async fn endurance_full() {
    let size = Size {
        changes: 200,
        upgrades: 5,
        kills: 20,
        session_seconds: 60,
    };
    Endurance::new(size).run().await;
}

/// Replicas run this binary, which is this test then: no other is sure to have been built.
#[tokio::test(flavor = "multi_thread")]
async fn is_the_app_of_a_replica_when_asked() {
    if std::env::var_os(JOURNAL_VARIABLE).is_some() {
        testkit::serve_replica().await;
    }
}

/// What is asked of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Rolling,
    BlueGreen,
    /// Another number of replicas, nothing else.
    Scale,
    /// A setting of the endpoint, nothing else.
    Settings,
    /// The version before, once more.
    Back,
    /// One replica ended by its id.
    EndReplica,
    RollingToItsEnd,
    BlueGreenToItsEnd,
}

/// One round; two of them make twenty changes.
const ROUND: [Change; 10] = [
    Change::Rolling,
    Change::Scale,
    Change::Settings,
    Change::BlueGreen,
    Change::EndReplica,
    Change::Back,
    Change::RollingToItsEnd,
    Change::Scale,
    Change::BlueGreen,
    Change::Rolling,
];

/// The parts of the YAML that change.
#[derive(Clone, Copy, Debug)]
struct Task {
    version: u32,
    replicas: u32,
    policy: &'static str,
}

struct Endurance {
    sky: Installation,
    size: Size,
    random: Random,
    task: Task,
    versions: u32,
    upgrades: usize,
    evidence: Evidence,
    done: BTreeMap<Change, u32>,
}

impl Endurance {
    fn new(size: Size) -> Self {
        let random = Random::new();
        Self {
            sky: Installation::new(env!("CARGO_BIN_EXE_sky"), &[]),
            size,
            random,
            task: Task {
                version: 1,
                replicas: 2,
                policy: "least_load",
            },
            versions: 1,
            upgrades: 0,
            evidence: Evidence::default(),
            done: BTreeMap::new(),
        }
    }

    async fn run(mut self) {
        let yaml = self.yaml();
        self.sky
            .ok(&["serve", "up", &yaml, "-n", "web", "-y", "--wait=60"]);
        let endpoint = self.sky.ok(&["serve", "status", "web", "--endpoint"]).out;
        let load = MixedLoad::start(endpoint.trim(), self.size.session_seconds);
        let upgrades = self.spread(self.size.upgrades);
        let kills = self.random_changes(self.size.kills);
        let begun = Instant::now();
        for number in 0..self.size.changes {
            self.change(number).await;
            if upgrades.contains(&number) {
                self.upgrade();
            }
            if kills.contains(&number) {
                self.kill_a_replica().await;
            }
            if number % 10 == 9 {
                let (so_far, at) = (load.so_far(), begun.elapsed().as_secs());
                println!(
                    "e2e endurance: {} changes in {at} s, {} requests, {} failed (of those, what was killed is excused)",
                    number + 1,
                    so_far.sent(),
                    so_far.failed()
                );
            }
        }
        let elapsed = begun.elapsed().as_secs_f64();
        let wanted = self.task.replicas;
        self.sky
            .until("web", "settled", |web| {
                has_ended(web) && web.ready_replicas >= wanted
            })
            .await;
        let report = load.stop().await;
        self.note_failures();
        self.evidence.journal = fs::read_to_string(self.journal()).unwrap();
        let verdict = report.judge(&self.evidence);
        println!(
            "e2e endurance: {:?}\n{} changes in {elapsed:.0} s, one per {:.1} s: {:?}; {} replicas killed: {:?}{verdict}",
            self.size,
            self.size.changes,
            elapsed / self.size.changes as f64,
            self.done,
            self.evidence.kills.len(),
            self.evidence
                .kills
                .iter()
                .map(|kill| kill.replica)
                .collect::<Vec<_>>(),
        );
        verdict.assert_nothing_lost();
        assert_eq!(self.evidence.kills.len(), self.size.kills);
    }

    /// `count` numbers of changes, evenly spread.
    fn spread(&self, count: usize) -> BTreeSet<usize> {
        let apart = self.size.changes / (count + 1);
        (1..=count).map(|nth| nth * apart).collect()
    }

    fn random_changes(&mut self, count: usize) -> BTreeSet<usize> {
        let mut chosen = BTreeSet::new();
        while chosen.len() < count {
            chosen.insert(self.random.below(self.size.changes));
        }
        chosen
    }

    /// Makes the change, and goes on at a moment that differs.
    async fn change(&mut self, number: usize) {
        let mut change = ROUND[number % ROUND.len()];
        if change == Change::RollingToItsEnd && (number / ROUND.len()) % 2 == 1 {
            change = Change::BlueGreenToItsEnd;
        }
        *self.done.entry(change).or_default() += 1;
        match change {
            Change::EndReplica => return self.end_a_replica().await,
            Change::Scale => self.task.replicas = 2 + (self.task.replicas - 1) % 3,
            Change::Settings => {
                self.task.policy = match self.task.policy {
                    "least_load" => "round_robin",
                    _ => "least_load",
                };
            }
            Change::Back => self.task.version = self.task.version.saturating_sub(1).max(1),
            _ => {
                self.versions += 1;
                self.task.version = self.versions;
            }
        }
        let mode = match change {
            Change::BlueGreen | Change::BlueGreenToItsEnd => "blue_green",
            _ => "rolling",
        };
        let yaml = self.yaml();
        self.sky
            .ok(&["serve", "update", "web", &yaml, "--mode", mode, "-y"]);
        match change {
            Change::RollingToItsEnd | Change::BlueGreenToItsEnd => {
                self.sky
                    .until("web", "the end of the update", has_ended)
                    .await;
            }
            _ => self.a_while().await,
        }
    }

    /// Ends a replica that is ready.
    async fn end_a_replica(&mut self) {
        let id = self.a_ready_replica().await.to_string();
        // It may have been on its way out already.
        let ended = self
            .sky
            .run(&["serve", "down", "web", "--replica-id", &id, "-y"]);
        if ended.code != 0 {
            println!("e2e endurance: replica {id}: {}", ended.err.trim());
        }
        self.a_while().await;
    }

    /// Between two changes: from less than a replica needs to become ready to more.
    async fn a_while(&mut self) {
        let pause = 500 + self.random.below(3500);
        tokio::time::sleep(Duration::from_millis(pause as u64)).await;
    }

    async fn a_ready_replica(&mut self) -> u32 {
        let web = self
            .sky
            .until("web", "a ready replica", |web| ready(web).next().is_some())
            .await;
        let ready: Vec<u32> = ready(&web).collect();
        ready[self.random.below(ready.len())]
    }

    /// Kills the app of a replica, and writes down what failed of it. By turns one that gets traffic and any, so that
    /// those that drain, where most streams are, have their share.
    async fn kill_a_replica(&mut self) {
        let any = self.evidence.kills.len() % 2 == 1;
        let (replica, pid) = loop {
            let chosen = match any {
                true => self.any_replica().await,
                false => self.a_ready_replica().await,
            };
            match self.app_of(chosen) {
                Some(pid) => break (chosen, pid),
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let at = Instant::now();
        self.sky.kill(pid);
        self.evidence.kills.push(Kill { replica, at });
        self.a_while().await;
        self.note_failures();
    }

    async fn any_replica(&mut self) -> u32 {
        let web = self
            .sky
            .until("web", "a replica", |web| !web.replicas.is_empty())
            .await;
        web.replicas[self.random.below(web.replicas.len())].replica_id
    }

    fn app_of(&self, replica: u32) -> Option<u32> {
        let id = format!("SKYPILOT_SERVE_REPLICA_ID={replica}");
        let program = this_program();
        let is_app = |pid: &u32| {
            let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
            let has = |text: Vec<u8>, word: &str| {
                text.split(|byte| *byte == 0)
                    .any(|found| found == word.as_bytes())
            };
            has(read("environ"), &id) && has(read("cmdline"), &program.display().to_string())
        };
        self.sky.processes().into_iter().find(is_app)
    }

    /// Server and proxy become a binary that was built anew.
    fn upgrade(&mut self) {
        self.upgrades += 1;
        let next = self.sky.work().join(format!("sky-{}", self.upgrades));
        fs::copy(env!("CARGO_BIN_EXE_sky"), &next).unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(&next).unwrap();
        file.write_all(&vec![b' '; self.upgrades]).unwrap();
        drop(file);
        self.sky.upgrade_to(next);
        let told = self.sky.ok(&["api", "restart"]).out;
        assert!(told.contains("goes on as this program"), "{told}");
        // Whoever still runs the one before keeps it.
        let before = self.sky.work().join(format!("sky-{}", self.upgrades - 1));
        let _ = fs::remove_file(before);
    }

    /// The access log says who had a request of which no answer tells; it is read soon, because it is rotated.
    fn note_failures(&mut self) {
        let paths = proxy::ProxyPaths {
            home: self.sky.home(),
        };
        let log = paths.access_log("web");
        let mut older = log.clone().into_os_string();
        older.push(".1");
        for file in [PathBuf::from(older), log] {
            let text = fs::read(file).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let failed = text
                .lines()
                .filter(|line| !line.ends_with("\"outcome\":\"completed\"}"));
            for line in failed {
                // The last line may be half written.
                let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else {
                    continue;
                };
                let id = line["path"]
                    .as_str()
                    .and_then(|path| path.rsplit('/').next());
                let id = id.and_then(|id| id.parse().ok());
                let replica = line["replica"].as_u64();
                let replica = replica.and_then(|replica| u32::try_from(replica).ok());
                if let (Some(id), Some(replica)) = (id, replica) {
                    self.evidence.given_to.insert(id, replica);
                }
            }
        }
    }

    fn journal(&self) -> PathBuf {
        self.sky.work().join("journal")
    }

    /// Writes the YAML of the task as it is now.
    fn yaml(&self) -> String {
        let Task {
            version,
            replicas,
            policy,
        } = self.task;
        let yaml = format!(
            "service:\n  readiness_probe:\n    path: /health\n    initial_delay_seconds: 60\n  replicas: {replicas}\n  \
             load_balancing_policy: {policy}\n\
             resources:\n  ports: 8081\n  cpus: 1+\nenvs:\n  {VERSION_VARIABLE}: \"{version}\"\n  {JOURNAL_VARIABLE}: {}\n\
             run: exec '{}' --exact endurance::is_the_app_of_a_replica_when_asked\n",
            self.journal().display(),
            this_program().display()
        );
        fs::write(self.sky.work().join("task.yaml"), yaml).unwrap();
        "task.yaml".to_owned()
    }
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn has_ended(web: &ServiceRecord) -> bool {
    let state = web.rollout.as_ref().map(|rollout| rollout.state);
    state != Some(RolloutState::InProgress)
}

/// Ids of replicas that get traffic.
fn ready(web: &ServiceRecord) -> impl Iterator<Item = u32> {
    let ready = web
        .replicas
        .iter()
        .filter(|replica| replica.status == ReplicaStatus::Ready);
    ready.map(|replica| replica.replica_id)
}

/// Xorshift: which moments and replicas are chosen differs from run to run.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = since.as_micros() as u64 | 1;
        println!("e2e endurance: seed {seed}");
        Self(seed)
    }

    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
