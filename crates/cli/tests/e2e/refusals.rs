//! What is refused: a clear message, an exit code, and nothing half-done.

use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::Installation;

use crate::app::{App, Network, is_root};

fn refused(sky: &Installation, arguments: &[&str], code: i32, words: &str) {
    let output = sky.run(arguments);
    assert_eq!(
        output.code, code,
        "sky {arguments:?}\n{}\n{}",
        output.out, output.err
    );
    let told = format!("{}{}", output.out, output.err);
    assert!(
        told.contains(words),
        "sky {arguments:?} does not say '{words}':\n{told}"
    );
    assert!(!told.contains("panicked"), "{told}");
}

#[test]
fn before_anything_exists() {
    let app = App::new(Network::Auto);
    let sky = &app.sky;
    let yaml = app.yaml("1", 1);
    refused(
        sky,
        &["serve", "status", "web"],
        1,
        "Service 'web' not found.",
    );
    assert!(
        sky.ok(&["serve", "status"])
            .out
            .contains("No existing services.")
    );
    refused(
        sky,
        &["serve", "down", "web", "-y"],
        1,
        "Service 'web' does not exist.",
    );
    refused(sky, &["serve", "down", "-y"], 2, "exactly one of the two");
    refused(
        sky,
        &["serve", "logs", "web", "1"],
        1,
        "Service 'web' does not exist.",
    );
    refused(
        sky,
        &["serve", "up", "nope.yaml"],
        1,
        "cannot read nope.yaml",
    );
    refused(sky, &["serve", "up", &yaml, "-n", "web"], 1, "pass --yes");
    refused(
        sky,
        &["serve", "status", "--endpoint"],
        2,
        "exactly one service name",
    );
    refused(sky, &["api", "status"], 1, "The server does not run.");
    assert!(
        !sky.home().join("state.db").exists(),
        "nothing was to be made"
    );
    refused(
        sky,
        &["serve", "update", "web", &yaml, "-y"],
        1,
        "Service 'web' does not exist.",
    );
    refused(
        sky,
        &["serve", "up", &yaml, "-n", "1web", "-y"],
        1,
        "must start with a letter",
    );
    refused(
        sky,
        &["serve", "update", "web", &yaml, "--mode", "green"],
        2,
        "rolling, blue_green",
    );
}

#[test]
fn a_wrong_yaml_changes_nothing() {
    let app = App::new(Network::Auto);
    let sky = &app.sky;
    let yaml = fs::read_to_string(sky.work().join(app.yaml("1", 1))).unwrap();
    let wrong =
        |from: &str, to: &str| fs::write(sky.work().join("wrong.yaml"), yaml.replace(from, to));
    wrong("replicas: 1", "replica: 1").unwrap();
    refused(sky, &["serve", "up", "wrong.yaml", "-y"], 1, "replicas");
    refused(sky, &["serve", "validate", "wrong.yaml"], 1, "wrong.yaml");
    wrong("ports: 8081", "ports: 99999").unwrap();
    refused(sky, &["serve", "up", "wrong.yaml", "-y"], 1, "99999");
    wrong("workdir: app", "workdir: nowhere").unwrap();
    refused(
        sky,
        &["serve", "up", "wrong.yaml", "-y"],
        1,
        "workdir 'nowhere' does not exist",
    );
    wrong("cpus: 1+", "cpus: 1+\n  infra: aws").unwrap();
    refused(
        sky,
        &["serve", "up", "wrong.yaml", "-n", "a", "-y"],
        1,
        "only 'local'",
    );
    fs::write(sky.work().join("bytes.yaml"), b"\xff\xfe\x00run: x").unwrap();
    refused(
        sky,
        &["serve", "validate", "bytes.yaml", "missing.yaml"],
        1,
        "missing.yaml",
    );
    assert!(
        sky.ok(&["serve", "status"])
            .out
            .contains("No existing services.")
    );
}

