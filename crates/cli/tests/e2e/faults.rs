//! Worse than one fault: everything killed at once, the server killed again and again, an agent killed, an update
//! overtaken by the next; and what must hold at every revision of the service on the way.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use api::{Client, RolloutState, ServiceRecord};
use plan::status::ReplicaStatus;
use testkit::Load;
use tokio::task::JoinHandle;

use crate::app::{App, Network};

fn succeeded(web: &ServiceRecord) -> bool {
    let state = web.rollout.as_ref().map(|rollout| rollout.state);
    state == Some(RolloutState::Succeeded) && web.replicas.len() == 2
}

fn ids(web: &ServiceRecord) -> Vec<u32> {
    web.replicas
        .iter()
        .map(|replica| replica.replica_id)
        .collect()
}

/// Looks at every revision of the service and keeps the fewest replicas that were ready at one of them.
struct Watch {
    fewest: Arc<AtomicU32>,
    looks: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Watch {
    fn start(client: Client) -> Self {
        let fewest = Arc::new(AtomicU32::new(u32::MAX));
        let (looks, stop) = (
            Arc::new(AtomicU32::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (low, count, end) = (Arc::clone(&fewest), Arc::clone(&looks), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let mut revision = 0;
            while !end.load(Ordering::SeqCst) {
                let wait = Duration::from_millis(500);
                match client.service_after("web", revision, wait).await {
                    Ok(web) => {
                        revision = web.revision;
                        low.fetch_min(web.ready_replicas, Ordering::SeqCst);
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    // The server is dead, and will be started again by the test.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        Self {
            fewest,
            looks,
            stop,
            task,
        }
    }

    /// The fewest ready replicas, and at how many revisions was looked.
    async fn stop(self) -> (u32, u32) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
        (
            self.fewest.load(Ordering::SeqCst),
            self.looks.load(Ordering::SeqCst),
        )
    }
}

/// Capacity never falls below what was there, at no revision of either kind of update.
#[tokio::test(flavor = "multi_thread")]
async fn there_are_always_two_ready() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, 3);
    let watch = Watch::start(app.sky.client());
    for (version, mode) in [("2", "rolling"), ("3", "blue_green")] {
        let yaml = app.yaml(version, 2);
        app.sky.ok(&[
            "serve",
            "update",
            "web",
            &yaml,
            "--mode",
            mode,
            "-y",
            "--wait=60",
        ]);
    }
    app.sky.until("web", "two left", succeeded).await;
    let (fewest, looks) = watch.stop().await;
    let report = load.stop().await;
    println!("e2e capacity: fewest ready={fewest} revisions seen={looks} {report}");
    assert_eq!(fewest, 2);
    assert!(looks > 10, "{looks} revisions are too few to mean anything");
    report.assert_clean();
}

/// The server is killed five times within one update, at moments that differ from run to run.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_dies_again_and_again() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, 10);
    let yaml = app.yaml("2", 2);
    app.sky.ok(&["serve", "update", "web", &yaml, "-y"]);
    let mut served = load.answered();
    for pause in [0, 40, 150, 400, 800] {
        app.sky.kill_server().await;
        // Load is the clock: so many requests are answered while there is no server.
        while load.answered() < served + pause {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        served = load.answered();
        app.sky.ok(&["serve", "status"]);
    }
    let web = app.sky.until("web", "done", succeeded).await;
    let report = load.stop().await;
    println!("e2e server killed five times: {report}");
    assert_eq!(ids(&web), [3, 4], "nothing lost, nothing launched twice");
    report.assert_clean();
    app.assert_no_post_twice();
}

/// Server, proxy worker and holder die at one time in the middle of an update. The next command brings all back: the
/// same endpoint, the same replicas, and the update goes on.
#[tokio::test(flavor = "multi_thread")]
async fn everything_but_the_replicas_dies() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let yaml = app.yaml("2", 2);
    app.sky.ok(&["serve", "update", "web", &yaml, "-y"]);
    app.sky
        .until("web", "new replicas", |web| web.replicas.len() == 4)
        .await;
    let (holder, worker) = app.sky.proxy_pids();
    // The server first: it would start what it sees die.
    app.sky.kill_server().await;
    app.sky.kill(holder);
    app.sky.kill(worker);
    let shown = app.sky.ok(&["serve", "status", "web", "--endpoint"]).out;
    assert_eq!(shown.trim(), endpoint);
    app.sky
        .until("web", "new replicas ready", |web| web.ready_replicas >= 3)
        .await;
    let load = Load::start(&endpoint, 3);
    let web = app.sky.until("web", "done", succeeded).await;
    let report = load.stop().await;
    println!("e2e everything killed: {report}");
    assert_eq!(ids(&web), [3, 4]);
    report.assert_clean();
}

/// The supervisor of a replica is killed: the replica is gone with it, is replaced, and nothing of it is left.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_killed() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, 0);
    let is_agent = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.get(1) == Some(&&b"agent"[..]) && words.get(2).is_some_and(|dir| dir.ends_with(b"/1"))
    };
    let agents: Vec<u32> = app.sky.processes().into_iter().filter(is_agent).collect();
    // The init of its namespace is an agent too; it is the first one's child and dies with it.
    let is_child = |pid: &&u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        agents
            .iter()
            .any(|agent| status.contains(&format!("PPid:\t{agent}\n")))
    };
    let agent = agents
        .iter()
        .find(|pid| !is_child(pid))
        .expect("replica 1 has an agent");
    app.sky.kill(*agent);
    let replaced = |web: &ServiceRecord| web.ready_replicas == 2 && ids(web).contains(&3);
    app.sky.until("web", "replaced", replaced).await;
    let report = load.stop().await;
    println!("e2e agent killed: {report}");
    let safe = report.failed_of("short") + report.failed_of("fresh");
    assert_eq!(safe, 0, "{report}");
    app.assert_no_post_twice();
}

