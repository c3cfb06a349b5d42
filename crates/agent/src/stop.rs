//! The request to end a replica: a file, so that it survives whoever made it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::inotify;
use serde::{Deserialize, Serialize};

use crate::{ReplicaDir, write_atomically};

/// The longest grace period: a day, in seconds. Larger requests are cut to it.
const GRACE_SECONDS_MAX: f64 = 86_400.0;

/// The contents of `stop.json`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopRequest {
    /// Seconds between TERM and KILL.
    pub grace_seconds: f64,
}

impl StopRequest {
    /// The grace period; zero for what is no sensible number of seconds.
    #[must_use]
    pub fn grace(self) -> Duration {
        let seconds = self.grace_seconds.clamp(0.0, GRACE_SECONDS_MAX);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
    }

    /// Reads `stop.json`; `None` where there is none. One that cannot be understood asks for an end
    /// at once.
    #[must_use]
    pub fn read(dir: &ReplicaDir) -> Option<Self> {
        let text = std::fs::read(dir.stop()).ok()?;
        Some(serde_json::from_slice(&text).unwrap_or(Self { grace_seconds: 0.0 }))
    }

    /// Writes `stop.json`.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(self, dir: &ReplicaDir) -> io::Result<()> {
        let text = serde_json::to_vec(&self).map_err(io::Error::other)?;
        write_atomically(&dir.stop(), &text, false)
    }
}

/// Wakes up when `stop.json` may have come.
#[derive(Debug)]
pub(crate) struct StopWatch {
    descriptor: OwnedFd,
}

impl StopWatch {
    /// Watches the replica's folder.
    pub(crate) fn new(dir: &ReplicaDir) -> io::Result<Self> {
        let descriptor =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(
            &descriptor,
            dir.root(),
            inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::CLOSE_WRITE,
        )?;
        Ok(Self { descriptor })
    }

    /// Forgets what woke it up.
    pub(crate) fn clear(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.descriptor.as_fd(), &mut buffer);
        while events.next().is_ok() {}
    }
}

impl AsFd for StopWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_is_always_a_sane_duration() {
        for (seconds, expected) in [
            (1.5, 1.5),
            (-1.0, 0.0),
            (f64::NAN, 0.0),
            (f64::INFINITY, GRACE_SECONDS_MAX),
        ] {
            let grace = StopRequest {
                grace_seconds: seconds,
            }
            .grace();
            assert!((grace.as_secs_f64() - expected).abs() < 1e-9, "{seconds}");
        }
    }

    #[test]
    fn a_request_without_meaning_ends_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let dir = ReplicaDir::new(folder.path());
        assert_eq!(StopRequest::read(&dir), None);
        std::fs::write(dir.stop(), b"garbage").unwrap();
        assert_eq!(
            StopRequest::read(&dir),
            Some(StopRequest { grace_seconds: 0.0 })
        );
        StopRequest { grace_seconds: 2.5 }.write(&dir).unwrap();
        assert_eq!(
            StopRequest::read(&dir),
            Some(StopRequest { grace_seconds: 2.5 })
        );
    }
}
