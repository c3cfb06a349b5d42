//! `sky serve diff`.

use serde_json::{Value, json};

use crate::fake_server::{Sandbox, api_error};

const DIFF: &str = "GET /v1/services/web/diff";

fn change(path: &str, kind: &str, old: &Value, new: &Value) -> Value {
    json!({"path": path, "kind": kind, "old": old, "new": new, "hidden": false})
}

fn hidden(path: &str, kind: &str) -> Value {
    json!({"path": path, "kind": kind, "old": null, "new": null, "hidden": true})
}

fn diff(replaces: bool, changes: &Value) -> Value {
    json!({"name": "web", "from": 1, "to": 2, "replaces_replicas": replaces, "changes": changes})
}

#[test]
fn each_field_that_differs_is_shown_with_its_values() {
    let sandbox = Sandbox::new();
    let changes = json!([
        change(
            "envs.MODEL",
            "changed",
            &json!("small"),
            &json!("large one")
        ),
        change("envs.NEW", "added", &Value::Null, &json!("")),
        change("envs.OLD", "removed", &json!("x\u{1b}[2J"), &Value::Null),
        change(
            "run",
            "changed",
            &json!("cd app\npython3 a.py\n"),
            &json!("cd app\npython3 b.py\n")
        ),
        change("setup", "changed", &json!("login ***"), &json!("login ***")),
        hidden("secrets.TOKEN", "changed"),
        hidden("secrets.OTHER", "added"),
        change(
            "service.replica_policy.min_replicas",
            "changed",
            &json!(2),
            &json!(3)
        ),
        change(
            "workdir (content)",
            "changed",
            &json!("3f6c0a1b9e2d"),
            &json!("a90b77c1d3e4")
        ),
    ]);
    sandbox.on(DIFF, &[(200, diff(true, &changes))]);
    let output = sandbox.run(&["serve", "diff", "web"]);
    assert_eq!((output.code, output.err.as_str()), (0, ""));
    let expected = "\
Service 'web', version 1 → 2
  envs.MODEL: small → \"large one\"
  envs.NEW: added \"\"
  envs.OLD: removed (was x[2J)
  run:
    - python3 a.py
    + python3 b.py
  setup: changed (hidden)
  secrets.TOKEN: changed (hidden)
  secrets.OTHER: added (hidden)
  service.replica_policy.min_replicas: 2 → 3
  workdir (content): 3f6c0a1b9e2d → a90b77c1d3e4
Replicas of version 1 are not what version 2 asks for: an update replaces them.
";
    assert_eq!(output.out, expected);
    let printed = sandbox.run(&["serve", "diff", "web", "--json"]).out;
    let printed: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(printed, diff(true, &changes));
}

#[test]
fn versions_may_be_named() {
    let sandbox = Sandbox::new();
    sandbox.on(DIFF, &[(200, diff(false, &json!([])))]);
    let expected = "\
Service 'web', version 1 → 2
  nothing differs
Replicas of version 1 already are what version 2 asks for: an update replaces none.
";
    assert_eq!(
        sandbox.run(&["serve", "diff", "web", "1", "2"]).out,
        expected
    );
    sandbox.run(&["serve", "diff", "web", "1"]);
    sandbox.run(&["serve", "diff", "web"]);
    let asked: Vec<String> = sandbox
        .asked()
        .into_iter()
        .map(|asked| asked.line)
        .collect();
    let line = |query: &str| format!("{DIFF}?{query}");
    assert_eq!(asked, [line("from=1&to=2"), line("from=1"), line("")]);
}

#[test]
fn a_version_that_is_not_there_is_an_error() {
    let sandbox = Sandbox::new();
    let message = "Version 9 of service 'web' does not exist. Versions that are kept: 1, 2.";
    sandbox.on(DIFF, &[(404, api_error("not_found", message))]);
    let output = sandbox.run(&["serve", "diff", "web", "9"]);
    assert_eq!((output.code, output.out.as_str()), (1, ""));
    assert_eq!(output.err, format!("Error: {message}\n"));
    assert_eq!(sandbox.run(&["serve", "diff", "web", "one"]).code, 2);
}
