//! `sky serve events`.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::fake_server::{Sandbox, api_error};

const EVENTS: &str = "GET /v1/services/web/events";

fn event(sequence: i64, kind: &str, replica: Option<u32>, message: &str) -> Value {
    json!({
        "sequence": sequence, "at": 1_700_000_000.5, "replica_id": replica, "version": 2,
        "kind": kind, "message": message,
    })
}

fn list(events: &[Value], gone: bool) -> (u16, Value) {
    (200, json!({"events": events, "gone": gone}))
}

/// A timeline that comes in two answers.
fn with_timeline() -> Sandbox {
    let sandbox = Sandbox::new();
    let first = event(
        7,
        "version_accepted",
        None,
        "version 2 is accepted (rolling)",
    );
    let second = event(
        9,
        "replica_status",
        Some(3),
        "replica 3 is FAILED: it\nsaid \u{1b}[2Jno",
    );
    sandbox.on(
        EVENTS,
        &[
            list(&[first], false),
            list(&[second], false),
            list(&[], false),
        ],
    );
    sandbox
}

#[test]
fn the_timeline_is_a_line_for_each_event() {
    let sandbox = with_timeline();
    let output = sandbox.run(&["serve", "events", "web"]);
    assert_eq!((output.code, output.err.as_str()), (0, ""));
    let expected = "\
TIME                  KIND                 VERSION  REPLICA  EVENT
2023-11-14 22:13:20Z  version_accepted     2        -        version 2 is accepted (rolling)
2023-11-14 22:13:20Z  replica_status       2        3        replica 3 is FAILED: it said [2Jno
";
    assert_eq!(output.out, expected);
    let asked: Vec<String> = sandbox
        .asked()
        .into_iter()
        .map(|asked| asked.line)
        .collect();
    let line = |after: i64| format!("{EVENTS}?after={after}&follow=false");
    assert_eq!(asked, [line(0), line(7), line(9)]);
}

#[test]
fn json_is_one_object_per_line() {
    let output = with_timeline().run(&["serve", "events", "web", "--json"]);
    assert_eq!(output.code, 0);
    let lines: Vec<Value> = output
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["kind"], "version_accepted");
    assert_eq!(lines[1]["replica_id"], 3);
    assert_eq!(lines[1]["sequence"], 9);
}

#[test]
fn following_ends_with_the_service() {
    let sandbox = Sandbox::new();
    let (down, gone) = (
        event(4, "shutting_down", None, "the service is being taken down"),
        event(5, "replica_gone", Some(1), "replica 1 is gone"),
    );
    let answers = [
        list(&[down], false),
        list(&[], false),
        // Nothing for as long as the server waits, then the last words, then the end.
        list(&[], false),
        list(&[gone], false),
        list(&[], true),
    ];
    sandbox.on(EVENTS, &answers);
    let output = sandbox.run(&["serve", "events", "web", "--follow"]);
    assert_eq!((output.code, output.err.as_str()), (0, ""));
    let lines: Vec<&str> = output.out.lines().skip(1).collect();
    assert!(lines[0].ends_with("the service is being taken down"));
    assert!(lines[1].ends_with("replica 1 is gone"));
    assert_eq!(lines[2..], ["Service 'web' is gone."]);
    let last = sandbox.asked().pop().expect("a question");
    assert_eq!(last.line, format!("{EVENTS}?after=5&follow=true"));
}

#[test]
fn following_shows_each_event_when_it_comes_and_ends_with_its_reader() {
    let sandbox = Sandbox::new();
    let one = event(4, "target_changed", None, "target 1 → 2");
    let answers = [
        list(std::slice::from_ref(&one), false),
        list(&[], false),
        list(&[one], false),
    ];
    sandbox.on(EVENTS, &answers);
    let mut child = sandbox
        .command(&["serve", "events", "web", "--follow", "--json"])
        .spawn()
        .expect("sky runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    for _ in 0..3 {
        let line = lines.next().expect("an event").expect("text");
        assert!(line.contains("target_changed"), "{line}");
    }
    drop(lines);
    assert!(child.wait().expect("sky ends").success());
}

#[test]
fn a_service_that_never_was_is_an_error() {
    let sandbox = Sandbox::new();
    let missing = api_error("not_found", "Service 'nope' does not exist.");
    sandbox.on("GET /v1/services/nope/events", &[(404, missing)]);
    let output = sandbox.run(&["serve", "events", "nope"]);
    assert_eq!((output.code, output.out.as_str()), (1, ""));
    assert_eq!(output.err, "Error: Service 'nope' does not exist.\n");
}
