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
