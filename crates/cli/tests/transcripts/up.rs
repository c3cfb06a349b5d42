//! `sky serve up`.

use serde_json::json;

use crate::fake_server::{Sandbox, TASK, api_error, service};

fn accepting() -> Sandbox {
    let sandbox = Sandbox::new();
    let answer = json!({"name": "web", "endpoint": "127.0.0.1:30001", "version": 1});
    sandbox.on("POST /v1/services", &[(202, answer)]);
    sandbox
}

#[test]
fn says_what_will_run_and_where_it_is() {
    let sandbox = accepting();
    let output = sandbox.run(&["serve", "up", "task.yaml", "-n", "web", "-y"]);
    assert_eq!(output.code, 0, "{}", output.err);
    assert_eq!(output.err, "");
    let expected = "\
YAML to run: task.yaml
Service spec:
Readiness probe method:           GET /health
Readiness initial delay seconds:  1200
Readiness probe timeout seconds:  15
Replica autoscaling policy:       Fixed 2 replicas
TLS Certificates:                 No TLS Enabled
Spot Policy:                      No spot policy
Load Balancing Policy:            least_load

Each replica will use the following resources (estimated):
INFRA  INSTANCE  vCPUs  Mem(GB)  GPUS  COST ($)  CHOSEN  
Local  -         2      -        -     0.00      ✔       


Service name: web
Endpoint URL: http://127.0.0.1:30001
📋 Useful Commands
├── To check service status:\tsky serve status web [--endpoint]
├── To teardown the service:\tsky serve down web
├── To see replica logs:\tsky serve logs web [REPLICA_ID]
├── To see load balancer logs:\tsky serve logs --load-balancer web
├── To see controller logs:\tsky serve logs --controller web
├── To monitor the status:\tsky serve status web --watch
└── To send a test request:\tcurl http://127.0.0.1:30001

✓ Service is spinning up and replicas will be ready shortly.
";
    assert_eq!(output.out, expected);
    let asked = sandbox.asked();
    let [request] = asked.as_slice() else {
        panic!("one request, not {asked:?}");
    };
    assert_eq!(request.body["name"], "web");
    assert_eq!(request.body["yaml"], TASK);
    let here = sandbox.path().canonicalize().expect("a folder");
    assert_eq!(request.body["base_dir"], here.to_str().expect("text"));
}

#[test]
fn asks_before_it_does_anything() {
    for (input, code, requests) in [("y\n", 0, 1), ("\n", 0, 1), ("n\n", 1, 0), ("", 1, 0)] {
        let sandbox = accepting();
        let output = sandbox.run_with_input(&["serve", "up", "task.yaml", "-n", "web"], input);
        assert_eq!(output.code, code, "{input:?}: {}", output.err);
        let question = "Launching a new service 'web'. Proceed? [Y/n]: ";
        assert!(output.out.contains(question), "{}", output.out);
        assert_eq!(sandbox.asked().len(), requests, "{input:?}");
        if input.is_empty() {
            assert!(output.err.contains("-y"), "{}", output.err);
        }
    }
}

#[test]
fn a_service_without_a_name_gets_one() {
    let sandbox = accepting();
    assert_eq!(sandbox.run(&["serve", "up", "task.yaml", "-y"]).code, 0);
    let asked = sandbox.asked();
    let name = asked[0].body["name"].as_str().expect("a name");
    let digits = name.strip_prefix("sky-service-").expect(name);
    assert_eq!(digits.len(), 4, "{name}");
    assert!(
        digits.chars().all(|digit| digit.is_ascii_hexdigit()),
        "{name}"
    );
}

#[test]
fn options_replace_fields_and_secrets_are_not_shown() {
    let sandbox = accepting();
    std::fs::write(sandbox.path().join(".env"), "A=file\nB=file\n").expect("a file");
    let output = sandbox.run(&[
        "serve",
        "up",
        "task.yaml",
        "-n",
        "web",
        "-y",
        "--cpus",
        "4",
        "--memory",
        "8+",
        "--env",
        "A=flag",
        "--env-file",
        ".env",
        "--secret",
        "TOKEN=hunter2",
    ]);
    assert_eq!(output.code, 0, "{}", output.err);
    assert!(
        output.out.contains("Local  -         4      8 "),
        "{}",
        output.out
    );
    assert!(
        !format!("{output:?}").contains("hunter2"),
        "a secret was shown"
    );
    let task = &sandbox.asked()[0].body["task"];
    assert_eq!(task["envs"], json!({"A": "flag", "B": "file"}));
    assert_eq!(task["secrets"]["TOKEN"], "hunter2");
}

#[test]
fn a_refusal_is_one_line_and_exit_code_1() {
    let sandbox = Sandbox::new();
    let refusal = api_error("conflict", "there is a service named 'web' already");
    sandbox.on("POST /v1/services", &[(409, refusal)]);
    let output = sandbox.run(&["serve", "up", "task.yaml", "-n", "web", "-y"]);
    assert_eq!(output.code, 1);
    assert_eq!(
        output.err,
        "Error: there is a service named 'web' already\n"
    );
}

