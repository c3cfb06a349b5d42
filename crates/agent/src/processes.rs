//! Finding and ending the processes of a replica, from `/proc`.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::KEY_VARIABLE;

/// Pause between two looks at `/proc` while processes end.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// All processes of the replica `key`, save the calling one: those whose environment carries the
/// key, and their descendants, whatever these did to their own environment.
#[must_use]
pub fn marked(key: &str) -> Vec<Pid> {
    let mark = format!("{KEY_VARIABLE}={key}");
    let roots = all()
        .into_iter()
        .filter(|pid| carries(*pid, mark.as_bytes()))
        .collect();
    with_descendants(roots)
}

/// All descendants of the calling process.
pub(crate) fn descendants() -> Vec<Pid> {
    with_descendants(vec![rustix::process::getpid()])
}

/// Ends everything that `find` finds, and all that descends from it: TERM, `grace`, then KILL until
/// nothing is left. Returns what is left after `patience` of killing, usually nothing.
pub fn end(find: impl Fn() -> Vec<Pid>, grace: Duration, patience: Duration) -> Vec<Pid> {
    let mut sweep = Sweep::default();
    sweep.look(&find);
    sweep.signal(Signal::TERM);
    let deadline = Instant::now() + grace;
    while !sweep.seen.is_empty() && Instant::now() < deadline {
        std::thread::sleep(SWEEP_PAUSE);
        sweep.look(&find);
    }
    let deadline = Instant::now() + patience;
    while !sweep.seen.is_empty() && Instant::now() < deadline {
        sweep.signal(Signal::KILL);
        std::thread::sleep(SWEEP_PAUSE);
        sweep.look(&find);
    }
    sweep.seen.into_keys().collect()
}

/// What [`end`] has seen and what still runs of it: once a parent is gone, its children cannot be
/// found through it.
#[derive(Default)]
struct Sweep {
    /// Process and start time: together they name a process for ever.
    seen: HashMap<Pid, u64>,
}

impl Sweep {
    fn look(&mut self, find: impl Fn() -> Vec<Pid>) {
        self.seen.retain(|pid, started| {
            stat(*pid).is_some_and(|stat| !stat.zombie && stat.started == *started)
        });
        let mut roots = find();
        roots.extend(self.seen.keys());
        for pid in with_descendants(roots) {
            if let Some(stat) = stat(pid) {
                self.seen.insert(pid, stat.started);
            }
        }
    }

    fn signal(&self, signal: Signal) {
        for pid in self.seen.keys() {
            // One that ended meanwhile is no error.
            let _ = kill_process(*pid, signal);
        }
    }
}

/// Whether the process still runs; a zombie does not.
#[must_use]
pub fn is_alive(pid: Pid) -> bool {
    stat(pid).is_some_and(|stat| !stat.zombie)
}

/// Every process that can be seen.
fn all() -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|number| Pid::from_raw(i32::try_from(number).ok()?))
        .collect()
}

/// Whether the environment the process was started with holds `mark` (`NAME=value`).
fn carries(pid: Pid, mark: &[u8]) -> bool {
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == mark)
    })
}

/// `roots` and all below them, without the calling process and without zombies.
fn with_descendants(roots: Vec<Pid>) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<Pid>> = HashMap::new();
    let mut zombies = HashSet::new();
    for pid in all() {
        let Some(stat) = stat(pid) else { continue };
        children.entry(stat.parent).or_default().push(pid);
        if stat.zombie {
            zombies.insert(pid);
        }
    }
    let own = rustix::process::getpid();
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut open = roots;
    while let Some(pid) = open.pop() {
        if !seen.insert(pid) {
            continue;
        }
        open.extend(children.get(&pid.as_raw_pid()).into_iter().flatten());
        if pid != own && !zombies.contains(&pid) {
            found.push(pid);
        }
    }
    found
}

/// What we need of `/proc/<pid>/stat`.
struct Stat {
    parent: i32,
    zombie: bool,
    /// When it was started, in clock ticks since boot.
    started: u64,
}

fn stat(pid: Pid) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `12 (name) S 1 …`: the name may hold spaces and brackets, so what follows its last bracket is
/// read.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Counted from the state, which proc(5) numbers 3: the parent is 4, the start time 22.
    let zombie = matches!(*fields.first()?, "Z" | "X");
    let parent = fields.get(1)?.parse().ok()?;
    let started = fields.get(19)?.parse().ok()?;
    Some(Stat {
        parent,
        zombie,
        started,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    struct Guard(Child);
    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn reads_a_hostile_process_name() {
        let text = "12 (a) b) Z 7 12 12 0 -1 4 0 0 0 0 5 6 0 0 20 0 1 0 4711 0 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.parent, stat.zombie, stat.started), (7, true, 4711));
        assert!(parse_stat("nonsense").is_none());
    }

    #[test]
    fn finds_what_carries_the_key_and_what_it_started() {
        let key = format!("test-{}-finds", std::process::id());
        let child = Guard(
            Command::new("/bin/bash")
                .args(["-c", "env -i /bin/sleep 1000 & wait"])
                .env(KEY_VARIABLE, &key)
                .spawn()
                .unwrap(),
        );
        let deadline = Instant::now() + Duration::from_secs(20);
        while marked(&key).len() < 2 {
            assert!(Instant::now() < deadline, "the sleeper did not come up");
            std::thread::sleep(SWEEP_PAUSE);
        }
        assert!(marked(&key).contains(&Pid::from_child(&child.0)));
        assert!(
            end(
                || marked(&key),
                Duration::from_secs(5),
                Duration::from_secs(5)
            )
            .is_empty()
        );
        assert!(marked(&format!("{key}-other")).is_empty());
    }
}
