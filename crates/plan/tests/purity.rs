//! Promise 4 from outside: the planner depends on nothing that could block, sleep or draw a random
//! number, and its sources name nothing of the kind. (`clippy.toml` bans the calls one by one.)
#![expect(
    clippy::disallowed_methods,
    reason = "this test reads the sources; the planner reads nothing"
)]

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_planner_depends_on_data_only() {
    let manifest = include_str!("../Cargo.toml");
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    let dependencies = dependencies.split("[dev-dependencies]").next().unwrap();
    let names: Vec<&str> = dependencies
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names, ["serde", "serde_json", "spec"]);
}

#[test]
fn the_sources_name_no_clock_thread_file_or_socket() {
    let banned = [
        "std::time",
        "std::thread",
        "std::fs",
        "std::env",
        "std::io",
        "std::process",
        "std::sync",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "HashMap",
        "HashSet",
        "RandomState",
        "async fn",
        "unsafe",
        ".unwrap()",
        "panic!",
        "unreachable!",
    ];
    let mut files = 0;
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        if path.ends_with("tests.rs") {
            continue;
        }
        files += 1;
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            for name in banned {
                assert!(
                    !line.contains(name),
                    "{}:{}: {name}",
                    path.display(),
                    number + 1
                );
            }
        }
    }
    assert!(files > 20, "{files} files");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            found.push(path);
        }
    }
    found
}
