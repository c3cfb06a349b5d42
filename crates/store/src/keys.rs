//! API keys: what is kept of them, and the three ways in which that changes.

use plan::Timestamp;
use plan::routing::ApiKeyHash;
use rusqlite::{Connection, Transaction};

use crate::StoreError;

/// What is kept of one API key; the key itself is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Short name by which it is revoked, unique within its service.
    pub id: String,
    /// What its owner calls it; may be empty.
    pub name: String,
    /// By what it is recognised.
    pub hash: ApiKeyHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

/// One change of the keys of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// A key was made.
    Added(KeyRecord),
    /// A key may not be used any more; a second time changes nothing.
    Revoked {
        /// Which.
        id: String,
        /// When.
        at: Timestamp,
    },
    /// All keys are forgotten, as if there never had been one.
    Forgotten,
}

/// Every key of a service, oldest first.
pub(crate) fn read(connection: &Connection, service: &str) -> Result<Vec<KeyRecord>, StoreError> {
    let keys = connection
        .prepare_cached(
            "SELECT id, name, hash, created_at, revoked_at FROM api_keys
             WHERE service = ?1 ORDER BY created_at, id",
        )?
        .query_map([service], |row| {
            Ok(KeyRecord {
                id: row.get(0)?,
                name: row.get(1)?,
                hash: ApiKeyHash(row.get(2)?),
                created_at: Timestamp(row.get(3)?),
                revoked_at: row.get::<_, Option<i64>>(4)?.map(Timestamp),
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(keys)
}

pub(crate) fn write(
    transaction: &Transaction<'_>,
    service: &str,
    change: &KeyChange,
) -> Result<(), StoreError> {
    match change {
        KeyChange::Added(key) => transaction.execute(
            "INSERT INTO api_keys (service, id, name, hash, created_at, revoked_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (
                service,
                &key.id,
                &key.name,
                &key.hash.0,
                key.created_at.0,
                key.revoked_at.map(|at| at.0),
            ),
        )?,
        KeyChange::Revoked { id, at } => transaction.execute(
            "UPDATE api_keys SET revoked_at = ?3 WHERE service = ?1 AND id = ?2 AND revoked_at IS NULL",
            (service, id, at.0),
        )?,
        KeyChange::Forgotten => {
            transaction.execute("DELETE FROM api_keys WHERE service = ?1", [service])?
        }
    };
    Ok(())
}
