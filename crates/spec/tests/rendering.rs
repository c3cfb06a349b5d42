//! What a person sees.

use spec::{Overrides, Purpose, SourceText, parse_task, validation_report};

fn rendered(text: &str) -> Vec<String> {
    let source = SourceText::new("task.yaml", text);
    let diagnostics =
        parse_task(&source, &Overrides::default(), Purpose::Service).expect_err("rejected");
    diagnostics
        .iter()
        .map(|diagnostic| diagnostic.render(&source, false))
        .collect()
}

#[test]
fn an_error_shows_its_place_the_rule_and_what_to_do() {
    let text = "service:\n  readiness_probe: /\n  replica: 2\nresources:\n  ports: 8080\n";
    let expected = "\
error[unknown-field]: `service` has no field `replica`
 --> task.yaml:3:3
  |
3 |   replica: 2
  |   ^^^^^^^
  |
  = note: service: mapping
  = help: did you mean `replicas`?";
    assert_eq!(rendered(text), [expected]);
}

#[test]
fn a_syntax_error_shows_its_place() {
    let text = "service:\n  readiness_probe: /\n replicas: 2\n";
    let shown = rendered(text);
    assert!(
        shown[0].starts_with("error[yaml-syntax]: the file is not valid YAML: "),
        "{}",
        shown[0]
    );
    assert!(shown[0].contains("3 |  replicas: 2"), "{}", shown[0]);
}

#[test]
fn secrets_are_masked_in_excerpts_messages_and_reports() {
    let text = "secrets:\n  TOKEN: [hunter2]\n  KEY: hunter2\nservice:\n  readiness_probe: $KEY\n\
                resources: {ports: 80}\n";
    for shown in rendered(text) {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let unclosed = "secrets:\n  TOKEN: \"hunter2\nservice: {}\n";
    for shown in rendered(unclosed) {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let good = "secrets: {KEY: hunter2}\nenvs: {A: x}\n\
                service: {readiness_probe: {path: /$KEY, post_data: {k: $KEY}}}\n\
                resources: {ports: 80}\n";
    let source = SourceText::new("task.yaml", good);
    let result = parse_task(&source, &Overrides::default(), Purpose::Service);
    let report = validation_report(&source, &result);
    assert!(!report.to_string().contains("hunter2"), "{report:#}");
    assert_eq!(report["service"]["readiness_path"], "/***");
    assert_eq!(report["task"]["secrets"][0], "KEY");
}

#[test]
fn a_report_has_verdict_diagnostics_service_and_task() {
    let source = SourceText::new(
        "task.yaml",
        "service: {replicas: x}\nresources: {ports: 80}\n",
    );
    let result = parse_task(&source, &Overrides::default(), Purpose::Service);
    let report = validation_report(&source, &result);
    assert_eq!(
        (report["verdict"].as_str(), report["file"].as_str()),
        (Some("rejected"), Some("task.yaml"))
    );
    let diagnostic = &report["diagnostics"][0];
    assert_eq!(diagnostic["line"], 1);
    assert_eq!(
        (&diagnostic["column"], &diagnostic["end_column"]),
        (&21.into(), &22.into())
    );
    assert_eq!(diagnostic["code"], "wrong-type");
    assert_eq!(diagnostic["rule"], "service.replicas: integer, 0 to 10000");
    assert!(report["service"].is_null() && report["task"].is_null());
}

#[test]
fn colour_is_only_added_when_asked_for() {
    let source = SourceText::new("task.yaml", "run: 1\n");
    let diagnostics =
        parse_task(&source, &Overrides::default(), Purpose::Service).expect_err("rejected");
    assert!(!diagnostics[0].render(&source, false).contains('\u{1b}'));
    assert!(diagnostics[0].render(&source, true).contains('\u{1b}'));
}
