//! The store on SQLite: one connection, write-ahead log, full synchronisation.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use plan::{Action, ServiceState};
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::migrate::migrate;
use crate::{
    Commit, HistoryRecord, KeyRecord, Store, StoreError, StoredEvent, StoredService, VersionRecord,
    events, history, keys,
};

/// The store of one home folder.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Mutex<Connection>,
}

impl SqliteStore {
    /// Opens the database, making it (readable by its owner only) and bringing it to the newest schema.
    ///
    /// # Errors
    /// When the file cannot be made or used, or was made by a newer version of this program.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let name = path.display().to_string();
        let file = |error| StoreError::File {
            path: name.clone(),
            error,
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(file)?;
        }
        // Made with its final mode before SQLite writes secrets into it; the log files inherit the mode.
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(file)?;
        Self::with(Connection::open(path)?, &name)
    }

    /// A store that lives as long as the process, for tests.
    ///
    /// # Errors
    /// When SQLite cannot be used.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::with(Connection::open_in_memory()?, "(memory)")
    }

    fn with(mut connection: Connection, name: &str) -> Result<Self, StoreError> {
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        migrate(&mut connection, name)?;
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere cannot leave a transaction open: they roll back when dropped.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for SqliteStore {
    fn create(&self, commit: Commit<'_>) -> Result<u64, StoreError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let state = commit.state;
        let added = transaction.execute(
            "INSERT OR IGNORE INTO services (name, incarnation, revision, state) VALUES (?1, ?2, 1, ?3)",
            (&state.name, &state.incarnation, serde_json::to_string(state)?),
        )?;
        if added == 0 {
            return Err(StoreError::NameTaken(state.name.clone()));
        }
        write_rest(&transaction, commit)?;
        transaction.commit()?;
        Ok(1)
    }

    fn commit(&self, commit: Commit<'_>) -> Result<u64, StoreError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let state = commit.state;
        let revision: Option<i64> = transaction
            .prepare_cached(
                "UPDATE services SET revision = revision + 1, state = ?3
                 WHERE name = ?1 AND incarnation = ?2 RETURNING revision",
            )?
            .query_row(
                (
                    &state.name,
                    &state.incarnation,
                    serde_json::to_string(state)?,
                ),
                |row| row.get(0),
            )
            .optional()?;
        let Some(revision) = revision else {
            return Err(StoreError::NoSuchService(state.name.clone()));
        };
        write_rest(&transaction, commit)?;
        transaction.commit()?;
        Ok(revision.unsigned_abs())
    }

    fn load(&self) -> Result<Vec<StoredService>, StoreError> {
        let connection = self.lock();
        let rows: Vec<(String, i64, String)> = connection
            .prepare("SELECT name, revision, state FROM services ORDER BY name")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        rows.into_iter()
            .map(|(name, revision, state)| {
                Ok(StoredService {
                    state: serde_json::from_str::<ServiceState>(&state)?,
                    revision: revision.unsigned_abs(),
                    owed: owed(&connection, &name)?,
                })
            })
            .collect()
    }

    fn version(&self, service: &str, version: u32) -> Result<Option<VersionRecord>, StoreError> {
        let connection = self.lock();
        let row: Option<(String, String, String)> = connection
            .prepare_cached(
                "SELECT task, yaml, files FROM versions WHERE service = ?1 AND version = ?2",
            )?
            .query_row((service, version), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        row.map(|(task, yaml, files)| {
            Ok(VersionRecord {
                version,
                task: serde_json::from_str(&task)?,
                yaml,
                files: serde_json::from_str(&files)?,
            })
        })
        .transpose()
    }

    fn snapshots_in_use(&self) -> Result<Vec<String>, StoreError> {
        let connection = self.lock();
        let files: Vec<String> = connection
            .prepare("SELECT files FROM versions")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut digests = Vec::new();
        for files in files {
            let files: crate::VersionFiles = serde_json::from_str(&files)?;
            digests.extend(files.workdir.map(|source| source.digest));
            digests.extend(files.mounts.into_iter().map(|(_, source)| source.digest));
        }
        Ok(digests)
    }

    fn keys(&self, service: &str) -> Result<Vec<KeyRecord>, StoreError> {
        keys::read(&self.lock(), service)
    }

    fn history(&self, service: &str) -> Result<Vec<HistoryRecord>, StoreError> {
        history::read(&self.lock(), service)
    }

    fn forget_version(&self, service: &str, version: u32) -> Result<(), StoreError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        transaction.execute(
            "DELETE FROM versions WHERE service = ?1 AND version = ?2",
            (service, version),
        )?;
        let key = Action::CollectVersion { version }.key();
        transaction.execute(
            "DELETE FROM actions WHERE service = ?1 AND key = ?2",
            (service, key),
        )?;
        transaction.commit()?;
        Ok(())
    }

    fn forget(&self, service: &str) -> Result<(), StoreError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM services WHERE name = ?1", [service])?;
        events::bound_gone(&transaction)?;
        transaction.commit()?;
        Ok(())
    }

    fn events(
        &self,
        service: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        events::read(&self.lock(), service, after, limit)
    }
}

fn owed(connection: &Connection, service: &str) -> Result<Vec<Action>, StoreError> {
    let actions: Vec<String> = connection
        .prepare_cached("SELECT action FROM actions WHERE service = ?1 ORDER BY sequence")?
        .query_map([service], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    actions
        .iter()
        .map(|action| Ok(serde_json::from_str(action)?))
        .collect()
}

/// Everything of a commit but the service's own row.
fn write_rest(transaction: &Transaction<'_>, commit: Commit<'_>) -> Result<(), StoreError> {
    let service = &commit.state.name;
    if let Some(version) = commit.version {
        transaction.execute(
            "INSERT INTO versions (service, version, task, yaml, files) VALUES (?1, ?2, ?3, ?4, ?5)",
            (
                service,
                version.version,
                serde_json::to_string(&version.task)?,
                &version.yaml,
                serde_json::to_string(&version.files)?,
            ),
        )?;
    }
    if let Some(change) = commit.keys {
        keys::write(transaction, service, change)?;
    }
    for key in commit.settled {
        transaction.execute(
            "DELETE FROM actions WHERE service = ?1 AND key = ?2",
            (service, key),
        )?;
    }
    for action in commit.owed {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO actions (service, key, sequence, action) VALUES
                 (?1, ?2, (SELECT coalesce(max(sequence), 0) + 1 FROM actions WHERE service = ?1), ?3)",
            )?
            .execute((service, action.key(), serde_json::to_string(action)?))?;
    }
    history::write(transaction, commit)?;
    events::write(transaction, commit)
}
