//! One small file per rule: what it is accepted as, or the code and place of its error.

use serde_json::json;
use spec::{Choice, Overrides, Purpose, SourceText, TargetQps, Task, parse_task};

/// A valid file but for what a test adds.
const REST: &str = "resources:\n  ports: 8080\nrun: echo\n";

fn parse(text: &str) -> Result<Task, Vec<spec::Diagnostic>> {
    parse_task(
        &SourceText::new("task.yaml", text),
        &Overrides::default(),
        Purpose::Service,
    )
}

fn accepted(text: &str) -> Task {
    parse(text).unwrap_or_else(|diagnostics| panic!("{text}\n{diagnostics:#?}"))
}

/// `code@line:column` of every error.
fn errors(text: &str) -> Vec<String> {
    let diagnostics = parse(text).expect_err(text);
    diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == spec::Severity::Error)
        .map(|diagnostic| {
            format!(
                "{}@{}:{}",
                diagnostic.code, diagnostic.line, diagnostic.column
            )
        })
        .collect()
}

/// The errors of a `service` section written in flow style.
fn service_errors(section: &str) -> Vec<String> {
    errors(&format!("service: {section}\n{REST}"))
}

/// The errors of a `resources` section written in flow style.
fn resource_errors(section: &str) -> Vec<String> {
    errors(&format!("resources: {section}\nservice: {{}}\n"))
}

fn service(section: &str) -> spec::ServiceSpec {
    accepted(&format!("service: {section}\n{REST}"))
        .service
        .expect("a service")
}

#[test]
fn defaults_are_filled_in() {
    let task = accepted(&format!("service: {{}}\n{REST}"));
    let service = task.service.as_ref().expect("a service");
    assert_eq!(
        (service.port, service.replica_policy.min_replicas),
        (8080, 1)
    );
    assert_eq!(
        service.canonical(),
        json!({
            "ports": 8080,
            "readiness_probe": {"initial_delay_seconds": 1200, "path": "/", "timeout_seconds": 15},
            "replica_policy": {"min_replicas": 1},
        })
    );
    assert_eq!((task.num_nodes, task.resources.choice), (1, Choice::Single));
}

#[test]
fn all_errors_are_reported_in_the_order_of_the_file() {
    let text =
        "naem: x\nservice:\n  readiness_probe: health\n  replicas: many\nresources:\n  cpus: 0\n";
    assert_eq!(
        errors(text),
        [
            "unknown-field@1:1",
            "probe-path@3:20",
            "wrong-type@4:13",
            "port-missing@6:3",
            "out-of-range@6:9",
        ]
    );
}

#[test]
fn unknown_fields_are_named_with_the_nearest_known_one() {
    let help = |text: &str| {
        let diagnostics = parse(text).expect_err(text);
        diagnostics[0].help.clone().unwrap_or_default()
    };
    assert_eq!(
        help(&format!("service: {{replica: 1}}\n{REST}")),
        "did you mean `replicas`?"
    );
    assert_eq!(
        help(&format!("service: {{}}\nreplicas: 2\n{REST}")),
        "there is a field `service.replicas`"
    );
    assert_eq!(
        help(&format!(
            "service: {{load_balancing_policy: round_robbin}}\n{REST}"
        )),
        "did you mean `round_robin`?"
    );
    assert_eq!(
        help("service: {}\nresources: {ports: 80, infra: awz}\n"),
        "did you mean `aws`?"
    );
}

#[test]
fn probe_rules() {
    for (section, expected) in [
        ("{readiness_probe: null}", "wrong-type"),
        ("{readiness_probe: 8080}", "wrong-type"),
        (
            "{readiness_probe: {initial_delay_seconds: 3}}",
            "missing-field",
        ),
        (
            "{readiness_probe: {path: /, timeout_seconds: null}}",
            "wrong-type",
        ),
        (
            "{readiness_probe: {path: /, timeout_seconds: 0}}",
            "out-of-range",
        ),
        (
            "{readiness_probe: {path: /, initial_delay_seconds: -1}}",
            "out-of-range",
        ),
        (
            "{readiness_probe: {path: /, initial_delay_seconds: .nan}}",
            "not-finite",
        ),
        ("{readiness_probe: {path: /, post_data: [1]}}", "wrong-type"),
        (
            "{readiness_probe: {path: /, post_data: '{'}}",
            "post-data-json",
        ),
        (
            "{readiness_probe: {path: /, post_data: {day: 2024-01-01}}}",
            "not-json",
        ),
        (
            "{readiness_probe: {path: /, headers: {A: 1}}}",
            "wrong-type",
        ),
        (
            "{readiness_probe: {path: /, headers: {'A B': x}}}",
            "invalid-header",
        ),
        ("{readiness_probe: http://localhost/health}", "probe-path"),
    ] {
        let found = service_errors(section);
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{section}: {found:?}"
        );
    }
    let spec = service(
        "{readiness_probe: {path: /p, post_data: '{\"b\": 1, \"a\": [2]}', headers: {H: v}}}",
    );
    assert_eq!(
        spec.readiness_probe.post_data,
        Some(json!({"a": [2], "b": 1}))
    );
    assert_eq!(
        spec.readiness_probe.post_data_json.as_deref(),
        Some("{\"b\": 1, \"a\": [2]}")
    );
    assert_eq!(
        spec.probe_string(),
        "POST /p {\"b\": 1, \"a\": [2]} with custom headers"
    );
}

