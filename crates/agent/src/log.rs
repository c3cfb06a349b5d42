//! The file that takes all output of a replica.
//!
//! `setup` and `run` write to it directly: the kernel appends, the agent copies nothing and can
//! slow nothing down. The agent adds lines of its own, which start with `[sky `, between the
//! stages. When the file exceeds [`LOG_BYTES_MAX`] its contents move to `<name>.1` and it starts
//! again empty; a line written in the middle of that move may be lost.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use jiff::Timestamp;

/// Size at which a log is moved aside, in bytes.
pub(crate) const LOG_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// An open log.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens `path` for appending; makes it and its folder if need be.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Adds a line of the agent's own. A log that cannot be written (disk full) stops nothing.
    pub fn note(&self, text: &str) {
        let time = Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC");
        let line = format!("[sky {time}] {text}\n");
        let _ = (&self.file).write_all(line.as_bytes());
    }

    /// A handle for the output of a process.
    pub(crate) fn output(&self) -> io::Result<Stdio> {
        Ok(Stdio::from(self.file.try_clone()?))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its present size in bytes: where the next line will begin.
    pub(crate) fn end(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Moves the contents aside once there is more than `bytes_max` of it.
    pub(crate) fn rotate(&self, bytes_max: u64) -> io::Result<()> {
        if self.end() <= bytes_max {
            return Ok(());
        }
        let mut aside = self.path.as_os_str().to_owned();
        aside.push(".1");
        std::fs::copy(&self.path, PathBuf::from(aside))?;
        self.file.set_len(0)?;
        self.note("the log was moved to the file of the same name with .1 after it");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grows_too_large_starts_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/1.log");
        let log = Log::open(&path).unwrap();
        log.note("first");
        log.rotate(1000).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("first"));
        log.rotate(10).unwrap();
        let aside = std::fs::read_to_string(folder.path().join("deep/1.log.1")).unwrap();
        assert!(aside.contains("first"));
        let rest = std::fs::read_to_string(&path).unwrap();
        assert!(!rest.contains("first") && rest.starts_with("[sky "));
    }
}
