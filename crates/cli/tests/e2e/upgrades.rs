//! `sky api restart`: everything is brought to another binary under load, and nobody notices.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use proxy::{ProxyPaths, RunningProxy};
use testkit::Load;

use crate::app::{App, Network};

/// The binary once more, with other bytes: one that was built anew.
fn another_binary(app: &App) -> PathBuf {
    let path = app.sky.work().join("sky-next");
    fs::copy(env!("CARGO_BIN_EXE_sky"), &path).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"built anew").unwrap();
    path
}

/// The file that a process runs.
fn program(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap()
}

async fn until_answered(load: &Load, more: usize) {
    let before = load.answered();
    while load.answered() < before + more {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_brought_to_another_binary_under_load() {
    let mut app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, 6);
    until_answered(&load, 100).await;
    let (holder, worker) = app.sky.proxy_pids();
    let server = app.sky.client().health().await.unwrap().pid;
    let replicas = app.sky.until("web", "it", |_| true).await.replicas;

    let next = another_binary(&app);
    app.sky.upgrade_to(next.clone());
    let told = app.sky.ok(&["api", "restart"]).out;
    assert!(told.contains("The server is restarted"), "{told}");
    assert!(told.contains("goes on as this program"), "{told}");
    until_answered(&load, 100).await;
    let (same_holder, next_worker) = app.sky.proxy_pids();
    let next_server = app.sky.client().health().await.unwrap().pid;
    assert_eq!(
        same_holder, holder,
        "the process that holds the sockets is the same"
    );
    assert_ne!(next_worker, worker);
    assert_ne!(next_server, server);
    for pid in [same_holder, next_worker, next_server] {
        assert_eq!(program(pid), next, "{told}");
    }

    // Once more, from where it runs already; and an update goes through as ever.
    let told = app.sky.ok(&["api", "restart"]).out;
    assert!(told.contains("is this program already"), "{told}");
    let ids = |replicas: &[api::ReplicaRecord]| -> Vec<u32> {
        replicas.iter().map(|replica| replica.replica_id).collect()
    };
    let after = app.sky.until("web", "it", |_| true).await.replicas;
    assert_eq!(ids(&after), ids(&replicas), "replicas are not touched");
    let yaml = app.yaml("2", 2);
    app.sky
        .ok(&["serve", "update", "web", &yaml, "-y", "--wait=90"]);
    let report = load.stop().await;
    println!("e2e restart from another binary: {report}");
    report.assert_clean();
    app.assert_no_post_twice();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_serve_takes_nothing_down() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(1);
    let load = Load::start(&endpoint, 3);
    until_answered(&load, 50).await;
    let before = app.sky.proxy_pids();
    app.sky.ok(&["api", "stop"]);
    let home = app.sky.home();
    let paths = ProxyPaths { home };
    let running = RunningProxy::find(&paths).unwrap();
    let program = vec!["/bin/false".to_owned()];
    let refused = running.replace_worker(&paths, program).unwrap_err();
    let refused = refused.to_string();
    assert!(
        refused.contains("it ended before it could serve"),
        "{refused}"
    );
    app.sky.ok(&["api", "start"]);
    assert_eq!(app.sky.proxy_pids(), before);
    until_answered(&load, 50).await;
    load.stop().await.assert_clean();
    // It does as it is told as ever.
    let told = app.sky.ok(&["api", "restart"]).out;
    assert!(told.contains("The proxy's worker is replaced"), "{told}");
}

#[test]
fn what_does_not_run_is_started() {
    let app = App::new(Network::Auto);
    let told = app.sky.ok(&["api", "restart"]).out;
    assert!(told.contains("did not run and is started"), "{told}");
    assert!(told.contains("The proxy did not run"), "{told}");
}
