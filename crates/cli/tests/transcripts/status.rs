//! `sky serve status`.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::fake_server::{Sandbox, replica, service};

fn showing(services: &Value, not_found: &Value) -> Sandbox {
    let sandbox = Sandbox::new();
    let list = json!({"services": services, "not_found": not_found});
    sandbox.on("GET /v1/services", &[(200, list)]);
    sandbox
}

#[test]
fn shows_tables_and_explains_them() {
    let mut lost = replica(2);
    lost["status"] = json!("FAILED");
    lost["endpoint"] = Value::Null;
    lost["reason"] = json!("run exited with code 1\n\u{1b}[2Jlast words");
    let rollout = json!({
        "version": 2, "mode": "rolling", "state": "in_progress",
        "summary": "Updating to version 2 (rolling): 1 of 2 new replicas ready",
        "available_replicas": 1, "wanted_replicas": 2, "started_at": 0.0, "waiting_on": [],
    });
    let record = service(&json!({
        "active_versions": [1, 2], "ready_replicas": 1, "total_replicas": 1, "rollout": rollout,
        "replicas": [replica(1), lost],
    }));
    let output =
        showing(&json!([record]), &json!(["nope"])).run(&["serve", "status", "web", "nope"]);
    assert_eq!(output.code, 0);
    let expected = "\
Services
NAME  VERSION  UPTIME  STATUS  REPLICAS  ENDPOINT         
web   1,2      -       READY   1/1       127.0.0.1:30001  

Service Replicas
SERVICE_NAME  ID  VERSION  ENDPOINT              LAUNCHED  INFRA  RESOURCES        STATUS  
web           1   1        http://10.0.0.1:8081  -         Local  1x(cpus=2, ...)  READY   
web           2   1        -                     -         Local  1x(cpus=2, ...)  FAILED  

Updating to version 2 (rolling): 1 of 2 new replicas ready
Replica 2 is FAILED: run exited with code 1 [2Jlast words
Service 'nope' not found.
";
    assert_eq!(output.out, expected);
}

#[test]
fn ten_replicas_are_shown_unless_all_are_asked_for() {
    let replicas: Vec<Value> = (1..=12).map(replica).collect();
    let sandbox = showing(
        &json!([service(&json!({"replicas": replicas}))]),
        &json!([]),
    );
    let hint = "... (use --all to show all replicas)";
    let short = sandbox.run(&["serve", "status"]).out;
    assert!(
        short.contains(hint) && !short.contains("10.0.0.11"),
        "{short}"
    );
    for flag in ["--all", "-v"] {
        let long = sandbox.run(&["serve", "status", flag]).out;
        assert!(!long.contains(hint) && long.contains("10.0.0.12"), "{long}");
    }
}

#[test]
fn names_that_are_missing() {
    let sandbox = showing(&json!([]), &json!(["nope"]));
    let output = sandbox.run(&["serve", "status", "nope"]);
    assert_eq!(output.code, 1);
    assert!(
        output.out.contains("Service 'nope' not found."),
        "{}",
        output.out
    );
    assert!(sandbox.asked()[0].line.ends_with("?name=nope"));
    // A program that reads the JSON must learn it too.
    let output = sandbox.run(&["serve", "status", "nope", "--json"]);
    assert_eq!((output.code, output.out.as_str()), (1, "[]\n"));
    assert!(
        output.err.contains("Service 'nope' not found."),
        "{}",
        output.err
    );
    let output = sandbox.run(&["serve", "status", "nope", "--endpoint"]);
    assert_eq!((output.code, output.out.as_str()), (1, ""));
}

#[test]
fn the_endpoint_alone() {
    let sandbox = showing(&json!([service(&json!({}))]), &json!([]));
    let output = sandbox.run(&["serve", "status", "--endpoint", "web"]);
    assert_eq!((output.code, output.out.as_str()), (0, "127.0.0.1:30001\n"));
    let sandbox = showing(&json!([service(&json!({"endpoint": null}))]), &json!([]));
    assert_eq!(
        sandbox.run(&["serve", "status", "web", "--endpoint"]).out,
        "-\n"
    );
}

#[test]
fn json_is_the_records() {
    let sandbox = showing(&json!([service(&json!({}))]), &json!([]));
    let output = sandbox.run(&["serve", "status", "--json"]);
    let records: Value = serde_json::from_str(&output.out).expect("JSON");
    assert_eq!(records[0]["name"], "web");
    assert_eq!(records[0]["replicas"][1]["replica_id"], 2);
}

#[test]
fn a_server_of_another_version_is_mentioned() {
    let sandbox = showing(&json!([]), &json!([]));
    sandbox.health("0.0.1");
    let output = sandbox.run(&["serve", "status"]);
    assert_eq!(output.out, "Services\nNo existing services.\n");
    assert!(
        output
            .err
            .starts_with("Warning: the server runs version 0.0.1"),
        "{}",
        output.err
    );
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let sandbox = showing(&json!([service(&json!({}))]), &json!([]));
    let mut child = sandbox
        .command(&["serve", "status"])
        .spawn()
        .expect("sky runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("sky ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn watching_goes_on_while_the_server_is_away() {
    let sandbox = showing(&json!([service(&json!({}))]), &json!([]));
    let broken = (500, json!("no JSON"));
    let list = (
        200,
        json!({"services": [service(&json!({}))], "not_found": []}),
    );
    sandbox.on("GET /v1/services", &[list.clone(), broken, list]);
    let mut child = sandbox
        .command(&["serve", "status", "--watch=0.01"])
        .spawn()
        .expect("sky runs");
    let stdout = child.stdout.take().expect("a pipe");
    let headings = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .filter(|line| line == "Services")
        .take(3)
        .count();
    child.kill().expect("ended");
    child.wait().expect("reaped");
    assert_eq!(headings, 3);
}
