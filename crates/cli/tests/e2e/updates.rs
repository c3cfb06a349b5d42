//! Updates that must not cost a request: both modes, scaling, going back, one replica ended; in both kinds of network.

use std::time::Instant;

use api::RolloutState;
use testkit::Load;

use crate::app::{App, Network};

/// Longer than an update takes.
const STREAM_SECONDS: u32 = 14;

async fn update_is_clean(network: Network, mode: &str) {
    let app = App::new(network);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, STREAM_SECONDS);
    let yaml = app.yaml("2", 3);
    app.sky.ok(&[
        "serve",
        "update",
        "web",
        &yaml,
        "--mode",
        mode,
        "-y",
        "--wait=80",
    ]);
    app.sky
        .until("web", "only new replicas", |web| {
            web.replicas.len() == 3 && web.ready_replicas == 3
        })
        .await;
    let report = load.stop().await;
    println!("e2e update {mode}: {report}");
    report.assert_clean();
    assert!(report.saw("1") && report.saw("2"), "{report}");
    if mode == "blue_green" {
        report.assert_clean_cut("1", "2");
    }
    app.assert_no_post_twice();
    let web = app.sky.client().service("web").await.unwrap();
    assert_eq!((web.version, web.active_versions), (2, vec![2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_loses_nothing() {
    update_is_clean(Network::Auto, "rolling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blue_green_loses_nothing() {
    update_is_clean(Network::Auto, "blue_green").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_loses_nothing_in_the_shared_network() {
    update_is_clean(Network::Shared, "rolling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blue_green_loses_nothing_in_the_shared_network() {
    update_is_clean(Network::Shared, "blue_green").await;
}

/// 2 → 4 keeps the same two replicas and never blanks the table; 4 → 2 drains two.
#[tokio::test(flavor = "multi_thread")]
async fn scaling_only_keeps_what_runs() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let before = app.sky.client().service("web").await.unwrap();
    let load = Load::start(&endpoint, 5);
    let four = app.yaml("1", 4);
    let told = app.sky.ok(&["serve", "update", "web", &four, "-y"]).out;
    assert!(
        told.contains("Replicas 1, 2 already are what it asks for"),
        "{told}"
    );
    let web = app
        .sky
        .until("web", "four ready", |web| web.ready_replicas == 4)
        .await;
    assert_eq!(
        web.replicas
            .iter()
            .map(|r| r.replica_id)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    for (old, new) in before.replicas.iter().zip(&web.replicas) {
        assert_eq!(old.endpoint, new.endpoint);
        assert_eq!(
            old.launched_at, new.launched_at,
            "replica {} was restarted",
            old.replica_id
        );
    }
    let two = app.yaml("1", 2);
    app.sky
        .ok(&["serve", "update", "web", &two, "-y", "--wait=60"]);
    app.sky
        .until("web", "two left", |web| web.replicas.len() == 2)
        .await;
    let report = load.stop().await;
    println!("e2e scaling 2-4-2: {report}");
    report.assert_clean();
}

/// Going back is an update with the first YAML; replicas of the first version that still run are used again.
#[tokio::test(flavor = "multi_thread")]
async fn going_back_in_the_middle_reuses_what_runs() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, STREAM_SECONDS);
    let (one, two) = (app.yaml("1", 2), app.yaml("2", 2));
    app.sky.ok(&["serve", "update", "web", &two, "-y"]);
    app.sky
        .until("web", "version 2 answers", |web| {
            web.active_versions.contains(&2)
        })
        .await;
    let told = app
        .sky
        .ok(&["serve", "update", "web", &one, "-y", "--wait=60"])
        .out;
    assert!(told.contains("already are what it asks for"), "{told}");
    let web = app
        .sky
        .until("web", "two left", |web| web.replicas.len() == 2)
        .await;
    assert_eq!(web.version, 3);
    assert_eq!(
        web.replicas
            .iter()
            .map(|r| r.replica_id)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    let report = load.stop().await;
    println!("e2e going back: {report}");
    report.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_one_replica_replaces_it() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, 5);
    let told = app
        .sky
        .ok(&["serve", "down", "web", "--replica-id", "1", "-y"])
        .out;
    assert!(
        told.contains("Replica 1 of service 'web' is scheduled to be terminated."),
        "{told}"
    );
    let web = app
        .sky
        .until("web", "replaced", |web| {
            web.ready_replicas == 2 && web.replicas.iter().all(|r| r.replica_id != 1)
        })
        .await;
    assert_eq!(
        web.replicas
            .iter()
            .map(|r| r.replica_id)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    let report = load.stop().await;
    println!("e2e down --replica-id: {report}");
    report.assert_clean();
}

/// What the issue asks to be told: figures, not bars.
#[tokio::test(flavor = "multi_thread")]
async fn figures() {
    let app = App::new(Network::Auto);
    let begun = Instant::now();
    let yaml = app.yaml("1", 2);
    app.sky.ok(&["serve", "up", &yaml, "-n", "web", "-y"]);
    let web = app
        .sky
        .until("web", "an endpoint", |web| web.endpoint.is_some())
        .await;
    let load = Load::start(web.endpoint.as_deref().unwrap(), 0);
    let report = loop {
        if load.answered() > 2000 {
            break load.stop().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    println!("e2e up: {report}");
    assert!(report.saw("1"));
    let routed = report.first_answer().unwrap().duration_since(begun);
    let web = app.sky.client().service("web").await.unwrap();
    assert!(
        web.rollout
            .as_ref()
            .is_none_or(|r| r.state == RolloutState::Succeeded)
    );
    let begun = Instant::now();
    app.sky.ok(&["serve", "status"]);
    let status = begun.elapsed();
    let server = app.sky.client().health().await.unwrap().pid;
    let (holder, worker) = app.sky.proxy_pids();
    println!(
        "e2e figures: up to first answer {:.3}s (server start included), status {:.1} ms, \
         resident KiB: server {:?}, proxy worker {:?}, proxy holder {:?}",
        routed.as_secs_f64(),
        status.as_secs_f64() * 1000.0,
        testkit::Installation::resident_kib(server),
        testkit::Installation::resident_kib(worker),
        testkit::Installation::resident_kib(holder),
    );
}
