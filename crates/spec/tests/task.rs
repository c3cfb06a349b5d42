//! Rules of the whole file: task fields, environment, flags, documents.

use spec::{Overrides, Purpose, SourceText, Task, Workdir, check_task, parse_task};

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

#[test]
fn task_rules() {
    for (lines, expected) in [
        ("run: [echo]", "wrong-type@4:6"),
        ("num_nodes: 0", "out-of-range@4:12"),
        ("envs:", "wrong-type@4:1"),
        ("envs: {1A: x}", "invalid-name@4:8"),
        ("envs: {A: }", "env-without-value@4:8"),
        ("envs: {A: [1]}", "wrong-type@4:11"),
        ("envs: {SKYPILOT_DOCKER_SERVER: x}", "docker-login@4:7"),
        ("secrets: {'secrets:A': x}", "invalid-value@4:24"),
        ("workdir: {ref: main}", "missing-field@4:10"),
        ("file_mounts: {rel: /a}", "mount-path@4:15"),
        ("file_mounts: {/a/: /a}", "mount-path@4:15"),
        ("file_mounts: {s3://b: /a}", "mount-path@4:15"),
        ("file_mounts: {/a: {store: s4}}", "unknown-value@4:27"),
        ("pool: {workers: 1}", "pool-refused@4:7"),
        ("config: {hooks: [{events: [stop]}]}", "missing-field@4:18"),
        ("config: {docker: {options: x}}", "unknown-field@4:19"),
        ("1: x", "unknown-field@4:1"),
    ] {
        let text = format!("service: {{}}\nresources:\n  ports: 8080\n{lines}\n");
        assert_eq!(errors(&text), [expected], "{lines}");
    }
    assert_eq!(errors("run: x\n"), ["service-missing@1:1"]);
    let task = accepted(
        "name: 'any name'\nworkdir: {url: u, ref: r}\nservice: {}\nresources: {ports: 80}\n",
    );
    let git = Workdir::Git {
        url: "u".to_owned(),
        reference: Some("r".to_owned()),
    };
    assert_eq!(task.workdir, Some(git));
}

#[test]
fn environment_values_become_text_and_are_filled_in() {
    let task = accepted(
        "envs: {P: /h\"x, N: 3, B: yes, F: 1.0, on: x}\nsecrets: {T: 't0ken!', LATER: }\n\
         run: echo $P\n\
         service: {readiness_probe: {path: $P/$N/$NOT, headers: {Authorization: 'Bearer ${T}'}}}\n\
         resources: {ports: 80}\nfile_mounts: {'/d/$N': s3://b/$N}\n",
    );
    let probe = &task.service.as_ref().expect("a service").readiness_probe;
    assert_eq!(probe.path, "/h\"x/3/$NOT");
    assert_eq!(probe.headers["Authorization"], "Bearer t0ken!");
    assert_eq!(task.file_mounts[0].destination, "/d/3");
    assert_eq!(task.run.as_deref(), Some("echo $P"));
    let values: Vec<&str> = task.envs.values().map(String::as_str).collect();
    assert_eq!(values, ["True", "1.0", "3", "/h\"x", "x"]);
    assert_eq!(task.missing_secrets().collect::<Vec<_>>(), ["LATER"]);
    assert!(!format!("{task:?}").contains("secrets: {\"T\": \"t0ken!\"}"));
    assert!(!task.canonical_masked().to_string().contains("t0ken!"));
    // A filled-in text stays text.
    assert_eq!(
        errors("envs: {N: 3}\nservice: {replicas: $N}\nresources: {ports: 80}\n"),
        ["wrong-type@2:21"]
    );
}

