//! `sky serve down`.

use serde_json::{Value, json};

use crate::fake_server::{Sandbox, api_error, replica, service};

fn with_services(services: &[Value]) -> Sandbox {
    let sandbox = Sandbox::new();
    let list = json!({"services": services, "not_found": []});
    sandbox.on("GET /v1/services", &[(200, list)]);
    for line in ["POST /v1/services/web/down", "POST /v1/services/web_b/down"] {
        sandbox.on(line, &[(202, json!({"message": "ok"}))]);
    }
    sandbox
}

fn three() -> Sandbox {
    let named = |name: &str| service(&json!({"name": name}));
    with_services(&[named("other"), named("web"), named("web_b")])
}

fn posts(sandbox: &Sandbox) -> Vec<String> {
    let asked = sandbox.asked().into_iter().map(|one| one.line);
    asked.filter(|line| line.starts_with("POST")).collect()
}

#[test]
fn names_and_patterns() {
    let sandbox = three();
    let output = sandbox.run_with_input(&["serve", "down", "web*"], "y\n");
    assert_eq!(output.code, 0, "{}", output.err);
    let question = "Terminating service(s) 'web', 'web_b'. Proceed? [Y/n]: ";
    assert!(output.out.starts_with(question), "{}", output.out);
    let told = "Services 'web', 'web_b' are scheduled to be terminated.\n";
    assert!(output.out.ends_with(told), "{}", output.out);
    let expected = ["POST /v1/services/web/down", "POST /v1/services/web_b/down"];
    assert_eq!(posts(&sandbox), expected);

    let sandbox = three();
    let output = sandbox.run(&["serve", "down", "web", "-y", "--purge", "--now"]);
    assert_eq!(output.out, "Service 'web' is scheduled to be terminated.\n");
    let asked = sandbox.asked();
    assert_eq!(asked[1].body, json!({"purge": true, "now": true}));

    let output = three().run(&["serve", "down", "x*", "-y"]);
    assert_eq!(
        (output.code, output.out.as_str()),
        (0, "No service to terminate.\n")
    );
}

#[test]
fn a_name_that_is_missing_keeps_the_others_up() {
    let sandbox = three();
    let output = sandbox.run(&["serve", "down", "web", "nope", "-y"]);
    assert_eq!(output.code, 1);
    assert_eq!(output.err, "Error: Service 'nope' does not exist.\n");
    assert!(posts(&sandbox).is_empty());
}

#[test]
fn no_is_an_answer() {
    let sandbox = three();
    let output = sandbox.run_with_input(&["serve", "down", "web"], "no\n");
    assert_eq!(output.code, 1);
    assert!(posts(&sandbox).is_empty());
}

#[test]
fn what_could_not_be_cleaned_up_needs_purge() {
    let failed = service(&json!({"status": "FAILED_CLEANUP"}));
    let sandbox = with_services(&[failed]);
    let output = sandbox.run(&["serve", "down", "web", "-y"]);
    assert_eq!(output.code, 1);
    assert_eq!(output.err, "", "the service does exist");
    assert!(
        output.out.contains("`sky serve down web --purge`"),
        "{}",
        output.out
    );
    assert!(posts(&sandbox).is_empty());
    assert_eq!(
        sandbox.run(&["serve", "down", "web", "-y", "--purge"]).code,
        0
    );
    assert_eq!(posts(&sandbox).len(), 1);
}

#[test]
fn one_that_is_refused_does_not_hide_the_others() {
    let sandbox = three();
    let refusal = api_error("conflict", "'web' cannot be taken down now");
    sandbox.on("POST /v1/services/web/down", &[(409, refusal)]);
    let output = sandbox.run(&["serve", "down", "web", "web_b", "-y"]);
    assert_eq!(output.code, 1);
    assert_eq!(output.err, "Error: 'web' cannot be taken down now\n");
    assert_eq!(
        output.out,
        "Service 'web_b' is scheduled to be terminated.\n"
    );
}

#[test]
fn wait_ends_when_it_is_gone() {
    let sandbox = three();
    let leaving =
        service(&json!({"status": "SHUTTING_DOWN", "message": "Shutting down: draining"}));
    let gone = api_error("not_found", "Service 'web' does not exist.");
    sandbox.on("GET /v1/services/web", &[(200, leaving), (404, gone)]);
    let output = sandbox.run(&["serve", "down", "web", "-y", "--wait=60"]);
    assert_eq!(output.code, 0, "{}", output.err);
    assert!(
        output.out.ends_with("✓ Service 'web' is gone.\n"),
        "{}",
        output.out
    );
    assert_eq!(output.err, "Shutting down: draining\n");
}

#[test]
fn one_replica_can_be_ended_and_waited_for() {
    let sandbox = three();
    let mut leaving = replica(2);
    leaving["status"] = json!("SHUTTING_DOWN");
    let before = service(&json!({}));
    let during = service(&json!({"replicas": [replica(1), leaving]}));
    let after = service(&json!({"replicas": [replica(1), replica(3)]}));
    let answers = [(200, before), (200, during), (200, after)];
    sandbox.on("GET /v1/services/web", &answers);
    let line = "POST /v1/services/web/replicas/2/terminate";
    sandbox.on(
        line,
        &[(202, json!({"message": "Replica 2 is scheduled."}))],
    );
    let arguments = ["serve", "down", "web", "--replica-id", "2", "--wait=60"];
    let output = sandbox.run_with_input(&arguments, "y\n");
    assert_eq!(output.code, 0, "{}", output.err);
    let question = "Terminating replica ID 2 in 'web'. Proceed? [Y/n]: ";
    assert!(output.out.starts_with(question), "{}", output.out);
    assert!(
        output.out.ends_with("✓ Replica 2 of 'web' is gone.\n"),
        "{}",
        output.out
    );
    assert_eq!(posts(&sandbox), [line]);
}

#[test]
fn exactly_one_of_names_and_all() {
    let sandbox = three();
    for arguments in [
        &["serve", "down", "-y"][..],
        &["serve", "down", "web", "--all"],
        &["serve", "down", "web", "other", "--replica-id", "1"],
    ] {
        let output = sandbox.run(arguments);
        assert_eq!(output.code, 2, "{arguments:?}");
        assert!(output.err.starts_with("Error: "), "{}", output.err);
    }
    assert!(sandbox.asked().is_empty());
}
