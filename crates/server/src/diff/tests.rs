use spec::{Overrides, Purpose, SourceText, check_task};
use store::VersionFiles;

use super::*;

/// A version as its YAML says, with these digests of its workdir and its mount.
fn version(yaml: &str, workdir: &str, mount: &str) -> VersionRecord {
    let source = SourceText::new("task.yaml", yaml.as_bytes().to_vec());
    let checked = check_task(&source, &Overrides::default(), Purpose::Service);
    let source = |digest: &str| FileSource {
        digest: digest.repeat(16),
    };
    VersionRecord {
        version: 1,
        task: checked
            .task
            .unwrap_or_else(|| panic!("{:?}", checked.diagnostics)),
        yaml: yaml.to_owned(),
        files: VersionFiles {
            workdir: Some(source(workdir)),
            mounts: vec![("/data".to_owned(), source(mount))],
        },
    }
}

const OLD: &str = "
service:
  readiness_probe: {path: /health, headers: {X-Token: probe-secret-1}}
  replicas: 2
resources: {ports: 8081, cpus: 2+}
workdir: .
file_mounts: {/data: ./data}
envs: {MODEL: small, DB_PASSWORD: pass-1, OLD: x, COPY: s3cret-value}
secrets: {TOKEN: s3cret-value}
run: python3 app.py --token s3cret-value
";
const NEW: &str = "
service:
  readiness_probe: {path: /health, headers: {X-Token: probe-secret-2}}
  replicas: 3
  update: {mode: canary, canary: {steps: [{weight: 5, pause_seconds: 60}], header: {name: X-Canary, value: value-of-the-header}}}
resources: {ports: 8081, cpus: 2+}
workdir: .
file_mounts: {/data: ./data}
envs: {MODEL: large, DB_PASSWORD: pass-2, COPY: an0ther-value, NEW: y}
secrets: {TOKEN: an0ther-value}
run: python3 app.py --token an0ther-value
";

fn shown(changes: &[Change]) -> Vec<String> {
    let value = |value: &Option<Json>| value.as_ref().map_or("-".to_owned(), Json::to_string);
    changes
        .iter()
        .map(|change| {
            let (old, new) = (value(&change.old), value(&change.new));
            let hidden = if change.hidden { " (hidden)" } else { "" };
            format!("{:?} {} {old} {new}{hidden}", change.kind, change.path)
        })
        .collect()
}

#[test]
fn every_field_that_differs_is_named_and_no_secret_is_shown() {
    let changes = compare(&version(OLD, "a", "b"), &version(NEW, "c", "b"), false);
    let expected = [
        "Changed envs.COPY - - (hidden)",
        "Changed envs.DB_PASSWORD - - (hidden)",
        "Changed envs.MODEL \"small\" \"large\"",
        "Added envs.NEW - \"y\"",
        "Removed envs.OLD \"x\" -",
        // Only the secret in it differs: that it does is said, the secret is not.
        "Changed run \"python3 app.py --token ***\" \"python3 app.py --token ***\"",
        "Changed secrets.TOKEN - - (hidden)",
        "Changed service.readiness_probe.headers.X-Token - - (hidden)",
        "Changed service.replica_policy.min_replicas 2 3",
        "Added service.update.canary.header.name - \"x-canary\"",
        "Added service.update.canary.header.value - - (hidden)",
        "Added service.update.canary.steps - [{\"pause_seconds\":60,\"weight\":5}]",
        "Added service.update.mode - \"canary\"",
        "Changed workdir (content) \"aaaaaaaaaaaa\" \"cccccccccccc\"",
    ];
    assert_eq!(shown(&changes), expected);
    let json = serde_json::to_string(&changes).unwrap();
    for secret in [
        "s3cret",
        "an0ther",
        "pass-",
        "probe-secret",
        "value-of-the-header",
    ] {
        assert!(!json.contains(secret), "{secret} is told: {json}");
    }
}

#[test]
fn another_spelling_of_the_same_task_differs_in_nothing() {
    let other = "
run: >-
  python3 app.py --token s3cret-value
secrets: {TOKEN: s3cret-value}
envs: {COPY: s3cret-value, OLD: x, DB_PASSWORD: pass-1, MODEL: small}   # sorted otherwise
file_mounts: {/data: ./data}
workdir: .
resources: {ports: 8081, cpus: 2+}
service:
  replicas: 2
  readiness_probe:
    path: /health
    headers: {X-Token: probe-secret-1}
";
    assert!(compare(&version(OLD, "a", "b"), &version(other, "a", "b"), true).is_empty());
}

#[test]
fn files_differ_by_their_content_unless_it_does_not_count() {
    let (old, new) = (version(OLD, "a", "b"), version(OLD, "c", "d"));
    let expected = [
        "Changed workdir (content) \"aaaaaaaaaaaa\" \"cccccccccccc\"",
        "Changed file_mounts[\"/data\"] (content) \"bbbbbbbbbbbb\" \"dddddddddddd\"",
    ];
    assert_eq!(shown(&compare(&old, &new, false)), expected);
    assert!(compare(&old, &new, true).is_empty());
}

#[test]
fn lists_are_compared_item_by_item() {
    let step = |steps: &str| {
        let canary = format!("  update: {{canary: {{steps: [{steps}]}}}}\nresources:");
        version(&OLD.replace("resources:", &canary), "a", "b")
    };
    let old = step("{weight: 5, pause_seconds: 60}");
    let new = step("{weight: 10, pause_seconds: 60}, {weight: 50, until: promoted}");
    let expected = [
        "Changed service.update.canary.steps[0].weight 5 10",
        "Added service.update.canary.steps[1].until - \"promoted\"",
        "Added service.update.canary.steps[1].weight - 50",
    ];
    assert_eq!(shown(&compare(&old, &new, true)), expected);
}