#[test]
fn replica_rules() {
    let policy = |policy: &str| format!("{{replica_policy: {{{policy}}}}}");
    for (section, expected) in [
        (
            "{replicas: 1, replica_policy: {min_replicas: 1}}".to_owned(),
            "conflict",
        ),
        ("{replicas: 1, workers: 1}".to_owned(), "conflict"),
        ("{replicas: '2'}".to_owned(), "wrong-type"),
        ("{replicas: true}".to_owned(), "wrong-type"),
        ("{replicas: -1}".to_owned(), "out-of-range"),
        (policy("max_replicas: 1"), "missing-field"),
        (policy("min_replicas: 3, max_replicas: 2"), "conflict"),
        (policy("min_replicas: 1, max_replicas: 2"), "missing-field"),
        (
            policy("min_replicas: 1, target_qps_per_replica: 2"),
            "missing-field",
        ),
        (
            policy("min_replicas: 1, max_replicas: 2, target_qps_per_replica: 0"),
            "out-of-range",
        ),
        (
            policy("min_replicas: 1, max_replicas: 2, target_qps_per_replica: {H100: 1}"),
            "conflict",
        ),
        (
            "{load_balancing_policy: instance_aware_least_load}".to_owned(),
            "conflict",
        ),
        (
            "{load_balancing_policy: LEAST_LOAD}".to_owned(),
            "unknown-value",
        ),
        (
            policy("min_replicas: 1, spot_placer: dynamic_fallback"),
            "needs-spot",
        ),
        (
            policy("min_replicas: 1, base_ondemand_fallback_replicas: 1"),
            "needs-spot",
        ),
        (
            policy("min_replicas: 1, dynamic_ondemand_fallback: true"),
            "needs-spot",
        ),
        (
            policy("min_replicas: 1, dynamic_ondemand_fallback: 'true'"),
            "wrong-type",
        ),
        ("{tls: {keyfile: k}}".to_owned(), "missing-field"),
        ("{pool: {workers: 1}}".to_owned(), "pool-refused"),
        (
            "{load_balancer: {stream_timeout_seconds: 0}}".to_owned(),
            "out-of-range",
        ),
    ] {
        let found = service_errors(&section);
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{section}: {found:?}"
        );
    }
    assert_eq!(service("{workers: 3}").replica_policy.min_replicas, 3);
    assert_eq!(service("{replicas: 2.0}").replica_policy.min_replicas, 2);
    assert_eq!(service("{replicas: 1:30}").replica_policy.min_replicas, 90);
    let by_accelerator = service(
        "{load_balancing_policy: instance_aware_least_load, replica_policy: {min_replicas: 1, \
         max_replicas: 2, target_qps_per_replica: {'H100:1': 2.5, A10: 1}}}",
    );
    let rates = vec![("H100:1".to_owned(), 2.5), ("A10".to_owned(), 1.0)];
    assert_eq!(
        by_accelerator.replica_policy.target_qps_per_replica,
        Some(TargetQps::PerAccelerator(rates))
    );
}

