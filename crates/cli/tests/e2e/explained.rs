//! What goes on is explained: why, events and history say the same of a version that fails, before and after a restart
//! of the server, and no secret is in any of it.

use std::collections::BTreeSet;
use std::process::Stdio;

use api::DryRun;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::app::{App, Network};

const SECRET: &str = "hunter2-of-the-app";

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_update_is_explained_and_stays_so() {
    let app = App::new(Network::Auto);
    app.up(1);
    let secret = format!("secrets:\n  TOKEN: {SECRET}\n");
    let bad = app.yaml_with("2", 1, "echo my token is $TOKEN\nexit 3", &secret);
    let update = app
        .sky
        .run(&["serve", "update", "web", &bad, "-y", "--wait=60"]);
    assert_eq!(update.code, 1, "{}{}", update.out, update.err);
    let sentence = "run exited with code 3; last line of its log: my token is ***";

    let before = told(&app);
    app.sky.ok(&["api", "stop"]);
    let after = told(&app);
    for (what, text) in before.iter().chain(&after) {
        assert!(!text.contains(SECRET), "{what} tells the secret:\n{text}");
        assert!(text.contains(sentence), "{what} does not explain:\n{text}");
    }
    let why = &before[0].1;
    assert!(
        why.starts_with("Update to version 2 (rolling) failed: replica 2: "),
        "{why}"
    );
    assert!(
        why.contains("Last lines of the log of replica 2:\n"),
        "{why}"
    );
    // The same sentence everywhere.
    let sentence = why.lines().next().unwrap();
    for (what, text) in &before[..3] {
        assert!(text.contains(sentence), "{what} says it otherwise:\n{text}");
    }
    let (first, second) = (&before[2].1, &after[2].1);
    assert!(
        second.starts_with(first.as_str()),
        "the timeline lost something:\n{first}\n{second}"
    );
    assert_eq!(before[3], after[3], "the history changed");
    let server_log = std::fs::read_to_string(app.sky.home().join("logs/server.log")).unwrap();
    assert!(
        !server_log.contains(SECRET),
        "the server's log tells the secret"
    );
}

