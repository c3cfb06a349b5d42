//! What every store must keep, shown on SQLite: all of a commit or nothing, and everything after a restart.

#[path = "support/mod.rs"]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use plan::routing::ApiKeyHash;
use plan::{Action, Event, Happening, HappeningKind, Timestamp, step};
use store::{Commit, KeyChange, KeyRecord, SqliteStore, Store, StoreError};

use support::{NOW, commit, state, version};

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(&folder.join("state.db")).unwrap()
}

#[test]
fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = step(&state("web"), NOW, &Event::Tick);
    assert!(!first.actions.is_empty());
    let record = version(1);
    open(folder.path())
        .create(commit(
            &first.state,
            Some(&record),
            &first.actions,
            &[],
            &first.happenings,
        ))
        .unwrap();

    let store = open(folder.path());
    let loaded = store.load().unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].state, first.state);
    assert_eq!(loaded[0].owed, first.actions);
    assert_eq!(loaded[0].revision, 1);
    assert_eq!(store.version("web", 1).unwrap().unwrap(), record);
    assert_eq!(store.version("web", 2).unwrap(), None);
    let events = store.events("web", 0, 100).unwrap();
    assert_eq!(events.len(), first.happenings.len());
    assert_eq!(
        store.events("web", events[0].sequence, 100).unwrap().len(),
        events.len() - 1
    );
}

#[test]
fn a_refused_commit_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let record = version(1);
    let mut now = state("web");
    store
        .create(commit(&now, Some(&record), &[], &[], &[]))
        .unwrap();
    let before = store.load().unwrap();

    // The version exists: the whole commit is refused, state and actions included.
    now.next_replica_id = 99;
    let owed = [Action::Withdraw];
    let told = [Happening {
        kind: HappeningKind::ShuttingDown,
        replica: None,
        version: None,
        message: "no".to_owned(),
    }];
    assert!(
        store
            .commit(commit(&now, Some(&record), &owed, &[], &told))
            .is_err()
    );
    assert_eq!(store.load().unwrap(), before);
    assert!(store.events("web", 0, 10).unwrap().is_empty());

    // Another service of the name, or one of another incarnation, is refused too.
    let taken = store.create(commit(&state("web"), None, &[], &[], &[]));
    assert!(matches!(taken, Err(StoreError::NameTaken(name)) if name == "web"));
    now.incarnation = "fedcba9876543210".to_owned();
    let stranger = store.commit(commit(&now, None, &[], &[], &[]));
    assert!(matches!(stranger, Err(StoreError::NoSuchService(_))));
    assert_eq!(store.load().unwrap(), before);
}

#[test]
fn actions_are_owed_in_order_until_they_are_settled() {
    let store = SqliteStore::in_memory().unwrap();
    let state = state("web");
    let launch = |replica| Action::Launch {
        replica,
        version: 1,
    };
    store
        .create(commit(&state, None, &[launch(1), launch(2)], &[], &[]))
        .unwrap();
    let terminate = Action::Terminate {
        replica: 1,
        grace_seconds: 10.0,
    };
    let settled = [launch(1).key()];
    let revision = store
        .commit(commit(
            &state,
            None,
            std::slice::from_ref(&terminate),
            &settled,
            &[],
        ))
        .unwrap();
    assert_eq!(revision, 2);
    assert_eq!(
        store.load().unwrap()[0].owed,
        [launch(2), terminate.clone()]
    );
    // A later action with the same key takes the place, and the turn, of the earlier.
    let again = Action::Launch {
        replica: 2,
        version: 3,
    };
    store
        .commit(commit(&state, None, std::slice::from_ref(&again), &[], &[]))
        .unwrap();
    assert_eq!(store.load().unwrap()[0].owed, [terminate, again]);
}

#[test]
fn forgetting_a_service_leaves_only_its_events() {
    let store = SqliteStore::in_memory().unwrap();
    let first = step(&state("web"), NOW, &Event::Tick);
    let record = version(1);
    store
        .create(commit(
            &first.state,
            Some(&record),
            &first.actions,
            &[],
            &first.happenings,
        ))
        .unwrap();
    assert_eq!(store.snapshots_in_use().unwrap(), ["digest-1"]);
    store.forget("web").unwrap();
    assert!(store.load().unwrap().is_empty());
    assert_eq!(store.version("web", 1).unwrap(), None);
    assert!(store.snapshots_in_use().unwrap().is_empty());
    assert!(!store.events("web", 0, 100).unwrap().is_empty());
    // The name is free again.
    store
        .create(commit(&state("web"), Some(&record), &[], &[], &[]))
        .unwrap();
}

fn key(id: &str, at: i64) -> KeyRecord {
    KeyRecord {
        id: id.to_owned(),
        name: "ci".to_owned(),
        hash: ApiKeyHash(format!("{at:064x}")),
        created_at: Timestamp(at),
        revoked_at: None,
    }
}

fn change_keys(store: &SqliteStore, change: &KeyChange) -> Result<u64, StoreError> {
    let state = state("web");
    store.commit(Commit {
        keys: Some(change),
        ..commit(&state, None, &[], &[], &[])
    })
}

