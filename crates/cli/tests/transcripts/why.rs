//! `sky serve why`.

use serde_json::{Value, json};

use crate::fake_server::{Sandbox, api_error};

const WHY: &str = "GET /v1/services/web/why";

fn why(changes: &Value) -> Value {
    let mut why = json!({
        "name": "web", "status": "READY", "sentence": "The service is READY", "also": [], "version": 2,
        "replica_id": null, "waiting_on": [], "deadlines": [], "last_probe_failure": null, "exit": null,
        "log_lines": [],
    });
    let fields = why.as_object_mut().expect("an object");
    fields.extend(changes.as_object().expect("an object").clone());
    why
}

#[test]
fn one_sentence_then_what_is_known_beside_it() {
    let sandbox = Sandbox::new();
    let waits = why(&json!({
        "sentence": "Updating to version 2 (rolling): 0 of 1 new replicas ready, waiting for replica 4: starting, 12s of 60s, last probe: 503: warming up",
        "also": ["Replica 3 is FAILED: run exited\nwith code 1"],
        "replica_id": 4, "last_probe_failure": "503: warming up",
        "deadlines": [
            {"what": "replica 4 fails unless it passes its readiness probe", "at": 60.0, "remaining_seconds": 47.2},
            {"what": "the update to version 2 fails unless it gets further", "at": 660.0, "remaining_seconds": 647.2},
        ],
        "log_lines": ["loading\u{1b}[2J weights", "50 %"],
    }));
    sandbox.on(WHY, &[(200, waits)]);
    let output = sandbox.run(&["serve", "why", "web"]);
    assert_eq!((output.code, output.err.as_str()), (0, ""));
    let expected = "\
Updating to version 2 (rolling): 0 of 1 new replicas ready, waiting for replica 4: starting, 12s of 60s, last probe: 503: warming up
Replica 3 is FAILED: run exited with code 1
In 48s replica 4 fails unless it passes its readiness probe.
In 648s the update to version 2 fails unless it gets further.
Last lines of the log of replica 4:
    loading[2J weights
    50 %
";
    assert_eq!(output.out, expected);
    assert_eq!(sandbox.asked()[0].line, WHY);
}

#[test]
fn a_replica_can_be_asked_about() {
    let sandbox = Sandbox::new();
    let failed = why(&json!({
        "status": "FAILED_INITIAL_DELAY", "replica_id": 7, "last_probe_failure": "connection refused",
        "sentence": "Replica 7 is FAILED_INITIAL_DELAY: GET /health did not succeed within 60s of its start",
    }));
    sandbox.on(WHY, &[(200, failed.clone())]);
    let output = sandbox.run(&["serve", "why", "web", "7"]);
    let expected = "\
Replica 7 is FAILED_INITIAL_DELAY: GET /health did not succeed within 60s of its start
The last probe saw: connection refused
";
    assert_eq!((output.code, output.out.as_str()), (0, expected));
    assert_eq!(sandbox.asked()[0].line, format!("{WHY}?replica=7"));
    let output = sandbox.run(&["serve", "why", "web", "7", "--json"]);
    let printed: Value = serde_json::from_str(&output.out).expect("JSON");
    assert_eq!(printed, failed);
}

#[test]
fn a_replica_that_is_not_there_is_an_error() {
    let sandbox = Sandbox::new();
    let missing = api_error("not_found", "Service 'web' has no replica 9.");
    sandbox.on(WHY, &[(404, missing)]);
    let output = sandbox.run(&["serve", "why", "web", "9"]);
    assert_eq!((output.code, output.out.as_str()), (1, ""));
    assert_eq!(output.err, "Error: Service 'web' has no replica 9.\n");
    assert_eq!(sandbox.run(&["serve", "why", "web", "x"]).code, 2);
}
