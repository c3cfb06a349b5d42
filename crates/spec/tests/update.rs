//! `service.update`: what each field takes, what it refuses and why, what is left of it in canonical form, and that
//! none of it makes a new replica.

mod support;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use spec::{
    Amount, Analysis, Canary, CanaryMatch, CanaryStep, FilesDigest, Overrides, Purpose,
    ServiceSpec, SourceText, StepEnd, Surge, Update, UpdateMode, Verify, check_task,
};

use support::{REST, check, service, task};

fn update(fields: &str) -> Update {
    service(&format!("{{update: {{{fields}}}}}")).update
}

/// `code: message` of the one finding.
fn finding(fields: &str) -> String {
    let diagnostics = check(&format!("{{update: {{{fields}}}}}")).diagnostics;
    let [diagnostic] = diagnostics.as_slice() else {
        panic!("{fields}: one finding, not {diagnostics:#?}");
    };
    format!("{}: {}", diagnostic.code, diagnostic.message)
}

#[test]
fn what_is_not_written_has_the_default_of_the_documentation() {
    let default = Update {
        mode: None,
        max_surge: Surge::Amount(Amount::Percent(100.0)),
        max_unavailable: Amount::Count(0),
        min_healthy_seconds: 10.0,
        progress_deadline_seconds: None,
        drain_timeout_seconds: 600.0,
        auto_rollback: true,
        undo_window_seconds: 0.0,
        canary: None,
        verify: None,
    };
    assert_eq!(service("{}").update, default);
    assert_eq!(update(""), default);
    assert_eq!(update("max_surge: 100%, auto_rollback: yes"), default);
}

