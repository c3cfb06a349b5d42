//! The choice is pure: the crate depends on data only, and its sources name no clock, thread, file, or source of
//! randomness of their own. (`clippy.toml` bans the calls one by one.)

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn it_depends_on_the_specification_only() {
    let manifest = include_str!("../Cargo.toml");
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    let dependencies = dependencies.split("[dev-dependencies]").next().unwrap();
    assert_eq!(dependencies.trim(), "spec.workspace = true");
}

#[test]
fn its_sources_name_nothing_impure() {
    let banned = [
        "std::time",
        "std::thread",
        "std::sync",
        "std::fs",
        "std::env",
        "std::io",
        "std::net",
        "std::process",
        "Atomic",
        "RandomState",
        "HashMap",
        "HashSet",
        "async fn",
    ];
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.len() > 10);
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        for word in banned {
            assert!(!text.contains(word), "{} names {word}", path.display());
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
