//! `kill -9` in the middle: of the server in each mode, of the proxy's worker, of its holder.

use std::time::Instant;

use api::RolloutState;
use testkit::Load;

use crate::app::{App, Network};

async fn server_dies_in_the_middle(mode: &str) {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, 14);
    let yaml = app.yaml("2", 2);
    app.sky
        .ok(&["serve", "update", "web", &yaml, "--mode", mode, "-y"]);
    app.sky
        .until("web", "new replicas", |web| {
            web.replicas
                .iter()
                .filter(|r| r.version == 2 && r.endpoint.is_some())
                .count()
                == 2
        })
        .await;
    let replicas: Vec<u32> = {
        let pid = app.sky.kill_server().await;
        assert!(!app.sky.processes().contains(&pid) || app.sky.client().health().await.is_err());
        let served = load.answered();
        while load.answered() < served + 200 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        // Any command starts the next server, which goes on where the last one was.
        let out = app.sky.ok(&["serve", "status", "web", "--json"]).out;
        let services: Vec<api::ServiceRecord> = serde_json::from_str(&out).unwrap();
        let web = &services[0];
        assert_eq!(
            web.rollout.as_ref().unwrap().state,
            RolloutState::InProgress
        );
        web.replicas
            .iter()
            .map(|replica| replica.replica_id)
            .collect()
    };
    assert_eq!(
        replicas,
        [1, 2, 3, 4],
        "nothing lost, nothing launched twice"
    );
    let web = app
        .sky
        .until("web", "done", |web| {
            web.rollout
                .as_ref()
                .is_some_and(|r| r.state == RolloutState::Succeeded)
                && web.replicas.len() == 2
        })
        .await;
    assert_eq!(
        web.replicas
            .iter()
            .map(|r| r.replica_id)
            .collect::<Vec<_>>(),
        [3, 4]
    );
    let report = load.stop().await;
    println!("e2e server killed in {mode}: {report}");
    report.assert_clean();
    if mode == "blue_green" {
        report.assert_clean_cut("1", "2");
    }
    app.assert_no_post_twice();
}

#[tokio::test(flavor = "multi_thread")]
async fn server_dies_in_a_rolling_update() {
    server_dies_in_the_middle("rolling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_dies_in_a_blue_green_update() {
    server_dies_in_the_middle("blue_green").await;
}

/// Only what was in flight inside the worker may fail; nothing is refused, and an update goes through meanwhile.
async fn proxy_process_dies(which: &str) {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, 4);
    let served = load.answered();
    while load.answered() < served + 200 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let yaml = app.yaml("2", 2);
    app.sky.ok(&["serve", "update", "web", &yaml, "-y"]);
    let (holder, worker) = app.sky.proxy_pids();
    app.sky
        .kill(if which == "worker" { worker } else { holder });
    let killed = Instant::now();
    app.sky
        .until("web", "done", |web| {
            web.rollout
                .as_ref()
                .is_some_and(|r| r.state == RolloutState::Succeeded)
                && web.replicas.len() == 2
        })
        .await;
    let report = load.stop().await;
    println!("e2e proxy {which} killed: {report}");
    assert_eq!(report.refused(), 0, "{report}");
    // What is sent while the kernel still takes the dead process's connections down is lost with them.
    let settled = killed + std::time::Duration::from_secs(1);
    assert_eq!(report.failed_after(settled), 0, "{report}");
    let clients = if which == "worker" { 11 } else { 0 };
    assert!(
        report.failed() <= clients,
        "more than one in flight for each client: {report}"
    );
    app.assert_no_post_twice();
    let (new_holder, new_worker) = app.sky.proxy_pids();
    assert_eq!(new_worker != worker, which == "worker");
    assert_eq!(new_holder != holder, which == "holder");
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_worker_dies() {
    proxy_process_dies("worker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_holder_dies() {
    proxy_process_dies("holder").await;
}

/// A replica killed from outside is replaced, and what could be served is.
#[tokio::test(flavor = "multi_thread")]
async fn replica_is_killed() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, 0);
    let victim = app
        .sky
        .processes()
        .into_iter()
        .find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.ends_with(b"app.py\0")
        })
        .expect("a replica's app");
    app.sky.kill(victim);
    app.sky
        .until("web", "replaced", |web| {
            web.ready_replicas == 2 && web.replicas.iter().any(|r| r.replica_id == 3)
        })
        .await;
    let report = load.stop().await;
    println!("e2e replica killed: {report}");
    // Idempotent requests are sent again elsewhere; a POST that was inside the dead replica must not be.
    assert_eq!(
        report.failed_of("short") + report.failed_of("fresh"),
        0,
        "{report}"
    );
    assert!(
        report.failed_of("post") <= 2 && report.failed_of("big") <= 2,
        "{report}"
    );
    app.assert_no_post_twice();
}
