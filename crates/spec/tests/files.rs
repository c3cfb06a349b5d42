//! Which files are shipped, their digest, and the copy.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use spec::files::{Entry, EntryKind, FilesError, collect, copy_to, digest};
use tempfile::TempDir;

fn tree(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, content) in files {
        write(folder.path(), path, content);
    }
    folder
}

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, content).expect("a file");
}

fn names(root: &Path) -> Vec<String> {
    let entries = collect(root).expect("collected");
    entries
        .iter()
        .map(|entry| entry.path.display().to_string())
        .collect()
}

#[test]
fn gitignore_is_respected_with_and_without_a_repository() {
    let folder = tree(&[
        (".gitignore", "*.log\n/out/\n"),
        ("a.py", ""),
        ("b.log", ""),
        ("out/x", ""),
        ("sub/.gitignore", "!keep.log\n"),
        ("sub/keep.log", ""),
        (".hidden", ""),
        (".git/HEAD", ""),
    ]);
    let expected = [
        ".gitignore",
        ".hidden",
        "a.py",
        "sub",
        "sub/.gitignore",
        "sub/keep.log",
    ];
    assert_eq!(names(folder.path()), expected);
    fs::remove_dir_all(folder.path().join(".git")).expect("removed");
    assert_eq!(names(folder.path()), expected);
}

#[test]
fn skyignore_replaces_gitignore() {
    let folder = tree(&[
        (".gitignore", "*.bin\n"),
        (".skyignore", "*.tmp\n/data\n"),
        ("model.bin", ""),
        ("a.tmp", ""),
        ("data/x", ""),
        ("sub/data/x", ""),
    ]);
    assert_eq!(
        names(folder.path()),
        [
            ".gitignore",
            ".skyignore",
            "model.bin",
            "sub",
            "sub/data",
            "sub/data/x"
        ]
    );
}

#[test]
fn rules_of_the_repository_above_count() {
    let folder = tree(&[
        (".gitignore", "*.log\n"),
        (".git/HEAD", ""),
        ("app/a", ""),
        ("app/b.log", ""),
    ]);
    assert_eq!(names(&folder.path().join("app")), ["a"]);
    fs::remove_dir_all(folder.path().join(".git")).expect("removed");
    assert_eq!(names(&folder.path().join("app")), ["a", "b.log"]);
}

#[test]
fn the_digest_follows_paths_contents_modes_and_links() {
    let folder = tree(&[("a", "1"), ("b/c", "2")]);
    let root = folder.path();
    let of = |root: &Path| digest(&collect(root).expect("collected"));
    let base = of(root);
    assert_eq!(of(root), base);
    write(root, "a", "2");
    assert_ne!(of(root), base);
    write(root, "a", "1");
    assert_eq!(of(root), base);
    fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o755)).expect("mode");
    let executable = of(root);
    assert_ne!(executable, base);
    fs::rename(root.join("a"), root.join("z")).expect("renamed");
    assert_ne!(of(root), executable);
    symlink("/nowhere", root.join("l")).expect("a link");
    let link = of(root);
    fs::remove_file(root.join("l")).expect("removed");
    symlink("/elsewhere", root.join("l")).expect("a link");
    assert_ne!(of(root), link);
    // The same tree elsewhere has the same digest.
    let copy = tempfile::tempdir().expect("a folder");
    let entries = collect(root).expect("collected");
    copy_to(&entries, root, &copy.path().join("deep/copy")).expect("copied");
    assert_eq!(of(&copy.path().join("deep/copy")), of(root));
}

#[test]
fn a_copy_keeps_modes_and_links_and_follows_none() {
    let folder = tree(&[
        ("run.sh", "x"),
        ("sealed/a", "1"),
        ("ignored.log", ""),
        (".gitignore", "*.log"),
    ]);
    let root = folder.path();
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o750)).expect("mode");
    fs::set_permissions(root.join("sealed"), fs::Permissions::from_mode(0o555)).expect("mode");
    symlink("/etc", root.join("out")).expect("a link");
    let target = tempfile::tempdir().expect("a folder");
    let copy = target.path().join("copy");
    let entries = collect(root).expect("collected");
    assert!(entries.iter().any(
        |entry| matches!(&entry.kind, EntryKind::Link { target } if target == Path::new("/etc"))
    ));
    assert_eq!(
        entries
            .iter()
            .filter(|entry| entry.path.starts_with("out"))
            .count(),
        1
    );
    copy_to(&entries, root, &copy).expect("copied");
    let mode = |path: &str| {
        fs::metadata(copy.join(path))
            .expect("there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("run.sh"), mode("sealed")), (0o750, 0o555));
    assert_eq!(
        fs::read_link(copy.join("out")).expect("a link"),
        Path::new("/etc")
    );
    assert!(!copy.join("ignored.log").exists());
    for sealed in [root.join("sealed"), copy.join("sealed")] {
        fs::set_permissions(sealed, fs::Permissions::from_mode(0o755)).expect("mode");
    }
}

#[test]
fn a_single_file_is_a_tree() {
    let folder = tree(&[("model.txt", "weights")]);
    let file = folder.path().join("model.txt");
    let entries = collect(&file).expect("collected");
    assert!(matches!(
        entries.as_slice(),
        [Entry {
            kind: EntryKind::File { bytes: 7, .. },
            ..
        }]
    ));
    let copy = folder.path().join("new/place.txt");
    copy_to(&entries, &file, &copy).expect("copied");
    assert_eq!(fs::read_to_string(copy).expect("there"), "weights");
}

#[test]
fn what_cannot_be_read_or_has_changed_is_named() {
    let folder = tree(&[("a", "1")]);
    let missing = folder.path().join("missing");
    let error = collect(&missing).expect_err("there is nothing");
    assert!(error.to_string().contains("missing"), "{error}");
    let entries = collect(folder.path()).expect("collected");
    write(folder.path(), "a", "2");
    let copy = tempfile::tempdir().expect("a folder");
    let error = copy_to(&entries, folder.path(), &copy.path().join("x")).expect_err("changed");
    assert!(
        matches!(error, FilesError::Changed { .. }) && error.to_string().contains("/a was changed"),
        "{error}"
    );
}
