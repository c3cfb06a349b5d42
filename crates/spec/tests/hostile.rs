//! Input made to hurt: a clear error, quickly, in little memory. Times are bounded by budgets, not
//! by a clock.

use spec::{
    MAX_DEPTH, MAX_SOURCE_BYTES, Overrides, Purpose, SourceText, parse_env_file, parse_task,
};

fn code(text: impl Into<Vec<u8>>) -> &'static str {
    let source = SourceText::new("hostile.yaml", text);
    let diagnostics =
        parse_task(&source, &Overrides::default(), Purpose::Service).expect_err("rejected");
    for diagnostic in &diagnostics {
        assert!(!diagnostic.render(&source, true).is_empty());
    }
    diagnostics[0].code
}

#[test]
fn size_is_bounded() {
    assert_eq!(
        code("a: ".to_owned() + &"b".repeat(10 << 20)),
        "file-too-large"
    );
    assert_eq!(code("- a\n".repeat(MAX_SOURCE_BYTES / 4)), "file-too-large");
    let many = "---\na: 1\n".repeat(100);
    assert_eq!(code(many), "too-many-documents");
}

#[test]
fn nesting_is_bounded() {
    for deep in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "a: ".to_owned() + &"[".repeat(MAX_DEPTH),
        (0..2_000)
            .map(|depth| " ".repeat(depth % 400) + "a:\n")
            .collect(),
        "? ".repeat(100_000),
        "!a ".repeat(100_000),
        "&a ".repeat(100_000),
    ] {
        let found = code(deep.clone());
        let known = [
            "nested-too-deep",
            "yaml-syntax",
            "key-not-scalar",
            "duplicate-key",
            "yaml-tag",
            "yaml-scalar",
        ];
        assert!(known.contains(&found), "{found}: {}", &deep[..20]);
    }
}

#[test]
fn aliases_are_bounded() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let before = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    assert_eq!(code(bomb), "file-too-large");
    let text = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(100_000),
        vec!["*a"; 1_000].join(", ")
    );
    assert_eq!(code(text), "file-too-large");
    let nested: String = (1..300).fold("a0: &a0 [x]\n".to_owned(), |text, level| {
        text + &format!("a{level}: &a{level} [*a{}]\n", level - 1)
    });
    assert_eq!(code(nested), "nested-too-deep");
}

#[test]
fn what_is_not_text_is_refused() {
    assert_eq!(code(*b"run: a\0b\n"), "control-character");
    assert_eq!(code(*b"run: \x1b[31m\n"), "control-character");
    assert_eq!(code(*b"run: \xff\xfe\n"), "not-utf8");
    let utf16: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain("run: x\n".encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    assert_eq!(code(utf16), "not-utf8");
    let env_file = SourceText::new(".env", *b"A=\0\n");
    assert_eq!(
        parse_env_file(&env_file).expect_err("rejected")[0].code,
        "control-character"
    );
}

#[test]
fn retried_readings_are_bounded() {
    // Each tab costs one more reading, so a long file with many of them is given up on.
    let tabs = "a:\tb\n".repeat(50_000);
    assert!(["yaml-syntax", "duplicate-key"].contains(&code(tabs)));
    let open = "a: {\n".repeat(100_000);
    assert!(["yaml-syntax", "nested-too-deep"].contains(&code(open)));
}

#[test]
fn findings_are_bounded() {
    let keys = |separator: &str| {
        (0..40_000)
            .map(|at| format!("replica{at}: 1"))
            .collect::<Vec<_>>()
            .join(separator)
    };
    for text in [
        keys("\n"),
        format!("{{{}}}", keys(", ")),
        format!("service: {{{}}}", keys(", ")),
        format!("{{{}}}", "a: 1, ".repeat(40_000)),
        format!("<<: {{{}}}\n{}", keys(", "), keys("\n")),
        format!("envs: {{{}}}\n", keys(", ").replace("replica", "1")),
    ] {
        let source = SourceText::new("t", text);
        let diagnostics =
            parse_task(&source, &Overrides::default(), Purpose::Service).expect_err("rejected");
        assert!(diagnostics.len() <= 201);
    }
}

#[test]
fn lists_that_multiply_are_bounded() {
    let alternatives = format!(
        "service: {{}}\nresources: {{ports: '1-65535', any_of: [{}]}}\n",
        "{},".repeat(40_000)
    );
    assert_eq!(code(alternatives), "port-ambiguous");
    let ports = format!(
        "service: {{}}\nresources: {{ports: [{}]}}\n",
        "1-65535,".repeat(90_000)
    );
    assert_eq!(code(ports), "port-ambiguous");
    let secrets: String = (0..40_000).map(|at| format!("  S{at}: x\n")).collect();
    assert_eq!(
        code(format!("secrets:\n{secrets}run: x\nservice: {{}}\n")),
        "too-many-secrets"
    );
}

#[test]
fn long_unknown_names_and_values_stay_short_in_messages() {
    let source = SourceText::new(
        "t",
        format!(
            "{}: 1\nservice: {{replicas: {}}}\n",
            "x".repeat(90_000),
            "y".repeat(300_000)
        ),
    );
    let diagnostics =
        parse_task(&source, &Overrides::default(), Purpose::Service).expect_err("rejected");
    assert!(
        diagnostics
            .iter()
            .all(|diagnostic| diagnostic.message.len() < 300)
    );
}
