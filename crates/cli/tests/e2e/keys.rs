//! API keys of a real service: made, listed, revoked, forgotten; kept over a restart of the server and nowhere in
//! clear. That the proxy heeds them is shown in the proxy's own tests.

use std::fs;
use std::path::Path;

use serde_json::Value;
use testkit::Installation;

use crate::app::{App, Network};

fn create(sky: &Installation, label: &str) -> String {
    let output = sky.ok(&["serve", "auth", "create", "web", "--name", label]);
    assert!(
        !output.err.contains("not confirmed"),
        "the proxy did not answer: {}",
        output.err
    );
    let key = output.out.lines().find(|line| line.starts_with("sky-"));
    let key = key
        .unwrap_or_else(|| panic!("no key: {}", output.out))
        .to_owned();
    assert_eq!(key.len(), 47, "{key}");
    assert_eq!(output.out.matches(&key).count(), 1, "{}", output.out);
    key
}

fn list(sky: &Installation) -> Value {
    let output = sky.ok(&["serve", "auth", "list", "web", "--json"]);
    serde_json::from_str(&output.out).expect("JSON")
}

/// How many keys are listed, how many of those are revoked, and whether one is asked for.
fn counts(sky: &Installation) -> (usize, usize, bool) {
    let list = list(sky);
    let keys = list["keys"].as_array().expect("an array");
    let revoked = keys.iter().filter(|key| !key["revoked_at"].is_null());
    (keys.len(), revoked.count(), list["required"] == true)
}

/// Files below a folder that hold a text.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        if kind.as_ref().is_ok_and(fs::FileType::is_dir) {
            found.extend(holding(&path, text));
        } else if kind.is_ok_and(|kind| kind.is_file()) {
            let bytes = fs::read(&path).unwrap_or_default();
            let there = bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes());
            found.extend(there.then(|| path.display().to_string()));
        }
    }
    found
}

#[test]
fn a_life_of_keys() {
    let app = App::new(Network::Auto);
    let sky = &app.sky;
    let yaml = app.yaml("1", 1);
    sky.ok(&["serve", "up", &yaml, "-n", "web", "-y"]);
    assert_eq!(counts(sky), (0, 0, false));
    let keys = [create(sky, "ci"), create(sky, "laptop")];
    assert_eq!(counts(sky), (2, 0, true));
    assert_eq!(list(sky)["keys"][0]["name"], "ci");
    // Both the database and the proxy's copy of the table know hashes only.
    for key in &keys {
        let found = holding(&sky.home(), key);
        assert!(found.is_empty(), "a key lies in {found:?}");
    }
    let id = list(sky)["keys"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    sky.ok(&["serve", "auth", "revoke", "web", &id]);
    assert_eq!(counts(sky), (2, 1, true));
    sky.ok(&["api", "stop"]);
    assert_eq!(counts(sky), (2, 1, true));
    // An update that says nothing of keys leaves them as they are; one that asks for them forbids to forget them.
    sky.ok(&["serve", "update", "web", &yaml, "-y"]);
    assert_eq!(counts(sky), (2, 1, true));
    let asking = fs::read_to_string(sky.work().join(&yaml)).expect("a YAML");
    let asking = asking.replacen("service:\n", "service:\n  auth: api_key\n", 1);
    fs::write(sky.work().join("asking.yaml"), asking).expect("a file");
    sky.ok(&["serve", "update", "web", "asking.yaml", "-y"]);
    let refused = sky.run(&["serve", "auth", "disable", "web", "-y"]);
    assert_eq!(refused.code, 1, "{}", refused.out);
    assert!(
        refused.err.contains("service.auth: api_key"),
        "{}",
        refused.err
    );
    sky.ok(&["serve", "update", "web", &yaml, "-y"]);
    sky.ok(&["serve", "auth", "disable", "web", "-y"]);
    assert_eq!(counts(sky), (0, 0, false));
    // Whoever takes the name later does not inherit them.
    create(sky, "last");
    sky.ok(&["serve", "down", "web", "-y", "--wait"]);
    sky.ok(&["serve", "up", &yaml, "-n", "web", "-y"]);
    assert_eq!(counts(sky), (0, 0, false));
}

#[test]
fn a_key_of_a_service_that_is_not_there() {
    let app = App::new(Network::Auto);
    for arguments in [
        &["serve", "auth", "create", "web"][..],
        &["serve", "auth", "list", "web"],
        &["serve", "auth", "revoke", "web", "k-1"],
        &["serve", "auth", "disable", "web", "-y"],
    ] {
        let output = app.sky.run(arguments);
        assert_eq!(output.code, 1, "{arguments:?}");
        let expected = "Error: Service 'web' does not exist.\n";
        assert_eq!(output.err, expected, "{arguments:?}");
    }
}
