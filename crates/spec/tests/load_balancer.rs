//! `service.load_balancer`, `service.auth` and the policies that are ours: what each field takes, what it refuses,
//! what is left of it in canonical form, and that none of it makes a new replica.

mod support;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use spec::{
    Auth, FilesDigest, LoadBalancer, LoadBalancingPolicy, Overrides, Purpose, Queue,
    ReplicaProtocol, SessionAffinity, SourceText, check_task,
};

use support::{REST, check, service, task};

fn settings(fields: &str) -> LoadBalancer {
    service(&format!("{{load_balancer: {{{fields}}}}}")).load_balancer
}

/// `code: message` of the one finding.
fn finding(section: &str) -> String {
    let diagnostics = check(section).diagnostics;
    let [diagnostic] = diagnostics.as_slice() else {
        panic!("{section}: one finding, not {diagnostics:#?}");
    };
    format!("{}: {}", diagnostic.code, diagnostic.message)
}

#[test]
fn every_setting_is_read() {
    let read = settings(
        "stream_timeout_seconds: 1.5, connect_timeout_seconds: 2, head_timeout_seconds: 3, \
         idle_timeout_seconds: 4, max_request_body_bytes: 1048576, min_upload_bytes_per_second: 0, \
         max_connections: 7, max_connections_per_client: 8, max_requests_per_replica: 9, \
         queue: {max_requests: 0, timeout_seconds: 10.5}, retry_budget_percent: 12.5, \
         slow_start_seconds: 0, replica_protocol: h2c, access_log: false",
    );
    let expected = LoadBalancer {
        stream_timeout_seconds: 1.5,
        connect_timeout_seconds: 2.0,
        head_timeout_seconds: 3.0,
        idle_timeout_seconds: 4.0,
        max_request_body_bytes: Some(1_048_576),
        min_upload_bytes_per_second: 0,
        max_connections: 7,
        max_connections_per_client: Some(8),
        max_requests_per_replica: Some(9),
        queue: Queue {
            max_requests: 0,
            timeout_seconds: 10.5,
        },
        retry_budget_percent: 12.5,
        slow_start_seconds: 0.0,
        replica_protocol: ReplicaProtocol::H2c,
        session_affinity: SessionAffinity::Header("x-session-id".to_owned()),
        access_log: false,
    };
    assert_eq!(read, expected);
}

#[test]
fn what_is_not_written_or_null_where_that_means_none_is_the_default() {
    for fields in [
        "",
        "queue: {}",
        "max_request_body_bytes: null, max_connections_per_client: null, max_requests_per_replica: ~",
        "queue: {max_requests: 1000, timeout_seconds: 60}, replica_protocol: auto, access_log: true",
    ] {
        assert_eq!(settings(fields), LoadBalancer::default(), "{fields}");
    }
}

/// What [`fields_out_of_range_or_of_the_wrong_type`] says of each field: a value that is just outside of its range, and
/// one just inside.
const BOUNDS: &[(&str, &[&str], &str)] = &[
    ("stream_timeout_seconds", &["0", "-1"], "0.001"),
    ("connect_timeout_seconds", &["0", "-0.5"], "0.001"),
    ("head_timeout_seconds", &["0", "-1"], "0.001"),
    ("idle_timeout_seconds", &["0", "-1"], "0.001"),
    (
        "max_request_body_bytes",
        &["0", "-1", "9007199254740992"],
        "9007199254740991",
    ),
    ("min_upload_bytes_per_second", &["-1"], "0"),
    ("max_connections", &["0", "4294967296"], "4294967295"),
    ("max_connections_per_client", &["0", "4294967296"], "1"),
    ("max_requests_per_replica", &["0", "4294967296"], "1"),
    ("retry_budget_percent", &["-0.1", "100.1"], "100"),
    ("slow_start_seconds", &["-0.1"], "0"),
];

#[test]
fn fields_out_of_range_or_of_the_wrong_type() {
    for (field, outside, inside) in BOUNDS {
        settings(&format!("{field}: {inside}"));
        for value in *outside {
            let found = finding(&format!("{{load_balancer: {{{field}: {value}}}}}"));
            let expected = format!("out-of-range: `{field}` must be ");
            assert!(found.starts_with(&expected), "{value}: {found}");
            assert!(found.ends_with(&format!(", not {value}")), "{found}");
        }
        for value in ["'1'", "true", "[1]", "{}"] {
            let found = finding(&format!("{{load_balancer: {{{field}: {value}}}}}"));
            let expected = format!("wrong-type: `{field}` must be a");
            assert!(found.starts_with(&expected), "{value}: {found}");
        }
        let optional = matches!(
            *field,
            "max_request_body_bytes" | "max_connections_per_client" | "max_requests_per_replica"
        );
        let null = check(&format!("{{load_balancer: {{{field}: null}}}}"));
        assert_eq!(null.diagnostics.is_empty(), optional, "{field}: null");
    }
    for field in [
        "max_request_body_bytes",
        "max_connections",
        "min_upload_bytes_per_second",
    ] {
        let found = finding(&format!("{{load_balancer: {{{field}: 1.5}}}}"));
        assert!(found.starts_with("wrong-type"), "{found}");
    }
}

