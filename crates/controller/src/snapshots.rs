//! Immutable copies of users' files, named by their content: one folder or file per digest in `<home>/snapshots`.
//! Versions that ask for the same files share one copy; a copy that no version needs is deleted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::controller::Shared;

/// The snapshots of one home.
#[derive(Debug)]
pub struct Snapshots {
    folder: PathBuf,
    /// Held while a snapshot is made and used by a commit, and while unused ones are deleted.
    lock: Mutex<()>,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A file of the user cannot be read.
    #[error(transparent)]
    Files(#[from] spec::files::FilesError),
    /// The folder of snapshots cannot be changed.
    #[error("cannot make {path}")]
    Copy {
        /// What was to be made.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Snapshots {
    /// Snapshots under `home`.
    #[must_use]
    pub fn new(home: &Path) -> Self {
        Self {
            folder: home.join("snapshots"),
            lock: Mutex::new(()),
        }
    }

    /// Where the copy with this digest is, or would be.
    #[must_use]
    pub fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(digest)
    }

    /// Keeps snapshots from being deleted while the guard lives: from before one is made until the version that
    /// needs it is in the store.
    pub fn hold(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the copy of `entries` under `root`, unless it is there. It appears whole or not at all.
    ///
    /// # Errors
    /// A file cannot be read, or the copy cannot be written (no space left, say).
    pub fn make(
        &self,
        digest: &str,
        root: &Path,
        entries: &[spec::files::Entry],
    ) -> Result<(), SnapshotError> {
        let target = self.path(digest);
        if target.exists() {
            return Ok(());
        }
        let copy = |source| SnapshotError::Copy {
            path: target.clone(),
            source,
        };
        let partial = self.folder.join(format!("{digest}.partial"));
        remove(&partial).map_err(copy)?;
        fs::create_dir_all(&self.folder).map_err(copy)?;
        let made = spec::files::copy_to(entries, root, &partial)
            .map_err(SnapshotError::from)
            .and_then(|()| fs::rename(&partial, &target).map_err(copy));
        if made.is_err() {
            // What is left of it only takes room; the error that matters is the first one.
            let _ = remove(&partial);
        }
        made
    }

    fn retain(&self, used: &[String]) -> io::Result<()> {
        let folder = match fs::read_dir(&self.folder) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in folder {
            let entry = entry?;
            let name = entry.file_name();
            if !used.iter().any(|digest| name == digest.as_str()) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

/// Deletes the snapshots that no version needs any more.
pub(crate) fn collect(shared: &Shared) {
    let _held = shared.snapshots.hold();
    let used = match shared.store.snapshots_in_use() {
        Ok(used) => used,
        Err(error) => return tracing::warn!(%error, "cannot tell which snapshots are in use"),
    };
    if let Err(error) = shared.snapshots.retain(&used) {
        tracing::warn!(%error, "cannot delete unused snapshots");
    }
}
