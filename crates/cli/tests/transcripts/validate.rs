//! `sky serve validate`, which asks no server.

use std::fs;

use serde_json::{Value, json};

use crate::fake_server::{Sandbox, TASK};

#[test]
fn each_file_gets_its_verdict() {
    let sandbox = Sandbox::new();
    let wrong = TASK.replace("replicas", "replica");
    fs::write(sandbox.path().join("wrong.yaml"), wrong).expect("a file");
    let output = sandbox.run(&["serve", "validate", "task.yaml", "wrong.yaml", "nope.yaml"]);
    assert_eq!(output.code, 1);
    let lines: Vec<&str> = output.out.lines().collect();
    assert_eq!(
        lines[..2],
        ["task.yaml: accepted", "wrong.yaml: rejected (1 error)"]
    );
    assert!(
        lines[2].starts_with("nope.yaml: rejected: cannot read nope.yaml"),
        "{lines:?}"
    );
    assert!(output.err.contains("wrong.yaml:3:3"), "{}", output.err);
    assert!(
        output.err.contains("replicas"),
        "no suggestion in {}",
        output.err
    );
    assert!(sandbox.asked().is_empty());
    assert_eq!(sandbox.run(&["serve", "validate", "task.yaml"]).code, 0);
}

#[test]
fn standard_input_is_a_file_too() {
    let output = Sandbox::new().run_with_input(&["serve", "validate", "-"], TASK);
    assert_eq!((output.code, output.out.as_str()), (0, "-: accepted\n"));
}

#[test]
fn json_has_one_shape_for_every_file() {
    let sandbox = Sandbox::new();
    let wrong = TASK.replace("replicas", "replica");
    fs::write(sandbox.path().join("wrong.yaml"), wrong).expect("a file");
    let files = ["task.yaml", "wrong.yaml", "nope.yaml"];
    let output = sandbox.run(&[&["serve", "validate", "--json"], &files[..]].concat());
    assert_eq!(output.code, 1);
    let reports: Vec<Value> = serde_json::from_str(&output.out).expect("an array");
    let verdicts: Vec<&Value> = reports.iter().map(|report| &report["verdict"]).collect();
    assert_eq!(
        verdicts,
        [&json!("accepted"), &json!("rejected"), &json!("rejected")]
    );
    let keys = |value: &Value| -> Vec<String> {
        let fields = value.as_object().expect("an object");
        let mut keys: Vec<String> = fields.keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&reports[1]), keys(&reports[2]));
    let first = |report: &Value| keys(&report["diagnostics"][0]);
    assert_eq!(first(&reports[1]), first(&reports[2]));
}