#[test]
fn port_rules() {
    for (text, expected) in [
        ("service: {}\nresources: {}\n", "port-missing@2:12"),
        (
            "service: {ports: 80}\nresources: {cpus: 1}\n",
            "port-not-open@2:12",
        ),
        (
            "service: {ports: 80}\nresources: {ports: 81}\n",
            "port-not-open@2:20",
        ),
        (
            "service: {}\nresources: {ports: [80, 81]}\n",
            "port-ambiguous@2:20",
        ),
        (
            "service: {}\nresources: {ports: 80-81}\n",
            "port-ambiguous@2:20",
        ),
        (
            "service: {}\nresources: {any_of: [{ports: 80}, {ports: 81}]}\n",
            "port-ambiguous@2:43",
        ),
        (
            "service: {ports: 0}\nresources: {ports: 80}\n",
            "out-of-range@1:18",
        ),
        (
            "service: {}\nresources: {ports: 70000}\n",
            "invalid-port@2:20",
        ),
        (
            "service: {}\nresources: {ports: 82-80}\n",
            "invalid-port@2:20",
        ),
        (
            "service: {}\nresources: {ports: [80, abc]}\n",
            "invalid-port@2:25",
        ),
    ] {
        assert_eq!(errors(text), [expected], "{text}");
    }
    let task = accepted("service: {ports: 8081}\nresources: {ports: ['8080-8082, 90', 8083]}\n");
    assert_eq!(task.service.expect("a service").port, 8081);
    assert_eq!(task.resources.candidates[0].ports, ["90", "8080-8083"]);
}

#[test]
fn resource_rules() {
    for (section, expected) in [
        ("{ports: 80, infra: aws, region: x}", "conflict"),
        ("{ports: 80, infra: nocloud/x}", "unknown-value"),
        ("{ports: 80, infra: aws/a/b/c}", "invalid-value"),
        ("{ports: 80, cloud: nocloud}", "unknown-value"),
        ("{ports: 80, cpus: abc}", "invalid-value"),
        ("{ports: 80, cpus: inf+}", "invalid-value"),
        ("{ports: 80, memory: 16G}", "invalid-value"),
        ("{ports: 80, disk_size: 512MB}", "invalid-value"),
        ("{ports: 80, disk_tier: fast}", "unknown-value"),
        ("{ports: 80, use_spot: 1}", "wrong-type"),
        ("{ports: 80, accelerators: 'H100:x'}", "invalid-value"),
        ("{ports: 80, accelerators: {H100: 0}}", "out-of-range"),
        ("{ports: 80, accelerators: []}", "empty"),
        (
            "{ports: 80, accelerators: [H100, L4], any_of: [{cpus: 1}]}",
            "conflict",
        ),
        ("{ports: 80, accelerators: H100, gpus: H100}", "conflict"),
        (
            "{ports: 80, any_of: [{cpus: 1}], ordered: [{cpus: 1}]}",
            "conflict",
        ),
        ("{ports: 80, any_of: [{any_of: []}]}", "nested-alternatives"),
        ("{ports: 80, any_of: [{cpus: null}]}", "wrong-type"),
        (
            "{ports: 80, any_of: [{accelerators: {A: 1, B: 1}}]}",
            "too-many-accelerators",
        ),
        (
            "{ports: 80, any_of: [{use_spot: true}, {}]}",
            "spot-mixture",
        ),
        ("{ports: 80, job_recovery: failover}", "not-for-services"),
        ("{ports: 80, hooks: [{run: x}]}", "misplaced"),
        ("{ports: 80, labels: {a: 1}}", "wrong-type"),
        ("{ports: 80, autostop: 10x}", "invalid-value"),
        ("{ports: 80, priority: 1001}", "invalid-value"),
        ("{ports: 80, image_id: 5}", "wrong-type"),
        ("[80]", "wrong-type"),
    ] {
        let found = resource_errors(section);
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{section}: {found:?}"
        );
    }
}

#[test]
fn alternatives_inherit_the_common_fields() {
    let task = accepted(
        "service: {}\nresources: {ports: 80, cpus: 2+, labels: {a: x, b: y}, any_of: [\
         {infra: AWS/us-east-1, labels: {b: z}}, {gpus: 'L4:2', memory: 16GB}]}\n",
    );
    let [first, second] = task.resources.candidates.as_slice() else {
        panic!("two candidates")
    };
    assert_eq!(task.resources.choice, Choice::AnyOf);
    assert_eq!(first.infra.as_deref(), Some("aws/us-east-1"));
    assert_eq!(
        (first.cpus.as_deref(), first.labels["b"].as_str()),
        (Some("2+"), "z")
    );
    assert_eq!(second.accelerators, Some(("L4".to_owned(), 2.0)));
    assert_eq!(
        (second.memory.as_deref(), second.labels["b"].as_str()),
        (Some("16"), "y")
    );
    let ordered = accepted("service: {}\nresources: {ports: 80, accelerators: [A100:8, H100]}\n");
    assert_eq!(ordered.resources.choice, Choice::Ordered);
    let choice = accepted("service: {}\nresources: {ports: 80, accelerators: {L4:1, A10:2}}\n");
    assert_eq!(
        (choice.resources.choice, choice.resources.candidates.len()),
        (Choice::AnyOf, 2)
    );
}
