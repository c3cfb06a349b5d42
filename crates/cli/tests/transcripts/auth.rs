//! `sky serve auth …`.

use serde_json::{Value, json};

use crate::fake_server::{Output, Sandbox, api_error, service};

/// A server with the service `web`.
fn with_web(changes: &Value) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.on("GET /v1/services/web", &[(200, service(changes))]);
    sandbox
}

fn created(first: bool, in_force: bool) -> Value {
    json!({"id": "k-0a1b2c", "key": "sky-SECRET", "first": first, "in_force": in_force})
}

/// What was asked, but for looking at the service.
fn asked(sandbox: &Sandbox) -> Vec<String> {
    let asked = sandbox.asked().into_iter().map(|asked| asked.line);
    asked
        .filter(|line| line != "GET /v1/services/web")
        .collect()
}

fn ok(output: &Output, expected: &str) {
    assert_eq!((output.code, output.err.as_str()), (0, ""), "{output:?}");
    assert_eq!(output.out, expected);
}

#[test]
fn a_new_key_is_shown_once_with_how_to_use_it() {
    let sandbox = with_web(&json!({}));
    sandbox.on(
        "POST /v1/services/web/keys",
        &[(200, created(true, true)), (200, created(false, true))],
    );
    let expected = "\
API key k-0a1b2c of service 'web', shown only this once:

sky-SECRET

To use it, put it in place of KEY:
curl -H \"Authorization: Bearer KEY\" http://127.0.0.1:30001
";
    let first = "\nFrom now on the endpoint refuses requests without a key (401).\n";
    let output = sandbox.run(&["serve", "auth", "create", "web", "--name", "ci"]);
    ok(&output, &format!("{expected}{first}"));
    ok(&sandbox.run(&["serve", "auth", "create", "web"]), expected);
    let bodies: Vec<Value> = sandbox
        .asked()
        .into_iter()
        .filter(|asked| asked.line.starts_with("POST"))
        .map(|asked| asked.body)
        .collect();
    assert_eq!(bodies, [json!({"name": "ci"}), json!({"name": ""})]);
}

#[test]
fn a_key_that_does_not_act_yet_is_shown_all_the_same() {
    let sandbox = with_web(&json!({"tls_encrypted": true}));
    sandbox.on(
        "POST /v1/services/web/keys",
        &[(200, created(false, false))],
    );
    let output = sandbox.run(&["serve", "auth", "create", "web"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.out.contains("sky-SECRET"), "{}", output.out);
    assert!(
        output.out.contains(" https://127.0.0.1:30001\n"),
        "{}",
        output.out
    );
    assert!(
        output.err.contains("has not confirmed it yet"),
        "{}",
        output.err
    );
    assert!(!output.err.contains("SECRET"), "{}", output.err);
}

#[test]
fn keys_are_listed_without_themselves() {
    let sandbox = with_web(&json!({}));
    let keys = json!({"required": true, "keys": [
        {"id": "k-0a1b2c", "name": "ci", "created_at": 0.0, "revoked_at": null},
        {"id": "k-ffffff", "name": "", "created_at": 0.0, "revoked_at": 1.0},
    ]});
    sandbox.on("GET /v1/services/web/keys", &[(200, keys.clone())]);
    let output = sandbox.run(&["serve", "auth", "list", "web"]);
    assert_eq!(output.code, 0, "{output:?}");
    let rows: Vec<Vec<&str>> = output
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["ID", "NAME", "CREATED", "STATUS"]);
    assert_eq!(
        (rows[1][0], rows[1][1], rows[1].last()),
        ("k-0a1b2c", "ci", Some(&"ACTIVE"))
    );
    assert_eq!(
        (rows[2][0], rows[2][1], rows[2].last()),
        ("k-ffffff", "-", Some(&"REVOKED"))
    );
    assert_eq!(rows.len(), 3);
    let output = sandbox.run(&["serve", "auth", "list", "web", "--json"]);
    let printed: Value = serde_json::from_str(&output.out).expect("JSON");
    assert_eq!(printed, keys);
}

#[test]
fn a_key_is_revoked_by_its_id() {
    let sandbox = with_web(&json!({}));
    let done =
        json!({"message": "API key k-0a1b2c of service 'web' is revoked.", "in_force": true});
    sandbox.on("DELETE /v1/services/web/keys/k-0a1b2c", &[(200, done)]);
    let output = sandbox.run(&["serve", "auth", "revoke", "web", "k-0a1b2c"]);
    ok(&output, "API key k-0a1b2c of service 'web' is revoked.\n");
    let unknown = api_error("not_found", "Service 'web' has no API key 'k-1'.");
    sandbox.on("DELETE /v1/services/web/keys/k-1", &[(404, unknown)]);
    let output = sandbox.run(&["serve", "auth", "revoke", "web", "k-1"]);
    assert_eq!(output.code, 1);
    assert_eq!(output.err, "Error: Service 'web' has no API key 'k-1'.\n");
}

#[test]
fn the_endpoint_is_opened_only_to_who_says_so() {
    let sandbox = with_web(&json!({}));
    let done = json!({"message": "All API keys of service 'web' are forgotten.", "in_force": true});
    sandbox.on("DELETE /v1/services/web/keys", &[(200, done)]);
    for input in ["n\n", ""] {
        let output = sandbox.run_with_input(&["serve", "auth", "disable", "web"], input);
        assert_eq!(output.code, 1, "{output:?}");
        let question =
            "Forgetting all API keys of 'web' and opening its endpoint to everyone. Proceed? [Y/n]";
        assert!(output.out.contains(question), "{}", output.out);
    }
    assert!(asked(&sandbox).is_empty(), "{:?}", asked(&sandbox));
    let output = sandbox.run(&["serve", "auth", "disable", "web", "-y"]);
    ok(&output, "All API keys of service 'web' are forgotten.\n");
    assert_eq!(asked(&sandbox), ["DELETE /v1/services/web/keys"]);
}

#[test]
fn what_the_server_refuses_is_one_line() {
    let sandbox = with_web(&json!({}));
    let conflict = api_error("conflict", "The YAML of service 'web' asks for API keys.");
    sandbox.on("DELETE /v1/services/web/keys", &[(409, conflict)]);
    let output = sandbox.run(&["serve", "auth", "disable", "web", "-y"]);
    assert_eq!(output.code, 1);
    assert_eq!(
        output.err,
        "Error: The YAML of service 'web' asks for API keys.\n"
    );
    let missing = api_error("not_found", "Service 'no' does not exist.");
    sandbox.on("GET /v1/services/no", &[(404, missing)]);
    let output = sandbox.run(&["serve", "auth", "create", "no"]);
    assert_eq!(output.code, 1);
    assert_eq!(output.err, "Error: Service 'no' does not exist.\n");
    assert_eq!(
        sandbox.run(&["serve", "auth", "create"]).code,
        2,
        "no name was given"
    );
}