/// A blue-green update is overtaken before its time: nobody ever sees the version in between.
#[tokio::test(flavor = "multi_thread")]
async fn an_overtaken_version_is_never_seen() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, 3);
    let (two, three) = (app.yaml("2", 2), app.yaml("3", 2));
    let blue_green = |yaml: &str| {
        app.sky
            .ok(&["serve", "update", "web", yaml, "--mode", "blue_green", "-y"]);
    };
    blue_green(&two);
    let ready = |web: &ServiceRecord| {
        web.replicas
            .iter()
            .any(|r| r.version == 2 && r.ready_since.is_some())
    };
    app.sky.until("web", "version 2 ready", ready).await;
    blue_green(&three);
    let web = app.sky.until("web", "done", succeeded).await;
    let report = load.stop().await;
    println!("e2e overtaken: {report}");
    assert_eq!((web.version, web.active_versions), (3, vec![3]));
    assert!(!report.saw("2"), "{report}");
    report.assert_clean();
    report.assert_clean_cut("1", "3");
}

/// `down` lets a stream that is being sent come to its end, takes nothing new, and closes the endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn down_waits_for_streams() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(1);
    let mut stream = TcpStream::connect(&endpoint).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let request =
        b"GET /stream?seconds=3&interval_ms=100 HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    stream.read_exact(&mut [0; 16]).unwrap();
    app.sky.ok(&["serve", "down", "web", "-y"]);
    let web = app.sky.until("web", "draining", |web| {
        web.replicas
            .iter()
            .all(|replica| replica.status == ReplicaStatus::ShuttingDown)
    });
    let message = web.await.message.unwrap_or_default();
    assert!(
        message.contains("draining") || message.contains("acknowledge"),
        "{message}"
    );
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("data: 29\n"), "{rest}");
    assert!(rest.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{rest}");
    app.sky.ok(&["serve", "down", "-a", "-y", "--wait=30"]);
    let refused = TcpStream::connect(&endpoint).expect_err("the endpoint is closed");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}
