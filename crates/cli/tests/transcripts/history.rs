//! `sky serve history`.

use serde_json::{Value, json};

use crate::fake_server::{Sandbox, api_error};

fn entry(changes: &Value) -> Value {
    let mut entry = json!({
        "kind": "update", "version": 2, "started_at": 1_700_000_060.0, "requested_by": "bob",
        "task_hash": "0123456789abcdef0123456789abcdef", "mode": "rolling", "outcome": "succeeded",
        "reason": null, "ended_at": 1_700_000_100.0,
    });
    let fields = entry.as_object_mut().expect("an object");
    fields.extend(changes.as_object().expect("an object").clone());
    entry
}

fn with_history() -> (Sandbox, Value) {
    let sandbox = Sandbox::new();
    let up =
        json!({"kind": "up", "version": 1, "requested_by": null, "started_at": 1_700_000_000.0});
    let failed = json!({"outcome": "failed", "reason": "replica 3: run exited\nwith code 1"});
    let back =
        json!({"kind": "rollback", "version": 1, "outcome": "in_progress", "mode": "blue_green"});
    let history = json!({
        "name": "web", "desired_version": 1,
        "entries": [entry(&up), entry(&failed), entry(&back)],
    });
    sandbox.on("GET /v1/services/web/history", &[(200, history.clone())]);
    (sandbox, history)
}

#[test]
fn each_update_is_a_row_with_who_when_and_how_it_ended() {
    let output = with_history().0.run(&["serve", "history", "web"]);
    assert_eq!((output.code, output.err.as_str()), (0, ""));
    let expected = "\
VERSION  WHAT      WHEN                  BY   HASH          MODE        OUTCOME      REASON
1        up        2023-11-14 22:13:20Z  -    0123456789ab  -           succeeded    -
2        update    2023-11-14 22:14:20Z  bob  0123456789ab  rolling     failed       replica 3: run exited with code 1
1        rollback  2023-11-14 22:14:20Z  bob  0123456789ab  blue_green  in progress  -
";
    assert_eq!(output.out, expected);
}

#[test]
fn json_is_what_the_server_says() {
    let (sandbox, history) = with_history();
    let output = sandbox.run(&["serve", "history", "web", "--json"]);
    assert_eq!(output.code, 0);
    let printed: Value = serde_json::from_str(&output.out).expect("JSON");
    assert_eq!(printed, history);
}

#[test]
fn a_service_that_is_not_there_is_an_error() {
    let sandbox = Sandbox::new();
    let missing = api_error("not_found", "Service 'nope' does not exist.");
    sandbox.on("GET /v1/services/nope/history", &[(404, missing)]);
    let output = sandbox.run(&["serve", "history", "nope", "--json"]);
    assert_eq!((output.code, output.out.as_str()), (1, ""));
    assert_eq!(output.err, "Error: Service 'nope' does not exist.\n");
}