#[test]
fn wait_follows_until_every_replica_serves() {
    let sandbox = accepting();
    let coming = |ready: u32, revision: u32, seconds: u32| {
        let message = format!(
            "{ready} of 2 replicas ready, waiting for replica 2: starting, {seconds}s of 1200s"
        );
        (
            200,
            service(&json!({
                "status": if ready == 0 { "REPLICA_INIT" } else { "READY" }, "ready_replicas": ready,
                "revision": revision, "message": message,
            })),
        )
    };
    let answers = [
        coming(0, 1, 1),
        coming(0, 1, 2),
        coming(1, 2, 3),
        (200, service(&json!({}))),
    ];
    sandbox.on("GET /v1/services/web", &answers);
    let output = sandbox.run(&["serve", "up", "task.yaml", "-n", "web", "-y", "--wait=60"]);
    assert_eq!(output.code, 0, "{}", output.err);
    let last = "✓ Service 'web' is ready (2 of 2 replicas ready).\n";
    assert!(output.out.ends_with(last), "{}", output.out);
    // A line for each change; a second that passes is none.
    let told: Vec<&str> = output.err.lines().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("0 of 2") && told[1].starts_with("1 of 2"),
        "{told:?}"
    );
    // The first look has seen nothing; each other waits for what comes after the one before.
    let asked = sandbox.asked();
    assert_eq!(asked[1].line, "GET /v1/services/web");
    assert!(asked[2].line.contains("after=1&"), "{}", asked[2].line);
    assert!(asked[4].line.contains("after=2&"), "{}", asked[4].line);
}

#[test]
fn wait_ends_with_the_reason_of_a_failure() {
    let sandbox = accepting();
    let failed = service(&json!({
        "status": "FAILED", "ready_replicas": 0, "message": "replica 1: setup exited with code 3",
    }));
    sandbox.on("GET /v1/services/web", &[(200, failed)]);
    let output = sandbox.run(&["serve", "up", "task.yaml", "-n", "web", "-y", "--wait"]);
    assert_eq!(output.code, 1);
    assert_eq!(output.err, "Error: replica 1: setup exited with code 3\n");
}

#[test]
fn wait_gives_up_in_time_and_says_what_for() {
    let sandbox = accepting();
    let waiting = service(&json!({
        "status": "REPLICA_INIT", "ready_replicas": 0, "message": "waiting for replica 1: starting",
    }));
    sandbox.on("GET /v1/services/web", &[(200, waiting)]);
    let output = sandbox.run(&["serve", "up", "task.yaml", "-n", "web", "-y", "--wait=0"]);
    assert_eq!(output.code, 1);
    assert!(
        output
            .err
            .contains("not done after 0s: waiting for replica 1"),
        "{}",
        output.err
    );
}

#[test]
fn a_service_on_its_way_out_is_not_ready() {
    let sandbox = accepting();
    let leaving = service(&json!({"status": "SHUTTING_DOWN", "target_replicas": 0}));
    sandbox.on("GET /v1/services/web", &[(200, leaving)]);
    let output = sandbox.run(&["serve", "up", "task.yaml", "-n", "web", "-y", "--wait"]);
    assert_eq!(output.code, 1, "{}", output.out);
    assert_eq!(output.err, "Error: SHUTTING_DOWN\n");
}

#[test]
fn an_endpoint_that_asks_for_keys_says_how_to_make_one() {
    let sandbox = accepting();
    let asking = TASK.replacen("service:\n", "service:\n  auth: api_key\n", 1);
    std::fs::write(sandbox.path().join("task.yaml"), asking).expect("a file");
    let output = sandbox.run(&["serve", "up", "task.yaml", "-n", "web", "-y"]);
    assert_eq!(output.code, 0, "{}", output.err);
    let expected = "\
├── To make an API key:\tsky serve auth create web
└── To send a test request:\tcurl -H \"Authorization: Bearer KEY\" http://127.0.0.1:30001
";
    assert!(output.out.contains(expected), "{}", output.out);
}

#[test]
fn the_files_of_tls_are_sent_with_their_full_path() {
    let sandbox = accepting();
    let tls = "service:\n  tls: {keyfile: ~/tls/key.pem, certfile: tls/cert.pem}\n";
    let task = TASK.replacen("service:\n", tls, 1);
    std::fs::write(sandbox.path().join("task.yaml"), task).expect("a file");
    let arguments = ["serve", "up", "task.yaml", "-n", "web", "-y"];
    let output = sandbox.run(&arguments);
    assert_eq!(output.code, 1, "{}", output.out);
    let missing = "Error: the TLS file '~/tls/key.pem' does not exist (";
    assert!(output.err.starts_with(missing), "{}", output.err);
    assert!(sandbox.asked().is_empty());
    std::fs::create_dir(sandbox.path().join("tls")).expect("a folder");
    for file in ["tls/key.pem", "tls/cert.pem"] {
        std::fs::write(sandbox.path().join(file), "").expect("a file");
    }
    let output = sandbox.run(&arguments);
    assert_eq!(output.code, 0, "{}", output.err);
    assert!(
        output.out.contains("curl https://127.0.0.1"),
        "{}",
        output.out
    );
    let asked = sandbox.asked();
    let sent = &asked[0].body["task"]["service"]["tls"];
    // The home is the sandbox; where the command stands has its symbolic links resolved.
    let home = sandbox.path().join("tls/key.pem");
    assert_eq!(sent["keyfile"], home.to_str().expect("text"));
    let here = sandbox.path().canonicalize().expect("a folder");
    let here = here.join("tls/cert.pem");
    assert_eq!(sent["certfile"], here.to_str().expect("text"));
}
