//! What goes on is explained: why, events and history say the same of a version that fails, before and after a restart
//! of the server, and no secret is in any of it.

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
    let follower = {
        let (home, work) = (app.sky.home(), app.sky.work());
        std::thread::spawn(move || {
            std::process::Command::new(env!("CARGO_BIN_EXE_sky"))
                .args(["serve", "events", "web", "--follow"])
                .env("SKYSERVE_HOME", home)
                .current_dir(work)
                .output()
                .expect("sky runs")
        })
    };
    app.sky.ok(&["serve", "down", "web", "-y", "--wait=60"]);
    let output = follower.join().expect("it ends");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{out}");
    assert!(
        out.ends_with("replica 1 is gone\nService 'web' is gone.\n"),
        "{out}"
    );
    // What happened to a service that is gone is still told.
    let told = app.sky.ok(&["serve", "events", "web"]).out;
    assert!(out.starts_with(&told), "{told}\n{out}");
}
