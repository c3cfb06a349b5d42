//! A log file that is bounded in size: when it is full it becomes `*.1`, replacing the one before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// An append-only file with one predecessor.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    limit: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: BufWriter<File>,
    size: u64,
}

impl RotatingFile {
    /// Opened on the first write. `limit` is the size in bytes after which it is rotated.
    pub(super) fn new(path: PathBuf, limit: u64) -> Self {
        Self {
            path,
            limit,
            open: None,
        }
    }

    /// Adds `line` and a line break. After an error the next call opens the file anew.
    pub(super) fn write_line(&mut self, line: &str) -> io::Result<()> {
        self.write_lines(format!("{line}\n").as_bytes())
    }

    /// Adds whole lines, line breaks included. After an error the next call opens the file anew.
    pub(super) fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        let result = self.try_write(lines);
        if result.is_err() {
            self.open = None;
        }
        result
    }

    /// Hands what was written to the system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.open.as_mut().map_or(Ok(()), |open| open.file.flush())
    }

    fn try_write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.size >= self.limit)
        {
            self.flush()?;
            self.open = None;
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            fs::rename(&self.path, old)?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            closed => {
                let mut options = OpenOptions::new();
                let file = options
                    .create(true)
                    .append(true)
                    .mode(0o600)
                    .open(&self.path)?;
                let size = file.metadata()?.len();
                closed.insert(Open {
                    file: BufWriter::new(file),
                    size,
                })
            }
        };
        open.file.write_all(lines)?;
        open.size += lines.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_becomes_the_old_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.log");
        let mut file = RotatingFile::new(path.clone(), 10);
        for line in ["first..", "second.", "third..", "fourth.", "fifth.."] {
            file.write_line(line).unwrap();
        }
        file.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "fifth..\n");
        let old = fs::read_to_string(home.path().join("a.log.1")).unwrap();
        assert_eq!(old, "third..\nfourth.\n");
    }

    #[test]
    fn a_file_that_was_there_is_continued() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.log");
        for line in ["one", "two"] {
            let mut file = RotatingFile::new(path.clone(), 100);
            file.write_line(line).unwrap();
            file.flush().unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}
