//! The tables in force, on disk, so that a worker that starts anew serves without being told.
//!
//! The file is written beside and renamed, so a reader sees the old tables or the new. It is not
//! synced: it must outlive a process, not a power cut, after which no replica is left to route to.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use plan::routing::RoutingTable;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Format of the file; a file of another format is set aside.
const FORMAT: u32 = 1;
/// Descriptors kept back for the file itself.
const SPARE_DESCRIPTORS: usize = 8;

/// The file of tables.
#[derive(Debug)]
pub(crate) struct SavedTables {
    path: PathBuf,
    /// Descriptors that can be done without, so that tables can be saved when clients have taken
    /// all others. More than one, since a client may take what is let go of here.
    spare: Vec<File>,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    format: u32,
    tables: Vec<RoutingTable>,
}

impl SavedTables {
    pub(crate) fn new(path: PathBuf) -> Self {
        let mut saved = Self {
            path,
            spare: Vec::new(),
        };
        saved.fill_spare();
        saved
    }

    /// The tables last saved; none where there is no file yet. A file that cannot be understood is
    /// renamed to `*.unreadable` and reported as an error, so that it can be looked at and does no
    /// further harm.
    pub(crate) fn load(&self) -> io::Result<Vec<RoutingTable>> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        match serde_json::from_slice::<Contents>(&text) {
            Ok(contents) if contents.format == FORMAT => Ok(contents.tables),
            Ok(contents) => self.set_aside(&format!("format {} is unknown", contents.format)),
            Err(error) => self.set_aside(&error.to_string()),
        }
    }

    /// Replaces the saved tables.
    pub(crate) fn save(&mut self, tables: Vec<RoutingTable>) -> io::Result<()> {
        let text = serde_json::to_vec(&Contents {
            format: FORMAT,
            tables,
        })?;
        let beside = self.path.with_extension("json.new");
        let written = loop {
            let written = write_private(&beside, &text);
            let in_want = written.as_ref().is_err_and(|error| {
                matches!(
                    Errno::from_io_error(error),
                    Some(Errno::MFILE | Errno::NFILE)
                )
            });
            if !in_want || self.spare.pop().is_none() {
                break written;
            }
        };
        self.fill_spare();
        written?;
        fs::rename(&beside, &self.path)
    }

    fn fill_spare(&mut self) {
        while self.spare.len() < SPARE_DESCRIPTORS {
            let Ok(nothing) = File::open("/dev/null") else {
                return;
            };
            self.spare.push(nothing);
        }
    }

    fn set_aside(&self, reason: &str) -> io::Result<Vec<RoutingTable>> {
        let aside = self.path.with_extension("json.unreadable");
        fs::rename(&self.path, &aside)?;
        let message = format!("{reason}; the file was moved to {}", aside.display());
        Err(io::Error::new(ErrorKind::InvalidData, message))
    }
}

fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(generation: u64) -> RoutingTable {
        RoutingTable {
            service: "a".to_owned(),
            generation,
            listen: "127.0.0.1:30001".parse().unwrap(),
            policy: spec::LoadBalancingPolicy::LeastLoad,
            load_balancer: spec::LoadBalancer::default(),
            tls: None,
            api_keys: None,
            split: None,
            upstreams: Vec::new(),
        }
    }

    #[test]
    fn what_was_saved_last_is_loaded() {
        let home = tempfile::tempdir().unwrap();
        let mut saved = SavedTables::new(home.path().join("tables.json"));
        assert_eq!(saved.load().unwrap(), []);
        saved.save(vec![table(1)]).unwrap();
        saved.save(vec![table(2)]).unwrap();
        assert_eq!(saved.load().unwrap(), [table(2)]);
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_the_next_load_is_empty() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("tables.json");
        let saved = SavedTables::new(path.clone());
        for damaged in ["", "{\"format\":1,\"tab", "{\"format\":9,\"tables\":[]}"] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(
                saved.load().unwrap_err().kind(),
                ErrorKind::InvalidData,
                "{damaged}"
            );
            assert_eq!(saved.load().unwrap(), []);
        }
    }
}