/// What each command tells of it.
fn told(app: &App) -> Vec<(&'static str, String)> {
    let run = |arguments: &[&str]| app.sky.ok(arguments).out;
    vec![
        ("why", run(&["serve", "why", "web"])),
        ("status", run(&["serve", "status", "web"])),
        ("events", run(&["serve", "events", "web"])),
        ("history", run(&["serve", "history", "web"])),
        ("status --json", run(&["serve", "status", "web", "--json"])),
        ("why 2", run(&["serve", "why", "web", "2", "--json"])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn following_the_events_ends_with_the_service() {
    let app = App::new(Network::Auto);
    app.up(1);
    let mut follower = Command::new(env!("CARGO_BIN_EXE_sky"))
        .args(["serve", "events", "web", "--follow"])
        .env("SKYSERVE_HOME", app.sky.home())
        .current_dir(app.sky.work())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("sky runs");
    // Its title: it has found the server.
    let mut told = BufReader::new(follower.stdout.take().expect("a pipe"));
    let mut title = String::new();
    told.read_line(&mut title).await.expect("it is read");
    // It waits for a server that is away, and misses nothing of what the next one does.
    app.sky.ok(&["api", "stop"]);
    app.sky.ok(&["serve", "down", "web", "-y", "--wait=60"]);
    let mut out = title;
    told.read_to_string(&mut out).await.expect("it is read");
    let output = follower.wait_with_output().await.expect("it ends");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{out}{err}");
    assert!(
        out.ends_with("replica 1 is gone\nService 'web' is gone.\n"),
        "{out}"
    );
    // What happened to a service that is gone is still told.
    let told = app.sky.ok(&["serve", "events", "web"]).out;
    assert!(out.starts_with(&told), "{told}\n{out}");
}

/// What a dry run foretells is what happens then; and it changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_foretells_what_happens() {
    let app = App::new(Network::Auto);
    app.up(2);
    let snapshots = || {
        let folder = std::fs::read_dir(app.sky.home().join("snapshots")).unwrap();
        folder
            .map(|entry| entry.unwrap().file_name())
            .collect::<BTreeSet<_>>()
    };
    let (before, files) = (app.sky.client().service("web").await.unwrap(), snapshots());
    // Other content, so that a copy of it would show.
    std::fs::write(app.sky.work().join("app/more.txt"), "more").unwrap();
    let next = app.yaml("2", 3);
    let told = app
        .sky
        .ok(&["serve", "update", "web", &next, "--dry-run", "--json"])
        .out;
    let run: DryRun = serde_json::from_str(&told).unwrap();
    let after = app.sky.client().service("web").await.unwrap();
    assert_eq!((after.version, after.replicas.len()), (1, 2));
    assert_eq!(
        (before.version, before.desired_version),
        (after.version, after.desired_version)
    );
    assert_eq!(snapshots(), files, "a dry run leaves files");

    assert_eq!(
        (run.version, run.launched, run.stopped.as_slice()),
        (2, 3, &[1, 2][..])
    );
    assert_eq!(
        (run.peak_replicas, run.replicas_after, run.lowest_serving),
        (5, 3, 2)
    );
    let begun = std::time::Instant::now();
    app.sky.ok(&["serve", "update", "web", &next, "-y"]);
    let peak = std::cell::Cell::new(0);
    let web = app
        .sky
        .until("web", "updated", |web| {
            peak.set(peak.get().max(web.replicas.len()));
            web.replicas.len() == 3 && web.active_versions == [2]
        })
        .await;
    let (took, foretold) = (begun.elapsed().as_secs_f64(), run.duration_seconds.unwrap());
    println!("e2e dry run: foretold {foretold:.1}s, took {took:.1}s");
    assert_eq!(u32::try_from(peak.get()).unwrap(), run.peak_replicas);
    assert_eq!(
        web.replicas
            .iter()
            .map(|r| r.replica_id)
            .collect::<Vec<_>>(),
        [3, 4, 5]
    );
    // Far apart only if the forecast were of something else: the machine may be busy.
    assert!(
        took > foretold / 2.0 && took < 4.0 * foretold + 10.0,
        "{foretold}s, {took}s"
    );

    let same = app
        .sky
        .ok(&["serve", "update", "web", &app.yaml("2", 4), "--dry-run"])
        .out;
    assert!(same.contains("reused     replicas 3, 4, 5\n"), "{same}");
    assert!(same.contains("launched   1 replica\n"), "{same}");
    let refused = app
        .sky
        .run(&["serve", "update", "web", "nowhere.yaml", "--dry-run"]);
    assert_eq!(refused.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_compared_without_their_secrets() {
    let app = App::new(Network::Auto);
    app.up(1);
    let alone = app.sky.run(&["serve", "diff", "web"]);
    assert_eq!(alone.code, 1);
    assert!(alone.err.contains("nothing to compare"), "{}", alone.err);
    std::fs::write(app.sky.work().join("app/more.txt"), "more").unwrap();
    let next = app.yaml_with(
        "2",
        1,
        "python3 app.py\nexit 0",
        &format!("secrets:\n  TOKEN: {SECRET}\n"),
    );
    app.sky.ok(&["serve", "update", "web", &next, "-y"]);
    let told = app.sky.ok(&["serve", "diff", "web"]).out;
    for line in [
        "Service 'web', version 1 → 2\n",
        "  envs.VERSION: 1 → 2\n",
        "    + exit 0\n",
        "  secrets.TOKEN: added (hidden)\n",
        "  workdir (content): ",
        "Replicas of version 1 are not what version 2 asks for",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    let json = app
        .sky
        .ok(&["serve", "diff", "web", "2", "1", "--json"])
        .out;
    assert!(
        !told.contains(SECRET) && !json.contains(SECRET),
        "{told}{json}"
    );
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["from"], &json["to"]),
        (&Value::from(2), &Value::from(1))
    );
    assert_eq!(json["replaces_replicas"], true);
    let missing = app.sky.run(&["serve", "diff", "web", "1", "7"]);
    assert_eq!(missing.code, 1);
    assert!(
        missing
            .err
            .contains("Version 7 of service 'web' does not exist."),
        "{}",
        missing.err
    );
}
