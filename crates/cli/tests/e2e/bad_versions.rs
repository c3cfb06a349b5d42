//! A bad version, six ways, in both modes: the old version serves throughout, the reason is in `status`, the update
//! fails and says so.

use testkit::Load;

use crate::app::{App, Network};

/// What is wrong, the `run` (or `setup`) that is so, and words that must be in the reason.
const BAD: [(&str, &str, &str, &str); 6] = [
    (
        "cannot start",
        "exec /no/such/program",
        "",
        "exited with code 127",
    ),
    (
        "exits at once",
        "echo sorry; exit 3",
        "",
        "exited with code 3; last line of its log: sorry",
    ),
    (
        "never ready",
        "exec sleep 600",
        "",
        "GET /health did not succeed within 5s",
    ),
    (
        "ready, then dies",
        "(sleep 3; kill -9 $$) &\nexec python3 app.py",
        "",
        "signal 9",
    ),
    (
        "wrong port",
        "exec python3 app.py --port 9999",
        "",
        "GET /health did not succeed within 5s",
    ),
    (
        "setup fails",
        "exec python3 app.py",
        "setup: |\n  echo no disk; exit 7\n",
        "setup exited with code 7",
    ),
];

async fn bad_versions(mode: &str) {
    let app = App::new(Network::Auto);
    let endpoint = app.up(2);
    for (number, (what, run, more, reason)) in BAD.iter().enumerate() {
        let load = Load::start(&endpoint, 4);
        let yaml = app.yaml_with(&format!("bad{number}"), 2, run, more);
        let told = app.sky.run(&[
            "serve",
            "update",
            "web",
            &yaml,
            "--mode",
            mode,
            "-y",
            "--wait=60",
        ]);
        assert_eq!(told.code, 1, "{what}: {}\n{}", told.out, told.err);
        assert!(told.err.contains(reason), "{what}: {}", told.err);
        let status = app.sky.ok(&["serve", "status", "web"]).out;
        assert!(status.contains(reason), "{what}: {status}");
        assert!(
            status.contains("version 1 goes on serving"),
            "{what}: {status}"
        );
        let web = app
            .sky
            .until("web", "back to two of version 1", |web| {
                let live = web.replicas.iter().filter(|r| !r.status.is_terminal());
                web.ready_replicas == 2
                    && live.clone().count() == 2
                    && live.clone().all(|r| r.version == 1)
            })
            .await;
        assert_eq!(web.desired_version, 1, "{what}");
        assert_eq!(web.active_versions, [1], "{what}");
        let old: Vec<u32> = web
            .replicas
            .iter()
            .filter(|r| r.version == 1)
            .map(|r| r.replica_id)
            .collect();
        assert_eq!(old, [1, 2], "{what}: the old replicas are the same ones");
        let report = load.stop().await;
        println!("e2e bad version ({what}, {mode}): {report}");
        if *what == "ready, then dies" && mode == "rolling" {
            // What was inside the new replica when it died and must not be sent again is its own.
            let unsafe_kinds = ["post", "big", "stream"].map(|kind| report.failed_of(kind));
            assert_eq!(
                report.failed(),
                unsafe_kinds.iter().sum::<usize>(),
                "{report}"
            );
        } else {
            report.assert_clean();
        }
    }
    app.assert_no_post_twice();
    // And a good one goes through after all that.
    let good = app.yaml("2", 2);
    app.sky.ok(&[
        "serve",
        "update",
        "web",
        &good,
        "--mode",
        mode,
        "-y",
        "--wait=60",
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn six_bad_versions_rolling() {
    bad_versions("rolling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn six_bad_versions_blue_green() {
    bad_versions("blue_green").await;
}

/// A first version that fails is FAILED with its reason, is not launched again, and can be updated.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_first_version_fails_and_can_be_mended() {
    let app = App::new(Network::Auto);
    let bad = app.yaml_with("bad", 2, "exit 4", "");
    let told = app
        .sky
        .run(&["serve", "up", &bad, "-n", "web", "-y", "--wait=60"]);
    assert_eq!(told.code, 1, "{}", told.err);
    assert!(told.err.contains("run exited with code 4"), "{}", told.err);
    let status = app.sky.ok(&["serve", "status"]).out;
    assert!(status.contains("FAILED"), "{status}");
    let log = app
        .sky
        .ok(&["serve", "logs", "web", "1", "--no-follow"])
        .out;
    assert!(log.contains("run"), "{log}");
    let good = app.yaml("2", 2);
    app.sky
        .ok(&["serve", "update", "web", &good, "-y", "--wait=60"]);
    let web = app.sky.client().service("web").await.unwrap();
    assert_eq!((web.ready_replicas, web.active_versions), (2, vec![2]));
}
