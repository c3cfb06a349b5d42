//! `sky serve update`.

use serde_json::{Value, json};

use crate::fake_server::{Sandbox, api_error, service};

fn accepting(reused: &Value) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.on("GET /v1/services/web", &[(200, service(&json!({})))]);
    let answer = json!({"version": 2, "reused_replicas": reused});
    sandbox.on("POST /v1/services/web/versions", &[(202, answer)]);
    sandbox
}

fn rollout(version: u32, state: &str, summary: &str) -> (u16, Value) {
    let rollout = json!({
        "version": version, "mode": "rolling", "state": state, "summary": summary,
        "available_replicas": 0, "wanted_replicas": 2, "started_at": 0.0, "ended_at": null,
        "waiting_on": [],
    });
    (
        200,
        service(&json!({"version": version, "rollout": rollout})),
    )
}

#[test]
fn says_what_was_accepted_and_what_goes_on() {
    let sandbox = accepting(&json!([1, 2]));
    let output = sandbox.run(&[
        "serve",
        "update",
        "--mode",
        "Blue-Green",
        "web",
        "task.yaml",
        "-y",
    ]);
    assert_eq!(output.code, 0, "{}", output.err);
    let end = "
New replica will use the following resources (estimated):
INFRA  INSTANCE  vCPUs  Mem(GB)  GPUS  COST ($)  CHOSEN  
Local  -         2      -        -     0.00      ✔       

Service 'web' update scheduled.
Please use sky serve status web to check the latest status.
Replicas 1, 2 already are what it asks for and go on.
✓ Successfully updated service 'web' to version 2.
";
    assert!(output.out.starts_with("Service spec:\n"), "{}", output.out);
    assert!(output.out.ends_with(end), "{}", output.out);
    let asked = sandbox.asked();
    assert_eq!(asked[1].line, "POST /v1/services/web/versions");
    assert_eq!(asked[1].body["mode"], "blue_green");
}

#[test]
fn asks_and_takes_no_for_an_answer() {
    let sandbox = accepting(&json!([]));
    let output = sandbox.run_with_input(&["serve", "update", "web", "task.yaml"], "n\n");
    assert_eq!(output.code, 1);
    let question = "Updating service 'web'. Proceed? [Y/n]: ";
    assert!(output.out.contains(question), "{}", output.out);
    assert!(
        sandbox
            .asked()
            .iter()
            .all(|one| one.line.starts_with("GET"))
    );
}

#[test]
fn a_service_that_is_not_there_is_told_before_the_question() {
    let sandbox = Sandbox::new();
    let missing = api_error("not_found", "Service 'nope' does not exist.");
    sandbox.on("GET /v1/services/nope", &[(404, missing)]);
    let output = sandbox.run(&["serve", "update", "nope", "task.yaml"]);
    assert_eq!((output.code, output.out.as_str()), (1, ""));
    assert_eq!(output.err, "Error: Service 'nope' does not exist.\n");
}

#[test]
fn wait_tells_how_the_update_ends() {
    let waits = rollout(
        2,
        "in_progress",
        "Updating to version 2 (rolling): 0 of 2 new replicas ready",
    );
    let cases = [
        (
            rollout(2, "succeeded", "done"),
            0,
            "✓ Every replica of 'web' is of version 2.",
            "",
        ),
        (
            rollout(2, "failed", "version 2 failed: it exits at once"),
            1,
            "",
            "it exits at once",
        ),
        (
            rollout(3, "in_progress", "x"),
            1,
            "",
            "version 2 was superseded by version 3",
        ),
    ];
    for (last, code, out, err) in cases {
        let sandbox = accepting(&json!([]));
        let answers = [(200, service(&json!({}))), waits.clone(), last];
        sandbox.on("GET /v1/services/web", &answers);
        let output = sandbox.run(&["serve", "update", "web", "task.yaml", "-y", "--wait=60"]);
        assert_eq!(output.code, code, "{}{}", output.out, output.err);
        assert!(output.out.contains(out), "{}", output.out);
        assert!(
            output.err.contains("0 of 2 new replicas ready"),
            "{}",
            output.err
        );
        assert!(output.err.contains(err), "{}", output.err);
    }
}

const VERSIONS: &str = "POST /v1/services/web/versions";

fn forecast(changes: &Value) -> Value {
    let mut run = json!({
        "name": "web", "version": 2, "mode": "rolling", "reused": [], "restarted": [], "launched": 2,
        "stopped": [1, 2], "replicas_now": 2, "peak_replicas": 4, "replicas_after": 2, "serving_now": 2,
        "lowest_serving": 2, "extra_cost_per_hour": 0.0, "outcome": {"outcome": "succeeds"},
        "duration_seconds": 41.5, "promotions": 0, "drain_timeout_seconds": 600.0,
        "measured": {"replicas": 2, "provision_seconds": 20.0, "start_seconds": 11.0}, "steps": [],
    });
    let fields = run.as_object_mut().expect("an object");
    fields.extend(changes.as_object().expect("an object").clone());
    run
}