#[test]
fn flags_replace_what_the_file_says() {
    let text = "envs: {A: , B: old}\nservice: {}\nworkdir: here\n\
                resources: {ports: 80, cpus: 2, accelerators: L4, \
                any_of: [{infra: aws/us-east-1}, {infra: gcp, cpus: 8}]}\n";
    let overrides = Overrides {
        envs: vec![("A".into(), "1".into()), ("B".into(), "new".into())],
        secrets: vec![("S".into(), "s".into())],
        workdir: Some("there".into()),
        region: Some("eu".into()),
        num_nodes: Some(2),
        cpus: Some("16+".into()),
        gpus: Some("none".into()),
        use_spot: Some(true),
        ports: vec!["9090".into()],
        ..Overrides::default()
    };
    let source = SourceText::new("task.yaml", text);
    let task = parse_task(&source, &overrides, Purpose::Service).expect("accepted");
    assert_eq!(
        (task.envs["A"].as_str(), task.envs["B"].as_str()),
        ("1", "new")
    );
    assert_eq!(task.secrets["S"].reveal(), "s");
    assert_eq!(
        (task.workdir, task.num_nodes),
        (Some(Workdir::Local("there".into())), 2)
    );
    assert_eq!(task.service.expect("a service").port, 9090);
    let places: Vec<_> = task
        .resources
        .candidates
        .iter()
        .map(|candidate| {
            assert_eq!(
                (candidate.cpus.as_deref(), candidate.use_spot),
                (Some("16+"), true)
            );
            assert_eq!(candidate.accelerators, None);
            candidate.infra.clone().expect("a place")
        })
        .collect();
    assert_eq!(places, ["aws/eu", "gcp/eu"]);
    let wrong = Overrides {
        cpus: Some("many".into()),
        infra: Some("k8s/x".into()),
        ..overrides
    };
    let diagnostics = parse_task(&source, &wrong, Purpose::Service).expect_err("rejected");
    let files: Vec<&str> = diagnostics
        .iter()
        .map(|diagnostic| diagnostic.file.as_str())
        .collect();
    assert_eq!(
        files,
        ["--infra", "--cpus"].map(|flag| if flag == "--infra" { "--region" } else { flag })
    );
}

#[test]
fn documents_and_keys() {
    for (text, expected) in [
        ("", "empty-file@1:1"),
        ("---\n---\n", "empty-file@1:1"),
        ("- a\n", "wrong-type@1:1"),
        ("run: a\n---\nrun: b\n", "several-documents@3:1"),
        ("run: a\nrun: b\n", "duplicate-key@2:1"),
        ("{[a]: b}\n", "key-not-scalar@1:2"),
        ("a: *b\n", "yaml-syntax@1:4"),
        ("a: &a [*a]\n", "alias-recursive@1:8"),
        ("a: !mine 3\n", "yaml-scalar@1:4"),
        ("a: 2024-13-01\n", "yaml-scalar@1:4"),
        ("a:\n\t- b\n", "yaml-syntax@2:1"),
        ("a: \"b\n", "yaml-syntax@1:4"),
    ] {
        let found = errors(text);
        let place = expected.split('@').next().expect("a code");
        assert!(
            found[0] == expected || (place == "yaml-syntax" && found[0].starts_with(place)),
            "{text:?}: {found:?}"
        );
    }
    let pipeline = format!("name: p\n---\nservice: {{}}\n{REST}...\n---\n");
    accepted(&pipeline);
    let merged = accepted(&format!(
        "envs: {{<<: [{{A: 1, B: 1}}, {{B: 2, C: 2}}], C: 3}}\nservice: {{}}\n{REST}"
    ));
    let values: Vec<&str> = merged.envs.values().map(String::as_str).collect();
    assert_eq!(values, ["1", "1", "3"]);
    let tabs = accepted("service:\n  replicas:\t2\nresources:\n  ports:\t\t80\n");
    assert_eq!(
        tabs.service.expect("a service").replica_policy.min_replicas,
        2
    );
    accepted("service: {\nreplicas: 2 # two\n}\nresources: {ports: [\n80\n]}\nrun: \"a\nb\"\n");
}

#[test]
fn warnings_do_not_reject() {
    let text = format!("service: {{}}\nconfig: {{kubernets: {{}}}}\n{REST}");
    let source = SourceText::new("task.yaml", text);
    let checked = check_task(&source, &Overrides::default(), Purpose::Service);
    assert!(checked.task.is_some());
    assert_eq!(checked.diagnostics[0].severity, spec::Severity::Warning);
    let report = checked.report(&source);
    assert_eq!(report["verdict"], "accepted");
    assert_eq!(
        report["diagnostics"][0]["help"],
        "did you mean `kubernetes`?"
    );
}

#[test]
fn a_task_needs_no_service_but_a_good_name() {
    let parse = |text: &str| {
        parse_task(
            &SourceText::new("t", text),
            &Overrides::default(),
            Purpose::Task,
        )
    };
    assert!(
        parse("run: echo\nname: a-b.c_1\n")
            .expect("accepted")
            .service
            .is_none()
    );
    assert_eq!(
        parse("name: a b\n").expect_err("rejected")[0].code,
        "invalid-name"
    );
    assert_eq!(
        parse("name: a---b\n").expect_err("rejected")[0].code,
        "invalid-name"
    );
}
