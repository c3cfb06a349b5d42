//! Events: what happened, for people. They outlive restarts and the service itself, and are bounded in number.

use rusqlite::{Connection, Transaction};

use crate::{Commit, EVENTS_KEPT, EVENTS_OF_GONE_KEPT, StoreError, StoredEvent};

/// See [`Store::events`](crate::Store::events).
pub(crate) fn read(
    connection: &Connection,
    service: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<StoredEvent>, StoreError> {
    let events = connection
        .prepare_cached(
            "SELECT sequence, at, kind, replica, version, message FROM events
             WHERE service = ?1 AND sequence > ?2 AND incarnation = coalesce(
                 (SELECT incarnation FROM services WHERE name = ?1),
                 (SELECT incarnation FROM events WHERE service = ?1 ORDER BY sequence DESC LIMIT 1))
             ORDER BY sequence LIMIT ?3",
        )?
        .query_map((service, after, limit), |row| {
            Ok(StoredEvent {
                sequence: row.get(0)?,
                at: row.get(1)?,
                kind: row.get(2)?,
                replica: row.get(3)?,
                version: row.get(4)?,
                message: row.get(5)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(events)
}

/// Adds what a commit tells, and drops the oldest beyond [`EVENTS_KEPT`].
pub(crate) fn write(transaction: &Transaction<'_>, commit: Commit<'_>) -> Result<(), StoreError> {
    let service = &commit.state.name;
    for happening in commit.happenings {
        transaction
            .prepare_cached(
                "INSERT INTO events (service, incarnation, at, kind, replica, version, message)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((
                service,
                &commit.state.incarnation,
                commit.at.0,
                happening.kind.as_str(),
                happening.replica,
                happening.version,
                &happening.message,
            ))?;
    }
    if !commit.happenings.is_empty() {
        transaction
            .prepare_cached(
                "DELETE FROM events WHERE service = ?1 AND sequence <=
                 (SELECT sequence FROM events WHERE service = ?1 ORDER BY sequence DESC
                  LIMIT 1 OFFSET ?2)",
            )?
            .execute((service, EVENTS_KEPT))?;
    }
    Ok(())
}

/// Drops the oldest events of services that are gone, beyond [`EVENTS_OF_GONE_KEPT`]: names that are used once must
/// not fill the disk for ever.
pub(crate) fn bound_gone(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    transaction.execute(
        "DELETE FROM events WHERE service NOT IN (SELECT name FROM services) AND sequence <=
         (SELECT sequence FROM events WHERE service NOT IN (SELECT name FROM services)
          ORDER BY sequence DESC LIMIT 1 OFFSET ?1)",
        [EVENTS_OF_GONE_KEPT],
    )?;
    Ok(())
}
