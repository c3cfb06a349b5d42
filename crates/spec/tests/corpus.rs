//! Agreement with SkyPilot 0.14.1 on real files and on files with one mistake each.
//!
//! The corpus lies beside the workspace and is not part of it; without it these tests say so and
//! pass. Where we differ on purpose the file stands in [`DIFFERENCES`] with the id of a reason, and
//! `docs/differences.md` explains it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use spec::{Checked, Overrides, Purpose, SourceText, check_task};

/// Files that the oracle accepts and we reject, each with the id of its reason.
const DIFFERENCES: &[(&str, &str)] = &[
    ("010_replicas_huge.yaml", "replicas-bounded"),
    ("011_replicas_i64max_plus1.yaml", "replicas-bounded"),
    ("039_qps_zero.yaml", "qps-positive"),
    ("042_qps_inf.yaml", "finite-numbers"),
    ("052_qps_dict_empty.yaml", "qps-positive"),
    ("089_probe_delay_negative.yaml", "no-negative-times"),
    ("091_probe_timeout_zero.yaml", "no-negative-times"),
    ("100_probe_interval_zero.yaml", "no-negative-times"),
    ("101_probe_interval_negative.yaml", "no-negative-times"),
    ("147_lbsec_negative.yaml", "no-negative-times"),
    ("194_deep_nesting.yaml", "env-scalars"),
    ("230_cpus_nan.yaml", "finite-numbers"),
    ("231_cpus_inf_plus.yaml", "finite-numbers"),
];

struct Case {
    name: String,
    text: Vec<u8>,
    verdict: Json,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/spec")
        .to_owned()
}

fn cases(folder: &str) -> Option<Vec<Case>> {
    let folder = workspace().join("../shared/corpus").join(folder);
    let Ok(text) = fs::read_to_string(folder.join("verdicts.json")) else {
        println!("skipped: there is no corpus at {}", folder.display());
        return None;
    };
    let verdicts: serde_json::Map<String, Json> =
        serde_json::from_str(&text).expect("verdicts.json is a JSON object");
    Some(
        verdicts
            .into_iter()
            .map(|(name, verdict)| {
                let text = fs::read(folder.join(&name)).expect("a file of the corpus");
                Case {
                    name,
                    text,
                    verdict,
                }
            })
            .collect(),
    )
}

fn check(case: &Case) -> (SourceText, Checked) {
    let source = SourceText::new(case.name.clone(), case.text.clone());
    let mut overrides = Overrides {
        name: Some("svc".into()),
        ..Overrides::default()
    };
    let checked = check_task(&source, &overrides, Purpose::Service);
    if case.verdict["verdict"] != "accepted-with-envs" {
        return (source, checked);
    }
    // The file names variables without a value: give each the oracle's.
    for diagnostic in &checked.diagnostics {
        assert_eq!(
            diagnostic.code, "env-without-value",
            "{}: {diagnostic:?}",
            case.name
        );
        let name = diagnostic.message.split('`').nth(1).expect("a quoted name");
        overrides
            .envs
            .push((name.to_owned(), "oracle-dummy".to_owned()));
    }
    let checked = check_task(&source, &overrides, Purpose::Service);
    (source, checked)
}

/// Equal, where `5` and `5.0` are.
fn same(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Number(left), Json::Number(right)) => left.as_f64() == right.as_f64(),
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| same(left, right))
        }
        (Json::Object(left), Json::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, value)| right.get(key).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}

/// What differs between our report and the oracle's, as `key: ours / theirs`.
fn differences(ours: &Json, theirs: &Json) -> Vec<String> {
    let (Some(ours), Some(theirs)) = (ours.as_object(), theirs.as_object()) else {
        return if theirs.is_null() {
            Vec::new()
        } else {
            vec![format!("{ours} / {theirs}")]
        };
    };
    let mut found = Vec::new();
    for (key, value) in theirs {
        let mine = ours
            .get(key)
            .cloned()
            .unwrap_or_else(|| Json::from("(absent)"));
        let (mine, value) = if key == "resources" && theirs["resources_kind"] == "any_of" {
            (sorted(&mine), sorted(value))
        } else {
            (mine, value.clone())
        };
        if !same(&mine, &value) {
            found.push(format!("{key}: {mine} / {value}"));
        }
    }
    found
}