#[test]
fn keys_are_kept_until_they_or_their_service_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let create = || store.create(commit(&state("web"), None, &[], &[], &[]));
    create().unwrap();
    store
        .create(commit(&state("other"), None, &[], &[], &[]))
        .unwrap();
    // Read back in the order in which they were made, from another process too.
    for one in [key("k-2", 20), key("k-1", 10)] {
        change_keys(&store, &KeyChange::Added(one)).unwrap();
    }
    let kept = [key("k-1", 10), key("k-2", 20)];
    assert_eq!(open(folder.path()).keys("web").unwrap(), kept);
    assert!(store.keys("other").unwrap().is_empty());
    // The instant of the first revocation stays.
    for at in [30, 40] {
        let (id, at) = ("k-1".to_owned(), Timestamp(at));
        change_keys(&store, &KeyChange::Revoked { id, at }).unwrap();
    }
    let revoked = store.keys("web").unwrap()[0].revoked_at;
    assert_eq!(revoked, Some(Timestamp(30)));
    change_keys(&store, &KeyChange::Forgotten).unwrap();
    assert!(store.keys("web").unwrap().is_empty());
    // Whoever takes the name later does not inherit the keys.
    change_keys(&store, &KeyChange::Added(key("k-3", 50))).unwrap();
    store.forget("web").unwrap();
    create().unwrap();
    assert!(store.keys("web").unwrap().is_empty());
}

#[test]
fn a_refused_key_takes_its_commit_with_it() {
    let store = SqliteStore::in_memory().unwrap();
    store
        .create(commit(&state("web"), None, &[], &[], &[]))
        .unwrap();
    let added = KeyChange::Added(key("k-1", 10));
    change_keys(&store, &added).unwrap();
    let before = store.load().unwrap();
    assert!(change_keys(&store, &added).is_err());
    assert_eq!(store.load().unwrap(), before);
    assert_eq!(store.keys("web").unwrap(), [key("k-1", 10)]);
}

#[test]
fn a_version_is_forgotten_with_the_action_that_asked_for_it() {
    let store = SqliteStore::in_memory().unwrap();
    let owed = [Action::CollectVersion { version: 1 }];
    store
        .create(commit(&state("web"), Some(&version(1)), &owed, &[], &[]))
        .unwrap();
    store.forget_version("web", 1).unwrap();
    assert_eq!(store.version("web", 1).unwrap(), None);
    assert!(store.load().unwrap()[0].owed.is_empty());
}

#[test]
fn events_are_bounded() {
    let store = SqliteStore::in_memory().unwrap();
    let state = state("web");
    store.create(commit(&state, None, &[], &[], &[])).unwrap();
    let many = told(store::EVENTS_KEPT + 50);
    store.commit(commit(&state, None, &[], &[], &many)).unwrap();
    let kept = store.events("web", 0, u32::MAX).unwrap();
    assert_eq!(kept.len(), store::EVENTS_KEPT as usize);
    assert_eq!(kept.last().unwrap().replica, Some(store::EVENTS_KEPT + 49));
}

fn told(count: u32) -> Vec<Happening> {
    let one = |n| Happening {
        kind: HappeningKind::ReplicaStatus,
        replica: Some(n),
        version: None,
        message: format!("event {n}"),
    };
    (0..count).map(one).collect()
}

#[test]
fn events_of_services_that_are_gone_are_bounded_together() {
    let store = SqliteStore::in_memory().unwrap();
    for name in ["a", "b", "c"] {
        let (state, told) = (state(name), told(store::EVENTS_KEPT));
        store.create(commit(&state, None, &[], &[], &told)).unwrap();
    }
    let living = state("living");
    store
        .create(commit(&living, None, &[], &[], &told(5)))
        .unwrap();
    for name in ["a", "b", "c"] {
        store.forget(name).unwrap();
    }
    let kept = |name| store.events(name, 0, u32::MAX).unwrap().len();
    let (all, limit) = (
        kept("a") + kept("b") + kept("c"),
        store::EVENTS_OF_GONE_KEPT,
    );
    assert_eq!(all, limit as usize);
    assert_eq!(
        (kept("a"), kept("living")),
        (0, 5),
        "the oldest go first, and none of a service that is there"
    );
}

#[test]
fn events_of_a_name_that_is_used_again_are_those_of_its_last_service() {
    let store = SqliteStore::in_memory().unwrap();
    store
        .create(commit(&state("web"), None, &[], &[], &told(3)))
        .unwrap();
    store.forget("web").unwrap();
    assert_eq!(store.events("web", 0, 10).unwrap().len(), 3);
    let mut second = state("web");
    second.incarnation = "fedcba9876543210".to_owned();
    store.create(commit(&second, None, &[], &[], &[])).unwrap();
    assert!(store.events("web", 0, 10).unwrap().is_empty());
    store
        .commit(commit(&second, None, &[], &[], &told(1)))
        .unwrap();
    assert_eq!(store.events("web", 0, 10).unwrap().len(), 1);
    store.forget("web").unwrap();
    assert_eq!(store.events("web", 0, 10).unwrap().len(), 1);
}

#[test]
fn the_file_is_readable_by_its_owner_only_and_by_a_sql_shell() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let first = step(&state("web"), NOW, &Event::Tick);
    store
        .create(commit(&first.state, Some(&version(1)), &[], &[], &[]))
        .unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(
            mode & 0o077,
            0,
            "{:?} is open to others: {mode:o}",
            entry.path()
        );
    }
    drop(store);
    let shell = rusqlite::Connection::open(folder.path().join("state.db")).unwrap();
    let rows: i64 = shell
        .query_row(
            "SELECT count(*) FROM replicas WHERE status = 'PENDING'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(rows, 2);
}

#[test]
fn a_database_of_a_newer_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let path = folder.path().join("state.db");
    let shell = rusqlite::Connection::open(&path).unwrap();
    shell
        .execute(
            "INSERT INTO migrations (number, name, checksum) VALUES (99, 'future', 'x')",
            [],
        )
        .unwrap();
    drop(shell);
    let error = SqliteStore::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("migration 99") && error.contains("newer"),
        "{error}"
    );
}
