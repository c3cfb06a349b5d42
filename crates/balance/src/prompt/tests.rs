use proptest::prelude::*;

use super::*;

const CHAT: &str = "/v1/chat/completions";

fn text<'a>(body: &'a str, path: &str) -> Option<&'a str> {
    extract(body.as_bytes(), path).map(|prompt| std::str::from_utf8(prompt.text()).unwrap())
}

#[test]
fn each_api_has_its_key() {
    for (path, body, found) in [
        (
            CHAT,
            r#"{"messages":[{"role":"user","content":"hi"}]}"#,
            r#"{"role":"user","content":"hi"}"#,
        ),
        (
            "/openai/v1/chat/completions?api-version=1",
            r#"{"messages":["m"]}"#,
            r#""m""#,
        ),
        (
            "/v1/messages",
            r#"{"max_tokens":1,"messages":["m"]}"#,
            r#""m""#,
        ),
        ("/api/chat", r#"{"messages":["m"]}"#, r#""m""#),
        ("/v1/completions", r#"{"prompt":"say hi"}"#, "say hi"),
        ("/v1/completions/", r#"{"prompt":["a","b"]}"#, r#""a","b""#),
        ("/v1/responses", r#"{"input":"say hi"}"#, "say hi"),
        ("/generate", r#"{"text":"say hi"}"#, "say hi"),
        ("/generate", r#"{"prompt":"say hi"}"#, "say hi"),
        ("/generate_stream", r#"{"inputs":"say hi"}"#, "say hi"),
        ("/generate", r#"{"input_ids":[1,2,3]}"#, "1,2,3"),
    ] {
        assert_eq!(text(body, path), Some(found), "{path} {body}");
    }
}

#[test]
fn other_paths_have_no_prompt() {
    let body = r#"{"messages":["m"],"prompt":"p","text":"t","input":"i"}"#;
    for path in [
        "",
        "/",
        "/v1/embeddings",
        "/chat",
        "/v1/chat/completions/7",
        "/?/v1/completions",
    ] {
        assert_eq!(text(body, path), None, "{path}");
    }
}

#[test]
fn the_key_is_looked_for_in_the_outermost_object_only() {
    let body = r#" { "stream" : true, "metadata":{"messages":["not"],"x":[{"messages":["nor"]}]},
        "stop":["\"messages\":", "]}"], "n": -1.5e3, "user":null , "messages" : [ "this" ] } "#;
    assert_eq!(text(body, CHAT), Some(r#" "this" "#));
}

#[test]
fn parts_and_escapes_are_taken_as_they_stand() {
    let messages =
        r#"{"role":"user","content":[{"type":"text","text":"a \"]\" \\"},{"type":"image_url"}]}"#;
    let body = format!(r#"{{"messages":[{messages}],"n":1}}"#);
    assert_eq!(text(&body, CHAT), Some(messages));
}

#[test]
fn the_model_counts_when_it_comes_first() {
    let before = br#"{"model":"lora-7","messages":["m"]}"#;
    assert_eq!(extract(before, CHAT).unwrap().model(), br#""lora-7""#);
    let after = br#"{"messages":["m"],"model":"lora-7"}"#;
    assert_eq!(extract(after, CHAT).unwrap().model(), b"");
}

#[test]
fn what_is_no_prompt_is_passed_by() {
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "{",
        r#"{"messages"#,
        r#"{"messages":"#,
        r#"{"messages":["#,
        r#"{"messages":[]}"#,
        r#"{"messages":""}"#,
        r#"{"messages":null}"#,
        r#"{"messages":7,"n":1}"#,
        r#"{"messages" ["m"]}"#,
        r#"{"a":1 "messages":["m"]}"#,
        r#"{messages:["m"]}"#,
        r#"messages=["m"]"#,
    ] {
        assert_eq!(text(body, CHAT), None, "{body}");
    }
    let body = r#"{"prompt":null,"text":"t"}"#;
    assert_eq!(text(body, "/generate"), Some("t"));
    assert_eq!(text("\u{feff}{\"prompt\":\"p\"}", "/generate"), Some("p"));
}

#[test]
fn one_turn_begins_the_next() {
    let first = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
    let next = r#"{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant"}]}"#;
    let (first, next) = (text(first, CHAT).unwrap(), text(next, CHAT).unwrap());
    assert!(next.starts_with(first));
}

#[test]
fn a_body_that_is_cut_gives_the_beginning() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"say \"hi\" \u00e9]"}],"n":1}"#;
    let whole = text(body, CHAT).unwrap();
    let start = body.find("[{").unwrap() + 1;
    for cut in 0..body.len() {
        let found = text(&body[..cut], CHAT);
        if cut <= start {
            assert_eq!(found, None, "{cut}");
        } else {
            assert!(whole.starts_with(found.unwrap()), "{cut}");
            assert_eq!(found.unwrap().len(), (cut - start).min(whole.len()));
        }
    }
}

#[test]
fn a_conversation_is_known_by_its_messages_up_to_the_first_of_the_user() {
    let of = |messages: &[&str]| {
        let body = format!(r#"{{"model":"m","messages":[{}]}}"#, messages.join(","));
        extract(body.as_bytes(), CHAT).and_then(|prompt| prompt.conversation())
    };
    let system = r#"{"role":"system","content":"be kind, \"user\""}"#;
    let (one, two) = (
        r#"{"role": "user", "content": "one"}"#,
        r#"{"content":"two","role":"user"}"#,
    );
    let reply = r#"{"role":"assistant","content":[{"type":"text","role":"user"}]}"#;
    let known = of(&[system, one]).unwrap();
    assert_eq!(of(&[system, one, reply, two]), Some(known));
    assert_ne!(of(&[system, two]), Some(known));
    assert_ne!(of(&[one]), Some(known));
    assert_eq!(of(&[system, reply]), None);
    assert_eq!(of(&["\"m\"", "3", "null"]), None);
    let cut = r#"{"messages":[{"role":"user","content":"a long"#;
    let prompt = extract(cut.as_bytes(), CHAT).unwrap();
    assert_eq!(prompt.conversation(), None);
    let plain = extract(br#"{"prompt":"say hi"}"#, "/v1/completions").unwrap();
    assert_eq!(plain.conversation(), None);
}

/// Bytes that mean something to the scanner, and some that do not.
fn json_like() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        "\\\"",
        ",",
        ":",
        " ",
        "\"messages\":",
        "\"prompt\"",
        "text",
        "null",
        "\u{e9}",
        "\u{feff}",
        "1",
    ]);
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_are_safe(body in prop::collection::vec(any::<u8>(), 0..300), path in ".*") {
        let _ = extract(&body, &path);
        for path in [CHAT, "/generate"] {
            let _ = extract(&body, path);
        }
    }

    #[test]
    fn anything_like_json_is_safe(rest in json_like(), open in any::<bool>()) {
        let mut body = if open { b"{".to_vec() } else { Vec::new() };
        body.extend(rest);
        for path in [CHAT, "/v1/completions", "/generate"] {
            if let Some(prompt) = extract(&body, path) {
                let _ = prompt.conversation();
                prop_assert!(!prompt.text().is_empty());
                prop_assert!(prompt.text().len() < body.len());
            }
        }
    }

    /// Whatever stands before it and in it: the prompt that was written is the prompt that is found.
    #[test]
    fn what_was_written_is_found(content in ".{1,80}", other in ".{0,40}") {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let (content, other) = (escape(&content), escape(&other));
        let body = format!(r#"{{"a":"{other}","b":[{{"prompt":"{other}"}}],"prompt":"{content}","c":0}}"#);
        prop_assert_eq!(text(&body, "/v1/completions"), Some(content.as_str()));
    }
}
