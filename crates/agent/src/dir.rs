//! Where the files of one replica are.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use plan::observation::Stage;

/// Files hold secrets: only their owner may read them.
const FILE_MODE: u32 = 0o600;

/// The folder of one replica. Its paths are the on-disk contract between the provider and the
/// agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaDir {
    root: PathBuf,
}

impl ReplicaDir {
    /// The replica's folder at `root`; touches nothing.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What to run; written last by a launch, and so the sign that the folder is complete.
    #[must_use]
    pub fn launch(&self) -> PathBuf {
        self.root.join("launch.json")
    }

    /// How far it is; written by the agent.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Locked by the agent for as long as it lives.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join("agent.lock")
    }

    /// The request to end; written by the provider.
    #[must_use]
    pub fn stop(&self) -> PathBuf {
        self.root.join("stop.json")
    }

    /// What is reserved for the replica before its `launch.json` is there.
    #[must_use]
    pub fn reservation(&self) -> PathBuf {
        self.root.join("reservation.json")
    }

    /// HOME of the replica.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Where `setup` and `run` start.
    #[must_use]
    pub fn workdir(&self) -> PathBuf {
        self.home().join("sky_workdir")
    }

    /// The replica's copies of what is mounted at absolute paths.
    #[must_use]
    pub fn mounts(&self) -> PathBuf {
        self.root.join("mounts")
    }

    /// The name servers of a replica in its own network, if they differ from the machine's.
    #[must_use]
    pub fn resolv_conf(&self) -> PathBuf {
        self.root.join("resolv.conf")
    }

    /// The shell text of a stage.
    #[must_use]
    pub fn script(&self, stage: Stage) -> PathBuf {
        self.root.join(match stage {
            Stage::Setup => "setup.sh",
            Stage::Run => "run.sh",
        })
    }
}

/// Replaces `path` by `contents` in one step, readable by its owner only. With `durable`, it also
/// survives a power cut.
///
/// # Errors
/// Whatever the file system says; `path` is then as it was.
pub fn write_atomically(path: &Path, contents: &[u8], durable: bool) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(&new)?;
    file.write_all(contents)?;
    if durable {
        file.sync_all()?;
    }
    std::fs::rename(&new, path)?;
    if durable && let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_written_file_is_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("launch.json");
        write_atomically(&path, b"first", true).unwrap();
        write_atomically(&path, b"second", false).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
