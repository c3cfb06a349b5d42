//! Steering an update with real processes under load: undo in the window, pause, resume, abort; each twice, and where
//! there is nothing to steer.

use std::time::{Duration, Instant};

use api::{ReplicaRecord, RolloutState, ServiceRecord, Steered};
use testkit::Load;

use crate::app::{App, Network};

/// Settings that do not matter here are short.
const QUICK: [&str; 2] = ["--min-healthy-seconds", "1"];

fn update(app: &App, yaml: &str, options: &[&str]) {
    let mut arguments = vec!["serve", "update", "web", yaml, "-y"];
    arguments.extend(QUICK);
    arguments.extend(options);
    app.sky.ok(&arguments);
}

fn steered(app: &App, arguments: &[&str]) -> Steered {
    let mut arguments = [&["serve"], arguments].concat();
    arguments.push("--json");
    serde_json::from_str(&app.sky.ok(&arguments).out).unwrap()
}

/// Waits for this many more answers: so long as that, users saw nothing wrong.
async fn answers(load: &Load, more: usize) {
    let wanted = load.answered() + more;
    while load.answered() < wanted {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn ids(web: &ServiceRecord) -> Vec<u32> {
    web.replicas
        .iter()
        .map(|replica| replica.replica_id)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn within_the_window_an_update_is_undone_at_once() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, 3);
    let options = [
        "--mode",
        "blue_green",
        "--undo-window-seconds",
        "300",
        "--wait=60",
    ];
    update(&app, &app.yaml("2", 2), &options);
    let web = app.sky.client().service("web").await.unwrap();
    assert_eq!(
        (web.active_versions.as_slice(), ids(&web)),
        (&[2][..], vec![1, 2, 3, 4])
    );
    let status = app.sky.ok(&["serve", "status", "web"]).out;
    assert!(status.contains("version 1 stands by for "), "{status}");
    answers(&load, 100).await;

    let begun = Instant::now();
    let back = steered(&app, &["rollback", "web"]);
    let commanded = begun.elapsed();
    assert!(back.changed, "{back:?}");
    assert_eq!(back.desired_version, 1);
    let web = app
        .sky
        .until("web", "back", |web| {
            web.active_versions == [1] && web.endpoint_ready
        })
        .await;
    // Versions are not renumbered, and nothing was launched.
    assert_eq!((web.version, web.desired_version), (2, 1));
    assert!(ids(&web).iter().all(|id| *id <= 4), "{web:?}");
    answers(&load, 100).await;
    let again = steered(&app, &["rollback", "web", "--to", "1"]);
    assert!(!again.changed, "{again:?}");
    let report = load.stop().await;
    report.assert_clean();
    let moved = report
        .last_sent_to("2")
        .map_or(Duration::ZERO, |last| last.saturating_duration_since(begun));
    println!(
        "e2e rollback in the window: command {:.3}s, last request to the undone version after {:.3}s; {report}",
        commanded.as_secs_f64(),
        moved.as_secs_f64()
    );
    // A second, and room for a machine that is busy with other tests.
    assert!(moved < Duration::from_secs(5), "{moved:?}");
    let history = app.sky.client().history("web").await.unwrap().entries;
    let told: Vec<(&str, u32)> = history
        .iter()
        .map(|e| (e.kind.as_str(), e.version))
        .collect();
    assert_eq!(told, [("up", 1), ("update", 2), ("rollback", 1)]);
    assert!(
        history.iter().all(|entry| entry.requested_by.is_some()),
        "{history:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_paused_resumed_and_another_aborted() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, 3);
    update(&app, &app.yaml("2", 2), &[]);
    assert!(steered(&app, &["pause", "web"]).changed);
    let again = steered(&app, &["pause", "web"]);
    assert!(
        !again.changed && again.message.contains("paused already"),
        "{again:?}"
    );
    // While it is paused no replica of the old version goes, however ready the new ones are.
    answers(&load, 500).await;
    let web = app.sky.client().service("web").await.unwrap();
    let rollout = web.rollout.as_ref().unwrap();
    assert!(
        rollout.paused && rollout.state == RolloutState::InProgress,
        "{rollout:?}"
    );
    let old = |replica: &&ReplicaRecord| replica.version == 1;
    assert_eq!(web.replicas.iter().filter(old).count(), 2, "{web:?}");
    let status = app.sky.ok(&["serve", "status", "web"]).out;
    assert!(
        status.contains("is paused") && status.contains("sky serve resume web"),
        "{status}"
    );
    assert!(steered(&app, &["resume", "web"]).changed);
    assert!(!steered(&app, &["resume", "web"]).changed);
    app.sky
        .until("web", "updated", |web| {
            web.active_versions == [2] && web.replicas.len() == 2
        })
        .await;

    // The third version never gets ready, so that it is surely under way when it is called off.
    let slow = app.yaml_with("3", 2, "sleep 1000", "");
    update(&app, &slow, &[]);
    let aborted = steered(&app, &["abort", "web"]);
    assert!(aborted.changed, "{aborted:?}");
    assert_eq!(aborted.desired_version, 2);
    let again = steered(&app, &["abort", "web"]);
    assert!(!again.changed, "{again:?}");
    let web = app
        .sky
        .until("web", "undone", |web| {
            web.replicas.iter().all(|r| r.version == 2)
        })
        .await;
    assert_eq!((web.ready_replicas, web.active_versions), (2, vec![2]));
    let report = load.stop().await;
    println!("e2e pause, resume, abort: {report}");
    report.assert_clean();
    assert!(!report.saw("3"));
    let history = app.sky.client().history("web").await.unwrap().entries;
    let outcomes: Vec<&str> = history.iter().map(|entry| entry.outcome.as_str()).collect();
    assert_eq!(outcomes, ["succeeded", "succeeded", "aborted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_waits_for_a_person_and_says_so() {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    let load = Load::start(&endpoint, 3);
    update(&app, &app.yaml("2", 2), &["--mode", "canary"]);
    app.sky
        .until("web", "both answer", |web| web.active_versions == [1, 2])
        .await;
    // Until a person says so it goes no further, and that is what it says.
    answers(&load, 200).await;
    let waits = "step 1 of 1 (10 % of requests): `sky serve promote`";
    for command in [&["why", "web"][..], &["status", "web"]] {
        let told = app.sky.ok(&[&["serve"], command].concat()).out;
        assert!(told.contains(waits), "{command:?}: {told}");
    }
    assert!(steered(&app, &["promote", "web"]).changed);
    app.sky
        .until("web", "promoted", |web| {
            web.active_versions == [2] && web.replicas.len() == 2
        })
        .await;
    let again = steered(&app, &["promote", "web"]);
    assert!(!again.changed, "{again:?}");
    let report = load.stop().await;
    println!("e2e canary, promoted: {report}");
    report.assert_clean();
    assert!(report.saw("1") && report.saw("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_nothing_to_steer_it_is_said() {
    let app = App::new(Network::Auto);
    app.up(1);
    for (arguments, code, told) in [
        (&["pause", "web"][..], 1, "nothing to pause"),
        (&["resume", "web"], 0, "No update is paused."),
        (&["promote", "web"], 1, "nothing to promote"),
        (&["abort", "web"], 1, "nothing to abort"),
        (&["rollback", "web"], 1, "no earlier version"),
        (
            &["rollback", "web", "--to", "1"],
            0,
            "Version 1 is the desired one already.",
        ),
        (
            &["rollback", "web", "--to", "9"],
            1,
            "Version 9 of service 'web' does not exist.",
        ),
        (&["rollback", "nope"], 1, "Service 'nope' does not exist."),
        (&["pause", "nope"], 1, "Service 'nope' does not exist."),
    ] {
        let output = app.sky.run(&[&["serve"], arguments].concat());
        assert_eq!(output.code, code, "{arguments:?}: {output:?}");
        let text = if code == 0 { &output.out } else { &output.err };
        assert!(text.contains(told), "{arguments:?}: {output:?}");
    }
}
