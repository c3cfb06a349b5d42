//! Tells which replicas have changed, as they change.
//!
//! The kernel watches the folder of each replica (inotify): a new `state.json` is renamed into it,
//! and the lock of an agent is closed when the agent dies, in whatever way. One thread waits for
//! that, and collects the agents of this process that have ended.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread;

use provider::ReplicaKey;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use tokio::sync::broadcast;

use crate::locked;

/// How many changes a slow receiver may lag behind.
const CHANGES_KEPT: usize = 1024;

/// Time between two looks for ended agents where nothing else happens.
const COLLECT_PAUSE: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// The watch over all replicas of a provider; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    /// Closed on drop, which ends the thread.
    _running: OwnedFd,
}

#[derive(Debug)]
struct Shared {
    inotify: OwnedFd,
    keys: Mutex<HashMap<i32, ReplicaKey>>,
    agents: Mutex<Vec<Child>>,
    changes: broadcast::Sender<ReplicaKey>,
}

impl Watch {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (ended, running) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let inotify =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let shared = Arc::new(Shared {
            inotify,
            keys: Mutex::default(),
            agents: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES_KEPT),
        });
        let watched = Arc::clone(&shared);
        thread::Builder::new()
            .name("replica-watch".to_owned())
            .spawn(move || watched.follow(&ended))?;
        Ok(Self {
            shared,
            _running: running,
        })
    }

    /// Watches the folder of a replica. It stops by itself when the folder goes.
    pub(crate) fn add(&self, key: &ReplicaKey, folder: &Path) {
        let events = inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::ONLYDIR;
        // The map is locked first: an event must not come before its key is known.
        let mut keys = locked(&self.shared.keys);
        match inotify::add_watch(&self.shared.inotify, folder, events) {
            Ok(watch) => {
                keys.insert(watch, key.clone());
            }
            // Whoever observes from time to time still sees everything.
            Err(error) => tracing::warn!(%key, %error, "a replica cannot be watched"),
        }
    }

    /// Takes over an agent started by this process, to collect its end.
    pub(crate) fn collect(&self, agent: Child) {
        locked(&self.shared.agents).push(agent);
    }

    /// Says that a replica has changed.
    pub(crate) fn announce(&self, key: &ReplicaKey) {
        // No receiver is no error.
        let _ = self.shared.changes.send(key.clone());
    }

    /// A receiver of all changes from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<ReplicaKey> {
        self.shared.changes.subscribe()
    }
}

impl Shared {
    fn follow(&self, ended: &OwnedFd) {
        loop {
            let timeout = (!locked(&self.agents).is_empty()).then_some(COLLECT_PAUSE);
            let mut descriptors = [
                PollFd::new(&self.inotify, PollFlags::IN),
                PollFd::new(ended, PollFlags::IN),
            ];
            let _ = poll(&mut descriptors, timeout.as_ref());
            let [_, ended] = &descriptors;
            if !ended.revents().is_empty() {
                return;
            }
            self.pass_on();
            locked(&self.agents).retain_mut(|agent| matches!(agent.try_wait(), Ok(None)));
        }
    }

    /// Reads all events that wait, and names each replica concerned once.
    fn pass_on(&self) {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut events = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        let mut changed: Vec<ReplicaKey> = Vec::new();
        let mut keys = locked(&self.keys);
        while let Ok(event) = events.next() {
            let gone = event.events().contains(inotify::ReadFlags::IGNORED);
            let key = if gone {
                keys.remove(&event.wd())
            } else {
                keys.get(&event.wd()).cloned()
            };
            if let Some(key) = key
                && !changed.contains(&key)
            {
                changed.push(key);
            }
        }
        drop(keys);
        for key in changed {
            let _ = self.changes.send(key);
        }
    }
}
