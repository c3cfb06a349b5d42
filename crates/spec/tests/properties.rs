//! Properties over generated files.

use proptest::prelude::*;
use spec::{
    FilesDigest, Overrides, Purpose, SourceText, Task, check_task, parse_env_file, parse_task,
};

fn parse(text: &str) -> Task {
    let source = SourceText::new("t", text);
    parse_task(&source, &Overrides::default(), Purpose::Service)
        .unwrap_or_else(|diagnostics| panic!("{text}\n{diagnostics:#?}"))
}

/// Lines of a valid file that may stand in any order.
fn sections() -> impl Strategy<Value = Vec<String>> {
    let resources = prop_oneof![
        Just("resources: {cpus: 2+, ports: 8080}".to_owned()),
        Just(
            "resources: {ports: [8080], any_of: [{infra: aws}, {infra: gcp, memory: 8}]}"
                .to_owned()
        ),
        Just("resources: {ports: '8080', accelerators: [L4, H100:2], disk_size: 1TB}".to_owned()),
    ];
    let service = (1u32..5, 0u32..5, prop::bool::ANY).prop_map(|(min, more, short)| {
        if short || more == 0 {
            format!("service: {{replicas: {min}, readiness_probe: /h}}")
        } else {
            format!(
                "service: {{replica_policy: {{min_replicas: {min}, max_replicas: {}, \
                 target_qps_per_replica: 1.5}}, \
                 readiness_probe: {{path: /, post_data: {{b: 1, a: $A}}}}}}",
                min + more
            )
        }
    });
    let text = "[ -~]{0,12}";
    (resources, service, text, text).prop_map(|(resources, service, run, value)| {
        let quote = |text: &str| format!("'{}'", text.replace('\'', "''"));
        vec![
            resources,
            service,
            format!("run: {}", quote(&run)),
            format!("envs: {{A: {}, B: 2}}", quote(&value)),
            "file_mounts: {/b: s3://x, /a: ./y}".to_owned(),
            "secrets: {S: s3cret}".to_owned(),
            "workdir: .".to_owned(),
        ]
    })
}

/// Where to edit, what to put in, and how many characters to take out.
fn edit() -> impl Strategy<Value = (prop::sample::Index, String, usize)> {
    const PATTERN: &str = "[-:\\[\\]{}#&*!|>'\"%@`\t \n,?~<é😀$a0.]{0,3}";
    (any::<prop::sample::Index>(), PATTERN, 0usize..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_canonical_form_does_not_depend_on_order_or_layout(
        lines in sections(),
        shuffled in Just((0..7).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let task = parse(&lines.join("\n"));
        let spaced = |at: &usize| format!("# comment\n{}  # tail\n\n", lines[*at]);
        let other: Vec<String> = shuffled.iter().map(spaced).collect();
        let again = parse(&other.concat());
        prop_assert_eq!(task.canonical(), again.canonical());
        let digest = FilesDigest::none();
        prop_assert_eq!(task.task_hash(&digest), again.task_hash(&digest));
    }

    #[test]
    fn the_canonical_form_reads_back_as_itself(lines in sections()) {
        let task = parse(&lines.join("\n"));
        let canonical = task.canonical();
        let again = parse(&canonical.to_string());
        prop_assert_eq!(&again.canonical(), &canonical);
        prop_assert_eq!(again.secrets, task.secrets);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let source = SourceText::new("t", bytes);
        let checked = check_task(&source, &Overrides::default(), Purpose::Service);
        for diagnostic in &checked.diagnostics {
            prop_assert!(!diagnostic.render(&source, true).is_empty());
        }
        let _ = parse_env_file(&source);
    }

    #[test]
    fn no_mutation_makes_it_panic(
        lines in sections(),
        edits in prop::collection::vec(edit(), 1..6),
    ) {
        let mut text: Vec<char> = lines.join("\n").chars().collect();
        for (at, insert, remove) in edits {
            let at = at.index(text.len() + 1).min(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let source = SourceText::new("t", text.into_iter().collect::<String>());
        let checked = check_task(&source, &Overrides::default(), Purpose::Service);
        let warning = |found: &spec::Diagnostic| found.severity == spec::Severity::Warning;
        prop_assert_eq!(checked.task.is_some(), checked.diagnostics.iter().all(warning));
        for diagnostic in &checked.diagnostics {
            let intact = source.text.windows(21).any(|part| part == b"\nsecrets: {S: s3cret}\n");
            prop_assert!(!intact || !diagnostic.render(&source, false).contains("s3cret"));
        }
        let _ = checked.report(&source);
    }
}

/// The hash follows what a replica sees, and nothing else.
#[test]
fn the_task_hash_changes_with_what_a_replica_sees() {
    const BASE: &str = "name: a\nservice: {replicas: 2}\nresources: {ports: 80, cpus: 2}\n\
                        envs: {A: 1}\n\
                        secrets: {S: x}\nworkdir: ./a\nsetup: s\nrun: r\nfile_mounts: {/m: ./m}\n";
    let hash = |text: &str| parse(text).task_hash(&FilesDigest::none());
    let base = hash(BASE);
    for (from, to) in [
        ("name: a", "name: b"),
        ("replicas: 2", "replicas: 3, readiness_probe: /other"),
        ("cpus: 2", "cpus: '2'"),
        ("cpus: 2", "ports: [80], cpus: 2.0"),
        ("A: 1", "A: '1'"),
        ("workdir: ./a", "workdir: ./b"),
        ("/m: ./m", "/m: ./n"),
        ("run: r", "run: 'r'"),
    ] {
        let text = BASE.replace(
            if to.starts_with("ports") {
                "ports: 80, cpus: 2"
            } else {
                from
            },
            to,
        );
        assert_eq!(hash(&text), base, "{to}");
    }
    for (from, to) in [
        (
            "replicas: 2}\nresources: {ports: 80",
            "replicas: 2, ports: 81}\nresources: {ports: [80, 81]",
        ),
        ("ports: 80", "ports: 81"),
        ("cpus: 2", "cpus: 2+"),
        ("A: 1", "A: 2"),
        ("S: x", "S: y"),
        ("S: x", "T: x"),
        ("setup: s", "setup: t"),
        ("run: r", "run: q"),
        ("/m: ./m", "/n: ./m"),
        ("workdir: ./a\n", ""),
    ] {
        assert_ne!(hash(&BASE.replace(from, to)), base, "{to}");
    }
    let files = FilesDigest::combine([("", FilesDigest::none())]);
    assert_ne!(parse(BASE).task_hash(&files), base);
}
