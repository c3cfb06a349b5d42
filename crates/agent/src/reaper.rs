//! Collects the ends of all children, direct and inherited, so that nothing stays a zombie.

use std::sync::mpsc::Sender;
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

use crate::stages::Event;

/// A thread that waits for children. It sleeps while there are none.
#[derive(Debug)]
pub(crate) struct Reaper {
    wake: Sender<()>,
}

impl Reaper {
    /// Starts the thread; it reports to `events`.
    pub(crate) fn start(events: Sender<Event>) -> std::io::Result<Self> {
        let (wake, woken) = std::sync::mpsc::channel();
        thread::Builder::new()
            .name("reaper".to_owned())
            .spawn(move || {
                while woken.recv().is_ok() {
                    if reap(&events).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { wake })
    }

    /// Asks for a report of all children that end, and of when none is left. To be called after
    /// each start of a child; without any, the answer comes at once.
    pub(crate) fn watch(&self) {
        // The thread only ends together with the process.
        let _ = self.wake.send(());
    }
}

/// Reports every child that ends, then that none is left. Fails when nobody listens any more.
fn reap(events: &Sender<Event>) -> Result<(), std::sync::mpsc::SendError<Event>> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => events.send(ended(pid, status))?,
            Ok(None) | Err(Errno::INTR) => {}
            Err(_) => return events.send(Event::NoneLeft),
        }
    }
}

fn ended(pid: Pid, status: WaitStatus) -> Event {
    Event::Ended {
        pid,
        how: crate::hint::Ended {
            code: status.exit_status(),
            signal: status.terminating_signal(),
        },
    }
}
