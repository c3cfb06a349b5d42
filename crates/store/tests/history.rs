//! The history of a service: worked out from what is committed.

#[path = "support/mod.rs"]
mod support;

use plan::rollout::{Outcome, Rollout, UpdateMode};
use plan::{ServiceState, Timestamp};
use store::{Commit, HistoryRecord, SqliteStore, Store};

use support::{NOW, commit, state, version_state};

fn rollout(version: u32, at: Timestamp) -> Rollout {
    Rollout::new(version, UpdateMode::BlueGreen, Some(1), at)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(NOW.0 + seconds * 1_000_000)
}

/// Makes a version the desired one, `seconds` after the start.
fn update(state: &mut ServiceState, version: u32, seconds: i64) {
    state.versions.insert(version, version_state(version));
    state.desired = version;
    state.rollout = Some(rollout(version, at(seconds)));
}

fn put(store: &SqliteStore, state: &ServiceState, seconds: i64, by: Option<&str>) {
    let put = Commit {
        at: at(seconds),
        requested_by: by,
        ..commit(state, None, &[], &[], &[])
    };
    store.commit(put).unwrap();
}

/// Version, kind, outcome and reason of each entry.
fn told(store: &SqliteStore) -> Vec<String> {
    let told = |entry: HistoryRecord| {
        let reason = entry.reason.unwrap_or_default();
        let text = format!(
            "{} {} {} {reason}",
            entry.kind, entry.version, entry.outcome
        );
        text.trim_end().to_owned()
    };
    store
        .history("web")
        .unwrap()
        .into_iter()
        .map(told)
        .collect()
}

#[test]
fn each_entry_says_who_when_and_how_it_ended() {
    let store = SqliteStore::in_memory().unwrap();
    let mut state = state("web");
    let up = Commit {
        requested_by: Some("ann"),
        ..commit(&state, None, &[], &[], &[])
    };
    store.create(up).unwrap();
    assert_eq!(told(&store), ["up 1 in_progress"]);
    state.trusted = Some(1);
    put(&store, &state, 5, None);
    assert_eq!(told(&store), ["up 1 succeeded"]);

    update(&mut state, 2, 10);
    put(&store, &state, 10, Some("bob"));
    let failed = Outcome::Failed {
        at: at(20),
        reason: "replica 3: run exited with code 1".to_owned(),
        back_to: Some(1),
        stays: false,
    };
    state.rollout.as_mut().unwrap().outcome = Some(failed);
    state.desired = 1;
    put(&store, &state, 20, None);
    // Nothing new: nothing changes.
    put(&store, &state, 30, None);
    let failed = "update 2 failed replica 3: run exited with code 1";
    assert_eq!(told(&store), ["up 1 succeeded", failed]);
    let entries = store.history("web").unwrap();
    let (up, second) = (&entries[0], &entries[1]);
    assert_eq!(
        (up.requested_by.as_deref(), second.requested_by.as_deref()),
        (Some("ann"), Some("bob"))
    );
    assert_eq!((up.started_at, up.ended_at), (NOW, Some(at(5))));
    assert_eq!((second.started_at, second.ended_at), (at(10), Some(at(20))));
    assert_eq!(
        (second.task_hash.as_str(), second.mode.as_str()),
        ("hash-2", "blue_green")
    );
}

#[test]
fn what_is_overtaken_is_superseded_and_going_back_is_a_rollback() {
    let store = SqliteStore::in_memory().unwrap();
    let mut state = state("web");
    store.create(commit(&state, None, &[], &[], &[])).unwrap();
    state.trusted = Some(1);
    update(&mut state, 2, 10);
    put(&store, &state, 10, None);
    update(&mut state, 3, 20);
    put(&store, &state, 20, None);
    update(&mut state, 1, 30);
    put(&store, &state, 30, None);
    state.rollout.as_mut().unwrap().outcome = Some(Outcome::Succeeded { at: at(40) });
    put(&store, &state, 40, None);
    let expected = [
        // It was held to be good when the next one came.
        "up 1 succeeded",
        "update 2 superseded version 3 took its place",
        "update 3 superseded version 1 took its place",
        "rollback 1 succeeded",
    ];
    assert_eq!(told(&store), expected);
}

#[test]
fn the_history_is_bounded_and_goes_with_its_service() {
    let store = SqliteStore::in_memory().unwrap();
    let mut state = state("web");
    store.create(commit(&state, None, &[], &[], &[])).unwrap();
    for number in 2..store::HISTORY_KEPT + 10 {
        state.versions.clear();
        update(&mut state, number, i64::from(number));
        put(&store, &state, i64::from(number), None);
    }
    let entries = store.history("web").unwrap();
    assert_eq!(entries.len(), store::HISTORY_KEPT as usize);
    assert_eq!(entries.last().unwrap().version, store::HISTORY_KEPT + 9);
    store.forget("web").unwrap();
    assert!(store.history("web").unwrap().is_empty());
}

#[test]
fn versions_from_before_there_was_a_history_are_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut state = state("web");
    let store = SqliteStore::open(&path).unwrap();
    store.create(commit(&state, None, &[], &[], &[])).unwrap();
    update(&mut state, 2, 10);
    put(&store, &state, 10, None);
    drop(store);
    // As it was before the third migration.
    let shell = rusqlite::Connection::open(&path).unwrap();
    shell
        .execute_batch("DROP TABLE history; DELETE FROM migrations WHERE number = 3;")
        .unwrap();
    drop(shell);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(told(&store), ["up 1 unknown"]);
    put(&store, &state, 20, None);
    assert_eq!(told(&store), ["up 1 unknown", "update 2 in_progress"]);
}