#[test]
fn settings_with_parts_of_their_own() {
    for (fields, expected) in [
        (
            "queue: 5",
            "wrong-type: `queue` must be a mapping, not an integer (5)",
        ),
        (
            "queue: {max_requests: -1}",
            "out-of-range: `max_requests` must be between 0 and 4294967295, not -1",
        ),
        (
            "queue: {timeout_seconds: 0}",
            "out-of-range: `timeout_seconds` must be greater than 0, not 0",
        ),
        (
            "queue: {max_request: 1}",
            "unknown-field: `service.load_balancer.queue` has no field `max_request`",
        ),
        (
            "replica_protocol: h2",
            "unknown-value: `replica_protocol` must be one of auto, http1, h2c, not \"h2\"",
        ),
        (
            "replica_protocol: 2",
            "wrong-type: `replica_protocol` must be a string, not an integer (2)",
        ),
        (
            "access_log: 'yes'",
            "wrong-type: `access_log` must be a boolean (true or false), not a string (\"yes\")",
        ),
        (
            "conect_timeout_seconds: 1",
            "unknown-field: `service.load_balancer` has no field `conect_timeout_seconds`",
        ),
    ] {
        let found = finding(&format!("{{load_balancer: {{{fields}}}}}"));
        assert_eq!(found, expected, "{fields}");
    }
}

#[test]
fn a_misspelt_setting_is_named_with_the_nearest() {
    for (section, expected) in [
        (
            "{load_balancer: {max_conections: 1}}",
            "did you mean `max_connections`?",
        ),
        (
            "{load_balancer: {queue: {timeout: 1}}}",
            "did you mean `timeout_seconds`?",
        ),
        ("{auth: api-key}", "did you mean `api_key`?"),
        (
            "{load_balancing_policy: prefix_afinity}",
            "did you mean `prefix_affinity`?",
        ),
        ("{authh: none}", "did you mean `auth`?"),
    ] {
        let diagnostics = check(section).diagnostics;
        assert_eq!(diagnostics.len(), 1, "{section}: {diagnostics:#?}");
        assert_eq!(diagnostics[0].help.as_deref(), Some(expected), "{section}");
    }
}

fn affinity(value: &str) -> String {
    format!(
        "{{load_balancing_policy: session_affinity, load_balancer: {{session_affinity: {value}}}}}"
    )
}

#[test]
fn a_session_is_known_by_one_header_or_one_cookie() {
    for (value, expected) in [
        (
            "{header: X-User}",
            SessionAffinity::Header("x-user".to_owned()),
        ),
        (
            "{cookie: SessionId}",
            SessionAffinity::Cookie("SessionId".to_owned()),
        ),
    ] {
        let read = service(&affinity(value));
        assert_eq!(read.load_balancer.session_affinity, expected);
        assert_eq!(
            read.load_balancing_policy,
            LoadBalancingPolicy::SessionAffinity
        );
    }
    for (value, expected) in [
        ("{header: a, cookie: b}", "conflict: "),
        ("{}", "missing-field: "),
        ("{header: 'x y'}", "invalid-header: \"x y\" cannot be "),
        ("{header: ''}", "invalid-header: "),
        ("{header: 'x:'}", "invalid-header: "),
        ("{cookie: 'a=b'}", "invalid-header: \"a=b\" cannot be "),
        ("{cookie: 'a;b'}", "invalid-header: "),
        ("{header: 5}", "wrong-type: "),
        ("{header: null}", "wrong-type: "),
        ("x-user", "wrong-type: "),
        ("{haeder: x}", "unknown-field: "),
    ] {
        let diagnostics = check(&affinity(value)).diagnostics;
        let first = diagnostics
            .first()
            .unwrap_or_else(|| panic!("{value}: accepted"));
        let found = format!("{}: {}", first.code, first.message);
        assert!(found.starts_with(expected), "{value}: {found}");
    }
}

#[test]
fn a_session_that_no_policy_asks_for_is_a_warning() {
    let checked = check("{load_balancer: {session_affinity: {cookie: s}}}");
    assert!(checked.task.is_some());
    let [warning] = checked.diagnostics.as_slice() else {
        panic!("{:#?}", checked.diagnostics);
    };
    assert_eq!(
        (warning.code, warning.severity),
        ("no-effect", spec::Severity::Warning)
    );
}