fn foreseeing(changes: &Value) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.on("GET /v1/services/web", &[(200, service(&json!({})))]);
    sandbox.on(VERSIONS, &[(200, forecast(changes))]);
    sandbox
}

#[test]
fn a_dry_run_says_what_would_happen_and_asks_nothing() {
    let sandbox = foreseeing(&json!({}));
    let output = sandbox.run(&["serve", "update", "web", "task.yaml", "--dry-run"]);
    assert_eq!((output.code, output.err.as_str()), (0, ""));
    let expected = "\
Updating service 'web' to version 2 (rolling) would do this; nothing has been changed:
  reused     none
  restarted  none
  launched   2 replicas
  stopped    replicas 1, 2
  peak       4 replicas, 2 more than now; 2 afterwards
  extra cost none: this machine
  capacity   2 of the 2 with traffic now, at the least
  time       about 41s (a launch took 31s, measured on 2 replicas); requests in flight may keep what is stopped for up to 10m more
";
    assert_eq!(output.out, expected);
    let asked = sandbox.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].line, format!("{VERSIONS}?dry_run=true"));
}

#[test]
fn a_dry_run_tells_what_it_does_not_know() {
    let sandbox = foreseeing(&json!({
        "reused": [1, 2], "stopped": [], "restarted": [3], "launched": 1, "peak_replicas": 3, "replicas_now": 3,
        "duration_seconds": null, "measured": null, "promotions": 2,
        "outcome": {"outcome": "waits", "summary": "waiting for a\nmiracle"},
    }));
    let output = sandbox.run(&["serve", "update", "web", "task.yaml", "--dry-run"]);
    for line in [
        "  reused     replicas 1, 2\n",
        "  restarted  replica 3\n",
        "  launched   1 replica\n",
        "  peak       3 replicas, no more than now; 2 afterwards\n",
        "  time       not known: no replica of this service was ever seen to become ready\n",
        "It would not end by itself: waiting for a miracle\n",
    ] {
        assert!(output.out.contains(line), "{line}{}", output.out);
    }
    let output = sandbox.run(&["serve", "update", "web", "task.yaml", "--dry-run", "--json"]);
    let printed: Value = serde_json::from_str(&output.out).expect("JSON");
    assert_eq!(printed["reused"], json!([1, 2]));
}

#[test]
fn options_replace_the_settings_of_the_update() {
    let sandbox = accepting(&json!([]));
    let mut arguments = vec!["serve", "update", "web", "task.yaml", "-y"];
    arguments.extend([
        "--max-surge",
        "25%",
        "--max-unavailable",
        "1",
        "--min-healthy-seconds",
        "2.5",
        "--progress-deadline-seconds=90",
        "--drain-timeout-seconds",
        "30",
        "--no-auto-rollback",
        "--undo-window-seconds",
        "600",
        "--mode",
        "blue_green",
    ]);
    let output = sandbox.run(&arguments);
    assert_eq!(output.code, 0, "{}", output.err);
    let asked = sandbox.asked().pop().expect("a question");
    let update = &asked.body["task"]["service"]["update"];
    let expected = [
        ("max_surge", json!({"amount": {"percent": 25.0}})),
        ("max_unavailable", json!({"count": 1})),
        ("min_healthy_seconds", json!(2.5)),
        ("progress_deadline_seconds", json!(90.0)),
        ("drain_timeout_seconds", json!(30.0)),
        ("auto_rollback", json!(false)),
        ("undo_window_seconds", json!(600.0)),
    ];
    for (field, value) in expected {
        assert_eq!(update[field], value, "{field}");
    }
    assert_eq!(asked.body["mode"], "blue_green");
}

#[test]
fn settings_that_make_no_sense_are_refused_before_anything_is_asked() {
    let sandbox = accepting(&json!([]));
    for (options, reason) in [
        (&["--max-surge", "0"][..], "none can be replaced"),
        (&["--max-surge", "many"], "--max-surge"),
        (&["--min-healthy-seconds", "-1"], "at least 0"),
        (
            &["--progress-deadline-seconds", "5"],
            "must be greater than",
        ),
    ] {
        let mut arguments = vec!["serve", "update", "web", "task.yaml", "-y"];
        arguments.extend(options);
        let output = sandbox.run(&arguments);
        assert_eq!((output.code, output.out.as_str()), (1, ""), "{options:?}");
        assert!(output.err.contains(reason), "{options:?}: {}", output.err);
    }
    assert!(sandbox.asked().is_empty());
}