fn sorted(list: &Json) -> Json {
    let mut items = list.as_array().cloned().unwrap_or_default();
    items.sort_by_cached_key(Json::to_string);
    Json::Array(items)
}

#[derive(Default)]
struct Agreement {
    verdicts: usize,
    files: usize,
    services: usize,
    accepted: usize,
    tasks: usize,
    deliberate: usize,
    problems: Vec<String>,
}

impl Agreement {
    fn add(&mut self, case: &Case) {
        self.files += 1;
        let (source, checked) = check(case);
        let report = checked.report(&source);
        let theirs = case.verdict["verdict"].as_str().expect("a verdict");
        let accept = theirs != "rejected";
        let reason = DIFFERENCES.iter().find(|(name, _)| *name == case.name);
        if (report["verdict"] == "accepted") != accept {
            match reason {
                Some(_) if accept => self.deliberate += 1,
                _ => self.problems.push(format!(
                    "{}: we say {} where the oracle says {theirs} ({}): {}",
                    case.name, report["verdict"], case.verdict["why"], report["diagnostics"]
                )),
            }
            return;
        }
        self.verdicts += 1;
        if let Some((_, reason)) = reason {
            self.problems
                .push(format!("{}: {reason} is no difference", case.name));
        }
        if !accept {
            self.check_places(case, &source, &checked);
            return;
        }
        self.accepted += 1;
        let service = differences(&report["service"], &case.verdict["service"]);
        let oracle_task = if case.verdict["task"].get("error").is_some() {
            &Json::Null
        } else {
            &case.verdict["task"]
        };
        let task = differences(&report["task"], oracle_task);
        self.services += usize::from(service.is_empty());
        self.tasks += usize::from(task.is_empty());
        for difference in service.into_iter().chain(task) {
            self.problems.push(format!("{}: {difference}", case.name));
        }
    }

    /// Every error stands inside the file and can be shown.
    fn check_places(&mut self, case: &Case, source: &SourceText, checked: &Checked) {
        let text = String::from_utf8_lossy(&case.text);
        let lines = text.lines().count() + 1;
        for diagnostic in &checked.diagnostics {
            if diagnostic.line == 0 || diagnostic.line > lines || diagnostic.column == 0 {
                self.problems
                    .push(format!("{}: {diagnostic:?} is outside the file", case.name));
            }
            assert!(diagnostic.render(source, false).contains(diagnostic.code));
        }
    }

    fn finish(self, folder: &str) {
        println!(
            "agreement on {folder}: {} of {} verdicts, {} of {} services, {} of {} tasks; \
             {} deliberate differences",
            self.verdicts,
            self.files,
            self.services,
            self.accepted,
            self.tasks,
            self.accepted,
            self.deliberate
        );
        assert!(self.problems.is_empty(), "{}", self.problems.join("\n"));
    }
}

fn agreement(folder: &str) {
    let Some(cases) = cases(folder) else { return };
    let mut agreement = Agreement::default();
    cases.iter().for_each(|case| agreement.add(case));
    agreement.finish(folder);
}

#[test]
fn real_files_mean_what_they_mean_to_skyserve() {
    agreement("task-yaml");
}

#[test]
fn files_with_a_mistake_are_judged_as_skyserve_judges_them() {
    agreement("invalid-yaml");
}

#[test]
fn each_difference_is_documented() {
    let path = workspace().join("docs/differences.md");
    let text = fs::read_to_string(&path).expect("docs/differences.md");
    for (file, reason) in DIFFERENCES {
        let documented = text.contains(&format!("`{reason}`"));
        assert!(
            documented,
            "{reason} (of {file}) is not in docs/differences.md"
        );
    }
}

/// The canonical form of every accepted file is a file that means the same.
#[test]
fn canonical_forms_of_real_files_read_back() {
    let Some(cases) = cases("task-yaml") else {
        return;
    };
    for case in &cases {
        let Some(task) = check(case).1.task else {
            continue;
        };
        let canonical = task.canonical();
        let source = SourceText::new("canonical", canonical.to_string());
        let again = check_task(&source, &Overrides::default(), Purpose::Service);
        let again = again
            .task
            .unwrap_or_else(|| panic!("{}: {:?}", case.name, again.diagnostics));
        assert_eq!(again.canonical(), canonical, "{}", case.name);
    }
}