#[test]
fn who_may_use_the_endpoint() {
    for (section, expected) in [
        ("{}", Auth::None),
        ("{auth: none}", Auth::None),
        ("{auth: }", Auth::None),
        ("{auth: api_key}", Auth::ApiKey),
    ] {
        assert_eq!(service(section).auth, expected, "{section}");
    }
    for (section, expected) in [
        ("{auth: basic}", "unknown-value: `auth` must be one of none"),
        ("{auth: true}", "wrong-type: "),
        ("{auth: [api_key]}", "wrong-type: "),
    ] {
        let found = finding(section);
        assert!(found.starts_with(expected), "{section}: {found}");
    }
}

#[test]
fn the_canonical_form_has_what_differs_from_the_default() {
    let canonical = |section: &str| service(section).canonical();
    let section = "{load_balancer: {connect_timeout_seconds: 4, queue: {max_requests: 5}, \
                   max_connections: 100000, retry_budget_percent: 0, session_affinity: {header: X-Session-Id}}, \
                   auth: none}";
    assert_eq!(
        canonical(section)["load_balancer"],
        json!({"queue": {"max_requests": 5}, "retry_budget_percent": 0})
    );
    assert_eq!(canonical(section).get("auth"), None);
    let defaults = "{load_balancer: {access_log: true, queue: {timeout_seconds: 60}}}";
    assert_eq!(canonical(defaults).get("load_balancer"), None);
    let other = "{auth: api_key, load_balancing_policy: prefix_affinity}";
    assert_eq!(canonical(other)["auth"], "api_key");
    assert_eq!(canonical(other)["load_balancing_policy"], "prefix_affinity");
}

#[test]
fn none_of_it_makes_a_new_replica() {
    let digest = FilesDigest::none();
    let hash = |section: &str| task(section).task_hash(&digest);
    let before = hash("{}");
    for section in [
        "{load_balancer: {connect_timeout_seconds: 1, queue: {max_requests: 1}, access_log: false}}",
        "{load_balancer: {replica_protocol: h2c, session_affinity: {cookie: s}}}",
        "{load_balancing_policy: session_affinity}",
        "{auth: api_key}",
        "{tls: {keyfile: key.pem, certfile: cert.pem}}",
    ] {
        assert_eq!(hash(section), before, "{section}");
    }
}

/// The examples of a page: indented blocks that begin with `service:`.
fn examples(page: &str) -> Vec<String> {
    let mut examples: Vec<String> = Vec::new();
    let mut within = false;
    for line in page.lines() {
        let code = line.strip_prefix("    ");
        if code == Some("service:") {
            examples.push(String::new());
            within = true;
        }
        within &= code.is_some();
        if let (true, Some(code), Some(example)) = (within, code, examples.last_mut()) {
            example.push_str(code);
            example.push('\n');
        }
    }
    examples
}

#[test]
fn the_examples_of_the_documentation_are_accepted() {
    let examples = examples(include_str!("../../../docs/endpoint.md"));
    assert_eq!(examples.len(), 7);
    for example in examples {
        let source = SourceText::new("docs/endpoint.md", format!("{example}{REST}"));
        let checked = check_task(&source, &Overrides::default(), Purpose::Service);
        assert!(
            checked.task.is_some(),
            "{example}{:#?}",
            checked.diagnostics
        );
        assert!(checked.diagnostics.is_empty(), "{:#?}", checked.diagnostics);
    }
}

/// Some settings, as a file may give them.
fn fields() -> impl Strategy<Value = Json> {
    let seconds = || 1u32..4000;
    (
        (seconds(), seconds(), seconds()),
        prop::option::of(1u64..1 << 40),
        prop::option::of(1u32..99),
        (0u32..2000, seconds()),
        0u32..=100,
        prop::sample::select(vec!["auto", "http1", "h2c"]),
        prop_oneof![
            "[A-Za-z-]{1,9}".prop_map(|name| json!({ "header": name })),
            "[A-Za-z_]{1,9}".prop_map(|name| json!({ "cookie": name })),
        ],
        any::<bool>(),
    )
        .prop_map(|((connect, head, idle), body, client, queue, retry, protocol, by, log)| {
            json!({
                "connect_timeout_seconds": f64::from(connect) / 8.0, "head_timeout_seconds": head,
                "idle_timeout_seconds": idle, "max_request_body_bytes": body,
                "max_connections_per_client": client,
                "queue": {"max_requests": queue.0, "timeout_seconds": queue.1},
                "retry_budget_percent": retry, "replica_protocol": protocol,
                "session_affinity": by, "access_log": log,
            })
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_canonical_form_reads_back_as_the_same_settings(fields in fields()) {
        let written = json!({"load_balancing_policy": "session_affinity", "load_balancer": fields});
        let read = service(&written.to_string());
        let canonical = read.canonical();
        let again = service(&canonical.to_string());
        prop_assert_eq!(&again.load_balancer, &read.load_balancer);
        prop_assert_eq!(again.canonical(), canonical);
    }
}
