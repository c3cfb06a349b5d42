//! The history of a service: what it was brought to, by whom, and how that ended. Each entry is worked out from the
//! state that is committed, in the same transaction, so that it can neither be missing nor say something else.

use plan::rollout::Outcome;
use plan::{ServiceState, Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::{Commit, HISTORY_KEPT, StoreError};

/// One up, update or rollback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRecord {
    /// Number, growing within the service.
    pub sequence: i64,
    /// `up`, `update` or `rollback`.
    pub kind: String,
    /// The version that it was to bring.
    pub version: u32,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// Name of the user who asked for it, where that is known.
    pub requested_by: Option<String>,
    /// Content hash of the version.
    pub task_hash: String,
    /// How replicas were replaced: `rolling`, `blue_green` …
    pub mode: String,
    /// `in_progress`, `succeeded`, `failed`, `aborted`, `superseded`; `unknown` for what is older than the history.
    pub outcome: String,
    /// Why it ended so, where there is more to say.
    pub reason: Option<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Every entry of a service, oldest first.
pub(crate) fn read(
    connection: &Connection,
    service: &str,
) -> Result<Vec<HistoryRecord>, StoreError> {
    let entries = connection
        .prepare_cached(
            "SELECT sequence, kind, version, started_at, requested_by, task_hash, mode, outcome, reason, ended_at
             FROM history WHERE service = ?1 ORDER BY sequence",
        )?
        .query_map([service], |row| {
            Ok(HistoryRecord {
                sequence: row.get(0)?,
                kind: row.get(1)?,
                version: row.get(2)?,
                started_at: Timestamp(row.get(3)?),
                requested_by: row.get(4)?,
                task_hash: row.get(5)?,
                mode: row.get(6)?,
                outcome: row.get(7)?,
                reason: row.get(8)?,
                ended_at: row.get::<_, Option<i64>>(9)?.map(Timestamp),
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(entries)
}

/// What the state says of the last up, update or rollback.
struct Entry<'a> {
    version: u32,
    started_at: Timestamp,
    mode: &'static str,
    outcome: &'static str,
    reason: Option<&'a str>,
    ended_at: Option<Timestamp>,
}

impl<'a> Entry<'a> {
    fn of(state: &'a ServiceState, now: Timestamp) -> Self {
        let (version, started_at) = match &state.rollout {
            Some(rollout) => (rollout.version, rollout.started_at),
            None => (state.desired, state.created_at),
        };
        let known = state.version(version);
        let rollout = state.rollout.as_ref();
        let mode = rollout.map(|rollout| rollout.mode);
        let mode = mode.or_else(|| known.map(|known| known.mode));
        let failure = known.and_then(|known| known.failure.as_ref());
        let (outcome, reason, ended_at) = match rollout.map(|rollout| &rollout.outcome) {
            Some(None) => ("in_progress", None, None),
            Some(Some(Outcome::Succeeded { at })) => ("succeeded", None, Some(*at)),
            Some(Some(Outcome::Failed { at, reason, .. })) => {
                ("failed", Some(reason.as_str()), Some(*at))
            }
            Some(Some(Outcome::Aborted { at, .. })) => ("aborted", None, Some(*at)),
            Some(Some(Outcome::Superseded { at, .. })) => ("superseded", None, Some(*at)),
            // The first version has no rollout: it has succeeded once it is trusted.
            None if state.trusted == Some(version) => ("succeeded", None, Some(now)),
            None => match failure {
                Some(failure) => ("failed", Some(failure.reason.as_str()), Some(failure.at)),
                None => ("in_progress", None, None),
            },
        };
        Self {
            version,
            started_at,
            mode: mode.unwrap_or_default().as_str(),
            outcome,
            reason,
            ended_at,
        }
    }
}

/// The newest entry as it is stored.
struct Last {
    sequence: i64,
    version: u32,
    started_at: i64,
    outcome: String,
    reason: Option<String>,
}

/// Brings the history up to what a commit says.
pub(crate) fn write(transaction: &Transaction<'_>, commit: Commit<'_>) -> Result<(), StoreError> {
    let service = &commit.state.name;
    let entry = Entry::of(commit.state, commit.at);
    let last = transaction
        .prepare_cached(
            "SELECT sequence, version, started_at, outcome, reason FROM history
             WHERE service = ?1 ORDER BY sequence DESC LIMIT 1",
        )?
        .query_row([service], |row| {
            Ok(Last {
                sequence: row.get(0)?,
                version: row.get(1)?,
                started_at: row.get(2)?,
                outcome: row.get(3)?,
                reason: row.get(4)?,
            })
        })
        .optional()?;
    match last {
        Some(last) if (last.version, last.started_at) == (entry.version, entry.started_at.0) => {
            if last.outcome != entry.outcome || last.reason.as_deref() != entry.reason {
                transaction.execute(
                    "UPDATE history SET outcome = ?3, reason = ?4, ended_at = ?5
                     WHERE service = ?1 AND sequence = ?2",
                    (
                        service,
                        last.sequence,
                        entry.outcome,
                        entry.reason,
                        entry.ended_at.map(|at| at.0),
                    ),
                )?;
            }
            Ok(())
        }
        last => add(
            transaction,
            commit,
            &entry,
            last.map_or(1, |last| last.sequence + 1),
        ),
    }
}

/// Adds an entry; what went on until now gives way to it.
fn add(
    transaction: &Transaction<'_>,
    commit: Commit<'_>,
    entry: &Entry<'_>,
    sequence: i64,
) -> Result<(), StoreError> {
    let service = &commit.state.name;
    // A first version that serves is good from the moment that another comes.
    transaction.execute(
        "UPDATE history SET outcome = 'succeeded', ended_at = ?3
         WHERE service = ?1 AND outcome = 'in_progress' AND kind = 'up' AND version = ?2",
        (service, commit.state.trusted, commit.at.0),
    )?;
    transaction.execute(
        "UPDATE history SET outcome = 'superseded', reason = ?2, ended_at = ?3
         WHERE service = ?1 AND outcome = 'in_progress'",
        (
            service,
            format!("version {} took its place", entry.version),
            commit.at.0,
        ),
    )?;
    let known = commit.state.version(entry.version);
    transaction.execute(
        "INSERT INTO history (service, sequence, kind, version, started_at, requested_by, task_hash, mode,
                              outcome, reason, ended_at)
         VALUES (?1, ?2,
                 CASE WHEN EXISTS (SELECT 1 FROM history WHERE service = ?1 AND version = ?3) THEN 'rollback'
                      WHEN ?2 = 1 THEN 'up' ELSE 'update' END,
                 ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        (
            service,
            sequence,
            entry.version,
            entry.started_at.0,
            commit.requested_by,
            known.map_or("", |known| known.task_hash.as_str()),
            entry.mode,
            entry.outcome,
            entry.reason,
            entry.ended_at.map(|at| at.0),
        ),
    )?;
    transaction.execute(
        "DELETE FROM history WHERE service = ?1 AND sequence <= ?2",
        (service, sequence - i64::from(HISTORY_KEPT)),
    )?;
    Ok(())
}