#[test]
fn every_setting_is_read() {
    let read = update(
        "mode: canary, max_surge: auto, max_unavailable: 25%, min_healthy_seconds: 0, \
         progress_deadline_seconds: 90.5, drain_timeout_seconds: 0, auto_rollback: false, \
         undo_window_seconds: 300, verify: {run: curl $REPLICA_URL, timeout_seconds: 5}, \
         canary: {steps: [{weight: 5, pause_seconds: 60}, {weight: 50%, until: promoted}], \
         header: {name: X-Canary, value: always}, cookie: {name: Beta, value: '1'}, \
         analysis: {max_error_increase: 0, max_latency_ratio: 1.5, max_ttfb_ratio: 2, min_requests: 1, \
         confidence: 0.99}}",
    );
    let step = |weight_percent, until| CanaryStep {
        weight_percent,
        until,
    };
    let pair = |name: &str, value: &str| {
        Some(CanaryMatch {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    };
    let expected = Update {
        mode: Some(UpdateMode::Canary),
        max_surge: Surge::Auto,
        max_unavailable: Amount::Percent(25.0),
        min_healthy_seconds: 0.0,
        progress_deadline_seconds: Some(90.5),
        drain_timeout_seconds: 0.0,
        auto_rollback: false,
        undo_window_seconds: 300.0,
        canary: Some(Canary {
            steps: vec![
                step(5.0, StepEnd::Seconds(60.0)),
                step(50.0, StepEnd::Promoted),
            ],
            header: pair("x-canary", "always"),
            cookie: pair("Beta", "1"),
            analysis: Some(Analysis {
                max_error_increase: 0.0,
                max_latency_ratio: Some(1.5),
                max_ttfb_ratio: Some(2.0),
                min_requests: 1,
                confidence: 0.99,
            }),
        }),
        verify: Some(Verify {
            run: "curl $REPLICA_URL".to_owned(),
            timeout_seconds: 5.0,
        }),
    };
    assert_eq!(read, expected);
    assert_eq!(update("mode: IN_PLACE").mode, Some(UpdateMode::InPlace));
    let one = Surge::Amount(Amount::Count(1));
    assert_eq!(update("max_surge: 1").max_surge, one);
    assert_eq!(update("canary: {}").canary, Some(Canary::default()));
}

#[test]
fn what_cannot_be_read_is_refused_where_it_stands() {
    for (fields, expected) in [
        (
            "mode: blue",
            "unknown-value: `mode` must be one of rolling, blue_green, canary, in_place",
        ),
        (
            "max_surge: -1",
            "out-of-range: `max_surge` must be between 0 and 10000, not -1",
        ),
        (
            "max_surge: 101%",
            "invalid-value: `max_surge` must be a number of replicas or a share",
        ),
        (
            "max_surge: '2'",
            "invalid-value: `max_surge` must be a number",
        ),
        (
            "max_surge: 1.5",
            "wrong-type: `max_surge` must be an integer",
        ),
        (
            "max_surge: [1]",
            "wrong-type: `max_surge` must be a number of replicas",
        ),
        (
            "max_unavailable: auto",
            "invalid-value: `max_unavailable` must be a number",
        ),
        (
            "max_unavailable: -5%",
            "invalid-value: `max_unavailable` must be a number",
        ),
        (
            "min_healthy_seconds: -1",
            "out-of-range: `min_healthy_seconds` must be at least 0, not -1",
        ),
        (
            "progress_deadline_seconds: 0",
            "out-of-range: `progress_deadline_seconds` must be greater than 0",
        ),
        (
            "drain_timeout_seconds: soon",
            "wrong-type: `drain_timeout_seconds` must be a number",
        ),
        (
            "undo_window_seconds: .inf",
            "not-finite: `undo_window_seconds` must be a finite number",
        ),
        (
            "auto_rollback: 1",
            "wrong-type: `auto_rollback` must be a boolean",
        ),
        (
            "max_serge: 1",
            "unknown-field: `service.update` has no field `max_serge`",
        ),
        ("verify: {}", "missing-field: `verify` needs `run`"),
        ("verify: {run: ' '}", "empty: `run` is empty"),
        (
            "verify: {run: x, timeout_seconds: 0}",
            "out-of-range: `timeout_seconds` must be greater than 0",
        ),
        (
            "canary: {steps: []}",
            "out-of-range: `steps` must have 1 to 100 steps, not 0",
        ),
        (
            "canary: {steps: 5}",
            "wrong-type: `steps` must be a list of steps",
        ),
        (
            "canary: {steps: [{weight: 5}]}",
            "missing-field: a step needs `pause_seconds`, or",
        ),
        (
            "canary: {steps: [{until: promoted}]}",
            "missing-field: a step needs `weight`",
        ),
        (
            "canary: {steps: [{weight: 0, pause_seconds: 1}]}",
            "invalid-value: `weight` must be greater than 0",
        ),
        (
            "canary: {steps: [{weight: 101, pause_seconds: 1}]}",
            "invalid-value: `weight` must be greater than 0",
        ),
        (
            "canary: {steps: [{weight: 5, pause_seconds: 1, until: promoted}]}",
            "conflict: a step takes either",
        ),
        (
            "canary: {steps: [{weight: 5, until: noon}]}",
            "unknown-value: `until` must be one of promoted",
        ),
        (
            "canary: {header: {name: 'x y', value: '1'}}",
            "invalid-header: \"x y\" cannot be the name of an HTTP",
        ),
        (
            "canary: {cookie: {name: x}}",
            "missing-field: this needs `value`",
        ),
        (
            "canary: {analysis: {confidence: 1}}",
            "out-of-range: `confidence` must be between 0.5 and 1, not 1",
        ),
        (
            "canary: {analysis: {max_latency_ratio: 0.9}}",
            "out-of-range: `max_latency_ratio` must be at least 1",
        ),
        (
            "canary: {analysis: {max_error_increase: 1}}",
            "out-of-range: `max_error_increase` must be a share",
        ),
        (
            "canary: {analysis: {min_requests: 0}}",
            "out-of-range: `min_requests` must be between 1",
        ),
    ] {
        let found = finding(fields);
        assert!(found.starts_with(expected), "{fields}: {found}");
    }
}

#[test]
fn combinations_that_cannot_be_meant_are_refused_with_the_reason() {
    for (fields, expected) in [
        (
            "max_surge: 0",
            "conflict: with no replica more (`max_surge` is 0) and none fewer",
        ),
        (
            "max_surge: 0%, max_unavailable: 0%",
            "conflict: with no replica more",
        ),
        (
            "mode: in_place, max_unavailable: 0",
            "conflict: `mode: in_place` restarts replicas where they are",
        ),
        (
            "min_healthy_seconds: 60, progress_deadline_seconds: 60",
            "conflict: `progress_deadline_seconds` (60) must be greater than `min_healthy_seconds` (60)",
        ),
        (
            "canary: {steps: [{weight: 50, pause_seconds: 1}, {weight: 5, pause_seconds: 1}]}",
            "conflict: the weights of steps must rise: 5 follows 50",
        ),
        (
            "mode: blue_green, max_surge: 1",
            "no-effect: `max_surge` has no effect with `mode: blue_green`",
        ),
        (
            "mode: rolling, undo_window_seconds: 5",
            "no-effect: `undo_window_seconds` has no effect with",
        ),
        (
            "mode: in_place, canary: {}",
            "no-effect: `canary` has no effect with `mode: in_place`",
        ),
    ] {
        let found = finding(fields);
        assert!(found.starts_with(expected), "{fields}: {found}");
        let accepted = check(&format!("{{update: {{{fields}}}}}")).task.is_some();
        assert_eq!(accepted, expected.starts_with("no-effect"), "{fields}");
    }
    // A flag may choose the mode, so what is without effect in one of them is not judged.
    assert!(
        check("{update: {canary: {}, undo_window_seconds: 5}}")
            .diagnostics
            .is_empty()
    );
    assert!(
        check("{update: {max_surge: 0, max_unavailable: 1}}")
            .diagnostics
            .is_empty()
    );
}

#[test]
fn amounts_are_rounded_as_kubernetes_rounds_them() {
    for (percent, total, up, down) in [
        (25.0, 10, 3, 2),
        (25.0, 4, 1, 1),
        (25.0, 1, 1, 0),
        (100.0, 7, 7, 7),
        (0.0, 7, 0, 0),
        (50.0, 3, 2, 1),
    ] {
        let amount = Amount::Percent(percent);
        assert_eq!(amount.rounded_up(total), up, "{percent}% of {total}");
        assert_eq!(amount.rounded_down(total), down, "{percent}% of {total}");
    }
    let count = Amount::Count(3);
    assert_eq!((count.rounded_up(1), count.rounded_down(1)), (3, 3));
}

#[test]
fn none_of_it_makes_a_new_replica() {
    let digest = FilesDigest::none();
    let hash = |section: &str| task(section).task_hash(&digest);
    for section in [
        "{update: {mode: canary, max_surge: 1, canary: {}}}",
        "{update: {verify: {run: 'true'}, auto_rollback: false, undo_window_seconds: 9}}",
    ] {
        assert_eq!(hash(section), hash("{}"), "{section}");
    }
}

/// Some settings, as a file may give them.
fn fields() -> impl Strategy<Value = Json> {
    let amount = || {
        prop_oneof![
            (1u32..50).prop_map(|count| json!(count)),
            (1u32..=200).prop_map(|half| json!(format!("{}%", f64::from(half) / 2.0))),
        ]
    };
    let surge = prop_oneof![Just(json!("auto")), amount()];
    let step = (1u32..80, prop::option::of(0u32..900));
    (
        prop::sample::select(vec!["rolling", "blue_green", "canary", "in_place"]),
        (surge, amount()),
        (0u32..60, prop::option::of(61u32..900), 0u32..900, 0u32..900),
        any::<bool>(),
        prop::collection::vec(step, 1..4),
        prop::option::of(("[a-z ]{1,20}[a-z]", 1u32..90)),
        prop::option::of((0u32..99, 1u32..5, 51u32..99)),
    )
        .prop_map(
            |(mode, (surge, unavailable), seconds, back, steps, verify, analysis)| {
                let mut weight = 0.0;
                let steps = steps.into_iter().map(|(rise, pause)| {
                    weight += f64::from(rise) / 4.0;
                    match pause {
                        Some(pause) => json!({"weight": weight, "pause_seconds": pause}),
                        None => json!({"weight": weight, "until": "promoted"}),
                    }
                });
                let mut canary = json!({ "steps": steps.collect::<Vec<_>>() });
                if let Some((errors, ratio, confidence)) = analysis {
                    canary["analysis"] = json!({
                        "max_error_increase": f64::from(errors) / 100.0, "max_ttfb_ratio": ratio,
                        "confidence": f64::from(confidence) / 100.0,
                    });
                }
                let (healthy, deadline, drain, undo) = seconds;
                let mut fields = json!({
                    "mode": mode, "max_surge": surge, "max_unavailable": unavailable,
                    "min_healthy_seconds": healthy, "drain_timeout_seconds": drain,
                    "undo_window_seconds": undo, "auto_rollback": back, "canary": canary,
                });
                if let Some(deadline) = deadline {
                    fields["progress_deadline_seconds"] = json!(deadline);
                }
                if let Some((run, timeout)) = verify {
                    fields["verify"] = json!({"run": run, "timeout_seconds": timeout});
                }
                fields
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_canonical_form_reads_back_as_the_same_settings(fields in fields()) {
        let read = service(&json!({ "update": fields }).to_string());
        let canonical = read.canonical();
        let again = service(&canonical.to_string());
        prop_assert_eq!(&again.update, &read.update);
        prop_assert_eq!(again.canonical(), canonical);
        let stored = serde_json::to_string(&read).unwrap();
        prop_assert_eq!(serde_json::from_str::<ServiceSpec>(&stored).unwrap(), read);
    }
}

#[test]
fn the_example_of_the_documentation_is_accepted() {
    let page = include_str!("../../../docs/updating.md");
    let lines = page.lines().map(|line| line.strip_prefix("    "));
    let lines = lines.skip_while(|line| *line != Some("service:"));
    let lines: Vec<&str> = lines.map_while(|line| line).collect();
    let source = SourceText::new("docs/updating.md", format!("{}\n{REST}", lines.join("\n")));
    let checked = check_task(&source, &Overrides::default(), Purpose::Service);
    assert!(checked.diagnostics.is_empty(), "{:#?}", checked.diagnostics);
    let update = checked.task.and_then(|task| task.service).unwrap().update;
    assert_eq!(update.canary.unwrap().steps.len(), 2);
}