/// Makes a certificate for localhost and its key, `NAME.pem` and `NAME.key`; false where there is no `openssl`.
fn certificate(folder: &Path, name: &str) -> bool {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-subj", "/CN=localhost", "-keyout", &format!("{name}.key")])
        .args(["-out", &format!("{name}.pem")])
        .current_dir(folder)
        .output();
    made.is_ok_and(|output| output.status.success())
}

#[test]
fn tls_files_that_do_not_fit_change_nothing() {
    let app = App::new(Network::Auto);
    let sky = &app.sky;
    if !certificate(&sky.work(), "one") || !certificate(&sky.work(), "two") {
        println!("skipped: there is no openssl command here");
        return;
    }
    let plain = app.yaml("1", 1);
    let yaml = fs::read_to_string(sky.work().join(&plain)).unwrap();
    for (certificate, key, words) in [
        ("one.pem", "two.key", "does not belong to the certificate"),
        ("one.key", "one.key", "holds no certificate"),
        ("one.pem", "none.key", "'none.key' does not exist"),
    ] {
        let tls = format!("service:\n  tls: {{keyfile: {key}, certfile: {certificate}}}\n");
        let wrong = yaml.replacen("service:\n", &tls, 1);
        fs::write(sky.work().join("wrong.yaml"), wrong).unwrap();
        refused(
            sky,
            &["serve", "up", "wrong.yaml", "-n", "a", "-y"],
            1,
            words,
        );
    }
    let status = sky.ok(&["serve", "status"]).out;
    assert!(status.contains("No existing services."), "{status}");
    // An update that is refused has no number.
    app.up(1);
    let tls = "service:\n  tls: {keyfile: two.key, certfile: one.pem}\n";
    fs::write(
        sky.work().join("wrong.yaml"),
        yaml.replacen("service:\n", tls, 1),
    )
    .unwrap();
    let update = ["serve", "update", "web", "wrong.yaml", "-y"];
    refused(sky, &update, 1, "two.key' does not belong");
    let status = sky.ok(&["serve", "status", "web", "--json"]).out;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        (&status[0]["version"], &status[0]["tls_encrypted"]),
        (&1.into(), &false.into())
    );
}

#[test]
fn names_that_are_taken_and_services_that_go() {
    let app = App::new(Network::Auto);
    let sky = &app.sky;
    app.up(1);
    let yaml = app.yaml("1", 1);
    refused(
        sky,
        &["serve", "up", &yaml, "-n", "web", "-y"],
        1,
        "sky serve update web",
    );
    refused(
        sky,
        &["serve", "down", "web", "--replica-id", "9", "-y"],
        1,
        "no replica 9",
    );
    refused(sky, &["serve", "logs", "web", "9"], 1, "9");
    refused(sky, &["serve", "logs", "web"], 2, "say which log");
    // A stream in flight keeps the service from being gone at once.
    let endpoint = sky.ok(&["serve", "status", "web", "--endpoint"]).out;
    let stream = std::net::TcpStream::connect(endpoint.trim()).unwrap();
    let request = b"GET /stream?seconds=30 HTTP/1.1\r\nhost: web\r\n\r\n";
    std::io::Write::write_all(&mut &stream, request).unwrap();
    std::io::Read::read_exact(&mut &stream, &mut [0; 16]).unwrap();
    sky.ok(&["serve", "down", "web", "-y"]);
    refused(
        sky,
        &["serve", "update", "web", &yaml, "-y"],
        1,
        "shutting down",
    );
    refused(
        sky,
        &["serve", "up", &yaml, "-n", "web", "-y"],
        1,
        "still shutting down",
    );
    let status = sky.ok(&["serve", "status", "web"]).out;
    assert!(status.contains("SHUTTING_DOWN"), "{status}");
    sky.ok(&["serve", "down", "web", "-y", "--now", "--wait=30"]);
    assert!(
        sky.ok(&["serve", "status"])
            .out
            .contains("No existing services.")
    );
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let app = App::new(Network::Auto);
    let yaml = app.yaml("1", 1);
    // A file where the home should be: nobody, root included, can make a folder there.
    fs::write(app.sky.home(), "in the way").unwrap();
    refused(
        &app.sky,
        &["serve", "up", &yaml, "-y"],
        1,
        "cannot start the server",
    );
    fs::remove_file(app.sky.home()).unwrap();
    // A database that is none.
    fs::create_dir_all(app.sky.home()).unwrap();
    fs::write(
        app.sky.home().join("state.db"),
        "this is no database, and long enough to show it",
    )
    .unwrap();
    refused(
        &app.sky,
        &["serve", "up", &yaml, "-y"],
        1,
        "the server does not start",
    );
    fs::remove_file(app.sky.home().join("state.db")).unwrap();
}

