//! Durable truth: services, versions, owed actions, events.
//!
//! Promise 3, one writer and one transaction: a step's new state, the actions it owes, the actions whose outcome
//! it has taken in, the version it accepts, the API key it adds or takes away and what is worth telling are committed together or not at all. What
//! the store says after a crash is therefore a state in which the service has been, with everything it owed then.

mod events;
mod history;
mod keys;
mod migrate;
mod record;
mod sqlite;

use plan::{Action, Happening, ServiceState, Timestamp};

pub use history::HistoryRecord;
pub use keys::{KeyChange, KeyRecord};
pub use record::{FileSource, StoredEvent, StoredService, VersionFiles, VersionRecord};
pub use sqlite::SqliteStore;

/// Events kept per service.
pub const EVENTS_KEPT: u32 = 10_000;
/// Events kept of all services together that are gone.
pub const EVENTS_OF_GONE_KEPT: u32 = 20_000;
/// Entries of its history kept per service.
pub const HISTORY_KEPT: u32 = 1000;

/// One step, to be committed whole.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// The service as it is from now on.
    pub state: &'a ServiceState,
    /// When the step was taken.
    pub at: Timestamp,
    /// The version it accepts.
    pub version: Option<&'a VersionRecord>,
    /// Name of the user who asked for it, where one did.
    pub requested_by: Option<&'a str>,
    /// What it changes of the API keys.
    pub keys: Option<&'a KeyChange>,
    /// Actions it owes; one with the key of an earlier takes its place.
    pub owed: &'a [Action],
    /// Keys of actions whose outcome it has taken in.
    pub settled: &'a [String],
    /// What is worth telling.
    pub happenings: &'a [Happening],
}

/// The store's contract. Every method is one transaction.
pub trait Store: Send + Sync {
    /// Adds a service with its first version.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] if there is one of that name; nothing is changed then.
    fn create(&self, commit: Commit<'_>) -> Result<u64, StoreError>;

    /// Commits a step of the service and returns its new revision.
    ///
    /// # Errors
    /// [`StoreError::NoSuchService`], or the database cannot be written; nothing is changed then.
    fn commit(&self, commit: Commit<'_>) -> Result<u64, StoreError>;

    /// Every service with the actions it owes, in the order they were owed.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn load(&self) -> Result<Vec<StoredService>, StoreError>;

    /// One version of a service.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn version(&self, service: &str, version: u32) -> Result<Option<VersionRecord>, StoreError>;

    /// Every version of every service, to know which snapshots are needed.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn snapshots_in_use(&self) -> Result<Vec<String>, StoreError>;

    /// Every API key of a service, revoked ones too, oldest first; none where there is no such service.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn keys(&self, service: &str) -> Result<Vec<KeyRecord>, StoreError>;

    /// The history of a service, oldest first; none where there is no such service. The newest [`HISTORY_KEPT`] entries
    /// are kept.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn history(&self, service: &str) -> Result<Vec<HistoryRecord>, StoreError>;

    /// Forgets a version and settles the action that asked for it.
    ///
    /// # Errors
    /// When the database cannot be written.
    fn forget_version(&self, service: &str, version: u32) -> Result<(), StoreError>;

    /// Forgets a service, its versions, its actions and its API keys; its events stay.
    ///
    /// # Errors
    /// When the database cannot be written.
    fn forget(&self, service: &str) -> Result<(), StoreError>;

    /// Up to `limit` events of a service with a sequence number above `after`, in order. A name that was used again
    /// means the service that has it now, or had it last.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn events(&self, service: &str, after: i64, limit: u32)
    -> Result<Vec<StoredEvent>, StoreError>;
}

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is a service of that name.
    #[error("a service named '{0}' exists already")]
    NameTaken(String),
    /// There is none of that name.
    #[error("there is no service named '{0}'")]
    NoSuchService(String),
    /// The database was written by a newer version of this program, or was tampered with.
    #[error("the database {path} does not fit this version of sky: {problem}")]
    Schema {
        /// The file.
        path: String,
        /// What does not fit.
        problem: String,
    },
    /// The file cannot be opened, read or written.
    #[error("the database cannot be used: {0}")]
    Database(#[from] rusqlite::Error),
    /// The folder or file cannot be made.
    #[error("{path}: {error}")]
    File {
        /// What was to be made.
        path: String,
        /// Why not.
        error: std::io::Error,
    },
    /// What is stored cannot be understood.
    #[error("a stored value cannot be understood: {0}")]
    Value(#[from] serde_json::Error),
}
