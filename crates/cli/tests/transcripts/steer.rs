//! `sky serve pause`, `resume`, `promote`, `abort` and `rollback`.

use serde_json::{Value, json};

use crate::fake_server::{Sandbox, api_error, replica, service};

const ROLLBACK: &str = "POST /v1/services/web/rollback";

fn steered(changed: bool, message: &str) -> Value {
    json!({"name": "web", "changed": changed, "message": message, "desired_version": 1})
}

#[test]
fn each_way_of_steering_has_its_command() {
    let routes = [
        ("pause", "POST /v1/services/web/pause"),
        ("resume", "POST /v1/services/web/resume"),
        ("promote", "POST /v1/services/web/promote"),
        ("abort", "POST /v1/services/web/abort"),
    ];
    for (command, line) in routes {
        let sandbox = Sandbox::new();
        let message = format!("told of\n{command}");
        sandbox.on(line, &[(200, steered(true, &message))]);
        let output = sandbox.run(&["serve", command, "web"]);
        assert_eq!((output.code, output.err.as_str()), (0, ""), "{command}");
        assert_eq!(output.out, format!("told of {command}\n"));
        let asked = sandbox.asked().pop().expect("a question");
        assert_eq!(asked.line, line);
        assert!(
            asked.body["requested_by"]
                .as_str()
                .is_some_and(|name| !name.is_empty())
        );
    }
}

#[test]
fn what_is_so_already_is_no_error() {
    let sandbox = Sandbox::new();
    let already = steered(false, "The update to version 2 is paused already.");
    sandbox.on("POST /v1/services/web/pause", &[(200, already.clone())]);
    let output = sandbox.run(&["serve", "pause", "web"]);
    assert_eq!(output.code, 0);
    assert_eq!(output.out, "The update to version 2 is paused already.\n");
    let output = sandbox.run(&["serve", "pause", "web", "--json"]);
    let printed: Value = serde_json::from_str(&output.out).expect("JSON");
    assert_eq!((output.code, printed), (0, already));
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let sandbox = Sandbox::new();
    let refusal = api_error(
        "conflict",
        "Service 'web' is not being updated: there is nothing to abort.",
    );
    sandbox.on("POST /v1/services/web/abort", &[(409, refusal)]);
    let output = sandbox.run(&["serve", "abort", "web", "--json"]);
    assert_eq!((output.code, output.out.as_str()), (1, ""));
    assert_eq!(
        output.err,
        "Error: Service 'web' is not being updated: there is nothing to abort.\n"
    );
    let missing = api_error("not_found", "Service 'nope' does not exist.");
    sandbox.on("POST /v1/services/nope/pause", &[(404, missing)]);
    let output = sandbox.run(&["serve", "pause", "nope"]);
    assert_eq!(
        (output.code, output.err.as_str()),
        (1, "Error: Service 'nope' does not exist.\n")
    );
}

#[test]
fn going_back_names_the_version_only_if_asked_to() {
    let sandbox = Sandbox::new();
    sandbox.on(ROLLBACK, &[(200, steered(true, "Back to version 1."))]);
    let output = sandbox.run(&["serve", "rollback", "web"]);
    assert_eq!(
        (output.code, output.out.as_str()),
        (0, "Back to version 1.\n")
    );
    sandbox.run(&["serve", "rollback", "web", "--to", "1"]);
    let to: Vec<Value> = sandbox
        .asked()
        .into_iter()
        .map(|asked| asked.body["to"].clone())
        .collect();
    assert_eq!(to, [Value::Null, json!(1)]);
    let message = "Version 9 of service 'web' does not exist. Versions that are kept: 1, 2.";
    sandbox.on(ROLLBACK, &[(404, api_error("not_found", message))]);
    let output = sandbox.run(&["serve", "rollback", "web", "--to", "9"]);
    assert_eq!(
        (output.code, output.err),
        (1, format!("Error: {message}\n"))
    );
}

#[test]
fn waiting_ends_when_the_version_has_all_the_traffic() {
    let rollout = |state: &str, summary: &str| {
        json!({
            "version": 1, "mode": "rolling", "state": state, "summary": summary, "available_replicas": 0,
            "wanted_replicas": 2, "started_at": 0.0, "ended_at": null, "waiting_on": [],
        })
    };
    let mut new = replica(2);
    new["version"] = json!(2);
    let on_the_way = json!({
        "version": 2, "active_versions": [1, 2], "replicas": [replica(1), new],
        "rollout": rollout("in_progress", "Updating to version 1"),
    });
    let there = json!({"version": 2, "rollout": rollout("succeeded", "done")});
    let failed = json!({
        "version": 2, "active_versions": [2], "rollout": rollout("failed", "Update to version 1 failed: no room"),
    });
    let overtaken = json!({"version": 3, "desired_version": 3});
    for (last, code, out, err) in [
        (
            there,
            0,
            "✓ Version 1 of 'web' has all the traffic.\n",
            "Updating to version 1",
        ),
        (failed, 1, "", "failed: no room"),
        (overtaken, 1, "", "version 3 is desired by now"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.on(ROLLBACK, &[(200, steered(true, "Back to version 1."))]);
        let answers = [(200, service(&on_the_way)), (200, service(&last))];
        sandbox.on("GET /v1/services/web", &answers);
        let output = sandbox.run(&["serve", "rollback", "web", "--wait=60"]);
        assert_eq!(output.code, code, "{}{}", output.out, output.err);
        assert_eq!(output.out, format!("Back to version 1.\n{out}"));
        assert!(output.err.contains(err), "{}", output.err);
    }
}