#[test]
fn logs_come_down_and_secrets_stay_in() {
    let app = App::new(Network::Auto);
    let sky = &app.sky;
    let yaml = app.yaml_with(
        "1",
        1,
        "python3 app.py",
        "secrets:\n  TOKEN: hunter2-very-secret\n",
    );
    let up = sky.ok(&["serve", "up", &yaml, "-n", "web", "-y", "--wait=60"]);
    let status =
        sky.ok(&["serve", "status", "-v"]).out + &sky.ok(&["serve", "status", "--json"]).out;
    let synced = sky.ok(&["serve", "logs", "web", "--sync-down"]).out;
    let folder = synced
        .trim()
        .strip_prefix("Logs are in ")
        .expect(&synced)
        .to_owned();
    let replica = fs::read_to_string(format!("{folder}/replica-1.log")).unwrap();
    assert!(replica.contains("version 1 listens on port"), "{replica}");
    let mut everything = up.out + &up.err + &status + &replica;
    everything += &fs::read_to_string(format!("{folder}/controller.log")).unwrap();
    for entry in fs::read_dir(sky.home().join("logs")).unwrap() {
        everything += &fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
    }
    assert!(!everything.contains("hunter2"), "a secret was told");
    let tail = sky.ok(&["serve", "logs", "web", "1", "--tail", "1"]).out;
    assert_eq!(tail.lines().count(), 1, "{tail}");
}

/// Two replicas of a program that insists on its port run side by side where each has its own network.
#[test]
fn a_hard_coded_port_is_no_obstacle() {
    if !is_root() {
        println!("skipped: own networks need root here");
        return;
    }
    let app = App::new(Network::Auto);
    let yaml = app.yaml_with("1", 2, "unset PORT\nexec python3 app.py --port 8081", "");
    app.sky
        .ok(&["serve", "up", &yaml, "-n", "web", "-y", "--wait=60"]);
    let status = app.sky.ok(&["serve", "status"]).out;
    assert_eq!(status.matches(":8081 ").count(), 2, "{status}");
    assert!(status.contains("2/2"), "{status}");
}

/// Without root everything works too; replicas share the machine's network.
#[test]
fn without_root_a_service_comes_and_goes() {
    let python = std::path::Path::new("/usr/bin/python3").exists();
    let setpriv = std::process::Command::new("setpriv")
        .arg("--version")
        .output()
        .is_ok();
    if !is_root() || !setpriv || !python {
        println!("skipped: needs root, setpriv and /usr/bin/python3 to become somebody else");
        return;
    }
    let sky = Installation::as_nobody(env!("CARGO_BIN_EXE_sky"));
    let yaml = "service:\n  readiness_probe: /\n  replicas: 2\nresources:\n  ports: 8081\n\
                run: exec python3 -m http.server $PORT\n";
    fs::write(sky.work().join("task.yaml"), yaml).unwrap();
    sky.ok(&["serve", "up", "task.yaml", "-n", "web", "-y", "--wait=60"]);
    let log = sky.ok(&["serve", "logs", "web", "1", "--no-follow"]).out;
    assert!(log.contains("network: shared with this machine"), "{log}");
    sky.ok(&["serve", "down", "web", "-y", "--wait=60"]);
    assert!(
        sky.ok(&["serve", "status"])
            .out
            .contains("No existing services.")
    );
}
