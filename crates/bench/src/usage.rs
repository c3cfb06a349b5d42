//! Processor time, as `/proc` tells it (proc(5)).
//!
//! The sum over user and system is taken from `schedstat` of each thread, which counts nanoseconds. The split between
//! the two comes from `stat`, which counts ticks of the clock (10 ms as a rule) but includes threads that have ended.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::thread::sched_getaffinity;

/// Processor time spent between two snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Usage {
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }

    /// This much processor time in the proportion in which the ticks were spent.
    fn divided(total: Duration, user_ticks: u64, system_ticks: u64) -> Self {
        let ticks = user_ticks + system_ticks;
        let share = if ticks == 0 {
            0.0
        } else {
            user_ticks as f64 / ticks as f64
        };
        let user = total.mul_f64(share);
        Self {
            user,
            system: total - user,
        }
    }
}

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ProcessStat {
    pub(crate) state: char,
    pub(crate) parent: u32,
    /// Own ticks.
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
    /// Ticks of children that have ended and were waited for.
    pub(crate) child_ticks: u64,
}

impl ProcessStat {
    pub(crate) fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name stands in parentheses and may contain anything, parentheses too.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // Field 3 of the manual page is the first here.
        let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            user_ticks: ticks(14)?,
            system_ticks: ticks(15)?,
            child_ticks: ticks(16)? + ticks(17)?,
        })
    }
}

/// Where the processor time of some processes stands.
#[derive(Debug, Default)]
pub(crate) struct ProcessTimes(BTreeMap<u32, ProcessTime>);

#[derive(Debug, Default)]
struct ProcessTime {
    user_ticks: u64,
    system_ticks: u64,
    /// Nanoseconds of each thread.
    threads: BTreeMap<u32, u64>,
}

impl ProcessTimes {
    /// Processes that have ended are left out.
    pub(crate) fn of(pids: impl IntoIterator<Item = u32>) -> Self {
        let times = pids.into_iter().filter_map(|pid| {
            let stat = ProcessStat::read(pid)?;
            let time = ProcessTime {
                user_ticks: stat.user_ticks,
                system_ticks: stat.system_ticks,
                threads: thread_times(pid),
            };
            Some((pid, time))
        });
        Self(times.collect())
    }

    /// What these processes spent since `before`; one that is new since counts from its beginning.
    pub(crate) fn since(&self, before: &Self) -> Usage {
        let mut sum = Usage::default();
        let nothing = ProcessTime::default();
        for (pid, now) in &self.0 {
            let usage = now.since(before.0.get(pid).unwrap_or(&nothing));
            sum.user += usage.user;
            sum.system += usage.system;
        }
        sum
    }
}

impl ProcessTime {
    fn since(&self, before: &Self) -> Usage {
        let user_ticks = self.user_ticks.saturating_sub(before.user_ticks);
        let system_ticks = self.system_ticks.saturating_sub(before.system_ticks);
        // The time of a thread that ended is no longer told by itself.
        let all_live = before
            .threads
            .keys()
            .all(|id| self.threads.contains_key(id));
        let total = if all_live && !self.threads.is_empty() {
            let spent = self.threads.iter().map(|(id, time)| {
                time.saturating_sub(before.threads.get(id).copied().unwrap_or(0))
            });
            Duration::from_nanos(spent.sum())
        } else {
            duration_of_ticks(user_ticks + system_ticks)
        };
        Usage::divided(total, user_ticks, system_ticks)
    }
}

/// Empty where the kernel has no `schedstat`.
fn thread_times(pid: u32) -> BTreeMap<u32, u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let times = entries.flatten().filter_map(|entry| {
        let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        let id = entry.file_name().to_str()?.parse().ok()?;
        Some((id, parse_schedstat(&text)?))
    });
    times.collect()
}

/// Nanoseconds on a processor: the first of three numbers.
fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Processor time of this process with the children it has waited for.
pub(crate) fn own_time() -> Duration {
    let stat = ProcessStat::read(std::process::id());
    let ticks = stat.map_or(0, |stat| {
        stat.user_ticks + stat.system_ticks + stat.child_ticks
    });
    duration_of_ticks(ticks)
}

fn duration_of_ticks(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}

/// Where the processors that this process may use stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MachineTimes {
    at: Instant,
    processors: usize,
    /// Ticks of all of them.
    idle: u64,
}

/// What the whole machine did between two snapshots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MachineUsage {
    /// Time that passed, times the number of processors.
    pub(crate) available: Duration,
    /// Of that, not idle. Time that the hypervisor gave to others counts as not idle.
    pub(crate) busy: Duration,
}

impl MachineTimes {
    pub(crate) fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let allowed = sched_getaffinity(None);
        let may_use = |processor: usize| allowed.as_ref().is_ok_and(|set| set.is_set(processor));
        let (processors, idle) = parse_machine(&text, may_use);
        Self {
            at: Instant::now(),
            processors,
            idle,
        }
    }

    pub(crate) fn since(&self, before: &Self) -> MachineUsage {
        let passed = self.at.duration_since(before.at);
        let available = passed * u32::try_from(self.processors.max(1)).unwrap_or(1);
        let idle = duration_of_ticks(self.idle.saturating_sub(before.idle));
        MachineUsage {
            available,
            busy: available.saturating_sub(idle),
        }
    }
}

/// Number and idle ticks (waiting for disks included) of the processors that count.
fn parse_machine(text: &str, counts: impl Fn(usize) -> bool) -> (usize, u64) {
    let mut sums = (0, 0);
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let name = fields.next().unwrap_or_default();
        let number = name
            .strip_prefix("cpu")
            .and_then(|number| number.parse().ok());
        if number.is_some_and(&counts) {
            let ticks: Vec<u64> = fields.map(|field| field.parse().unwrap_or(0)).collect();
            let tick = |index: usize| ticks.get(index).copied().unwrap_or(0);
            sums.0 += 1;
            sums.1 += tick(3) + tick(4);
        }
    }
    sums
}

/// Resident memory of a process in KiB: all of it, and what it shares with nobody.
pub(crate) fn memory_kib(pid: u32) -> Option<(u64, u64)> {
    parse_memory(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

fn parse_memory(text: &str) -> Option<(u64, u64)> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let private = field("Private_Clean:")? + field("Private_Dirty:")?;
    Some((field("Rss:")?, private))
}

#[cfg(test)]
mod tests;
