//! `sky serve logs`.

use std::fs;

use serde_json::json;

use crate::fake_server::{Sandbox, service};

fn with_log() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.on("GET /v1/services/web/logs", &[(200, json!("one\ntwo\n"))]);
    sandbox.on("GET /v1/services/web", &[(200, service(&json!({})))]);
    sandbox
}

#[test]
fn one_log_is_shown_and_followed() {
    for (arguments, query) in [
        (&["web", "2"][..], "target=replica&replica_id=2&follow=true"),
        (
            &["web", "2", "--no-follow"],
            "target=replica&replica_id=2&follow=false",
        ),
        (
            &["web", "--tail", "3", "2"],
            "target=replica&replica_id=2&follow=false&tail=3",
        ),
        (&["--controller", "web"], "target=controller&follow=true"),
        (
            &["--load-balancer", "web"],
            "target=load_balancer&follow=true",
        ),
    ] {
        let sandbox = with_log();
        let output = sandbox.run(&[&["serve", "logs"], arguments].concat());
        assert_eq!(
            (output.code, output.out.as_str()),
            (0, "one\ntwo\n"),
            "{arguments:?}"
        );
        assert_eq!(
            sandbox.asked()[0].line,
            format!("GET /v1/services/web/logs?{query}")
        );
    }
}

/// A line of the access log, with something secret in all that is not to be shown.
const ACCESS: &str = r#"{"time":"2026-01-02T03:04:05.678Z","service":"web","method":"GET","path":"/v1","status":200,"replica":1,"version":1,"duration_ms":12.345,"bytes_in":0,"bytes_out":7,"attempts":1,"outcome":"completed","protocol":"HTTP/1.1","request_id":"s3cret","authorization":"s3cret","query":"s3cret"}"#;

#[test]
fn requests_are_shown_in_the_common_log_format() {
    let sandbox = Sandbox::new();
    let log = format!("{ACCESS}\n{ACCESS}\n");
    sandbox.on("GET /v1/services/web/logs", &[(200, json!(log))]);
    let arguments = [
        "serve",
        "logs",
        "web",
        "--load-balancer",
        "--format",
        "common",
    ];
    let output = sandbox.run(&arguments);
    let line = "- - - [02/Jan/2026:03:04:05 +0000] \"GET /v1 HTTP/1.1\" 200 7 0.012345\n";
    assert_eq!((output.code, output.out), (0, line.repeat(2)));
    let output = sandbox.run(&[
        "serve",
        "logs",
        "web",
        "--load-balancer",
        "--format",
        "json",
    ]);
    assert_eq!((output.code, output.out), (0, log));
}

#[test]
fn only_requests_have_a_format() {
    let sandbox = with_log();
    for arguments in [
        &["web", "1", "--format", "common"][..],
        &["web", "--controller", "--format", "common"],
        &[
            "web",
            "--load-balancer",
            "--sync-down",
            "--format",
            "common",
        ],
        &["web", "--load-balancer", "--format", "xml"],
    ] {
        let output = sandbox.run(&[&["serve", "logs"], arguments].concat());
        assert_eq!(output.code, 2, "{arguments:?}: {}", output.err);
    }
    assert!(sandbox.asked().is_empty());
}

#[test]
fn exactly_one_log_unless_they_are_copied() {
    let sandbox = with_log();
    for arguments in [
        &["web"][..],
        &["web", "1", "2"],
        &["web", "1", "--controller"],
    ] {
        let output = sandbox.run(&[&["serve", "logs"], arguments].concat());
        assert_eq!(output.code, 2, "{arguments:?}");
        assert!(output.err.contains("say which log"), "{}", output.err);
    }
    assert_eq!(
        sandbox
            .run(&["serve", "logs", "web", "1", "--tail", "-1"])
            .code,
        2
    );
    assert!(sandbox.asked().is_empty());
}

#[test]
fn sync_down_copies_every_log() {
    let sandbox = with_log();
    let output = sandbox.run(&["serve", "logs", "web", "--sync-down"]);
    assert_eq!(output.code, 0, "{}", output.err);
    let folder = output
        .out
        .trim()
        .strip_prefix("Logs are in ")
        .expect("a folder");
    let below = sandbox.path().join("sky_logs/service/web_");
    assert!(
        folder.starts_with(below.to_str().expect("text")),
        "{folder}"
    );
    let mut files: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("a file")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    files.sort();
    let expected = [
        "controller.log",
        "load_balancer.log",
        "replica-1.log",
        "replica-2.log",
    ];
    assert_eq!(files, expected);
    let log = fs::read_to_string(format!("{folder}/replica-2.log")).expect("a log");
    assert_eq!(log, "one\ntwo\n");
}
