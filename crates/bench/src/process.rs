//! Processes that a run starts, and their end.
//!
//! # Rules
//!
//! - A process is ended, with all its descendants, when its [`Process`] is dropped: asked first, then stopped and
//!   killed (stopped first, because the two processes of our proxy revive each other).
//! - Each is in a process group of its own, so that Ctrl-C reaches the run alone, which ends the others in order.
//! - Each is asked to end by the kernel when the run is killed (`PR_SET_PDEATHSIG`): it is started through this
//!   program in the role `guard`, see [`become_guarded`].

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, set_child_subreaper, set_parent_process_death_signal,
    wait, waitpid,
};

use crate::interrupt;
use crate::usage::ProcessStat;

/// What a process gets to end when it is asked to.
const PATIENCE: Duration = Duration::from_millis(500);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A running process, ended when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `words`; what it writes goes into the file `log`.
    pub(crate) fn start(words: &[OsString], log: &Path) -> anyhow::Result<Self> {
        let output =
            File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = guarded(words)?;
        command.stdout(output.try_clone()?).stderr(output);
        Self::spawn(command, words)
    }

    /// Starts `words` and reads the first line of its output.
    pub(crate) fn start_and_read(words: &[OsString]) -> anyhow::Result<(Self, String)> {
        let mut command = guarded(words)?;
        command.stdout(Stdio::piped());
        let mut process = Self::spawn(command, words)?;
        let output = process.child.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        Ok((process, line.trim().to_owned()))
    }

    fn spawn(mut command: Command, words: &[OsString]) -> anyhow::Result<Self> {
        let name = words.first().cloned().unwrap_or_default();
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", name.display()))?;
        Ok(Self { child })
    }

    /// The process and its descendants.
    pub(crate) fn tree(&self) -> Vec<u32> {
        tree(self.child.id())
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while self.child.try_wait()?.is_none() {
            interrupt::check()?;
            if Instant::now() > deadline {
                bail!("does not end");
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Fails when the process has ended by itself.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("ended by itself ({status})");
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut seen = self.tree();
        signal_all(&[self.child.id()], Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while seen.iter().any(|pid| is_alive(*pid)) && Instant::now() < deadline {
            let _ = self.child.try_wait();
            std::thread::sleep(LOOK_INTERVAL);
            seen.extend(self.tree());
            seen.sort_unstable();
            seen.dedup();
        }
        kill(seen);
        let _ = self.child.wait();
    }
}

/// Everything that descends from this process. What is left of it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Descendants(());

impl Descendants {
    /// From here on orphans of what was started become children of this process (`PR_SET_CHILD_SUBREAPER`): none
    /// escapes, and none stays as a zombie where the first process of the system waits for nobody.
    pub(crate) fn adopt() -> anyhow::Result<Self> {
        set_child_subreaper(Some(Pid::INIT))?;
        Ok(Self(()))
    }
}

impl Drop for Descendants {
    fn drop(&mut self) {
        let own = std::process::id();
        kill(tree(own).into_iter().filter(|pid| *pid != own).collect());
        // A process with many threads is one to wait for only when the last of them is gone.
        while let Ok(Some(_)) = wait(WaitOptions::empty()) {}
    }
}

/// Kills these processes and what descends from them. All are stopped before any is killed, and again until none is
/// left: they may start others, and each other.
fn kill(mut pids: Vec<u32>) {
    while pids.iter().any(|pid| is_alive(*pid)) {
        pids.retain(|pid| is_alive(*pid));
        signal_all(&pids, Signal::STOP);
        pids = pids.into_iter().flat_map(tree).collect();
        pids.sort_unstable();
        pids.dedup();
        signal_all(&pids, Signal::KILL);
        std::thread::sleep(LOOK_INTERVAL);
        pids.iter().for_each(|pid| reap(*pid));
    }
    pids.iter().for_each(|pid| reap(*pid));
}

/// One that is no child of this process, or was waited for already, is no error.
fn reap(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

fn guarded(words: &[OsString]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("guard").args(words).process_group(0);
    Ok(command)
}

/// The role `guard`: this process is asked to end when its parent ends, and becomes the program `words`.
///
/// # Errors
///
/// When the program cannot be started; there is no return otherwise.
pub(crate) fn become_guarded(words: &[OsString]) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let (program, arguments) = words.split_first().context("guard: which program?")?;
    Err(Command::new(program).args(arguments).exec())
        .with_context(|| format!("cannot start {}", program.display()))
}

/// A process and its descendants, as far as they are alive.
fn tree(root: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes: Vec<(u32, ProcessStat)> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, ProcessStat::read(pid)?)))
        .filter(|(_, stat)| !matches!(stat.state, 'Z' | 'X'))
        .collect();
    let mut found: Vec<u32> = processes
        .iter()
        .map(|(pid, _)| *pid)
        .filter(|pid| *pid == root)
        .collect();
    let mut next = 0;
    let mut parents = vec![root];
    while let Some(parent) = parents.get(next).copied() {
        let children = processes.iter().filter(|(_, stat)| stat.parent == parent);
        let children: Vec<u32> = children.map(|(pid, _)| *pid).collect();
        parents.extend(&children);
        found.extend(children);
        next += 1;
    }
    found
}

fn is_alive(pid: u32) -> bool {
    ProcessStat::read(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// One that has ended meanwhile is no error.
fn signal_all(pids: &[u32], signal: Signal) {
    for pid in pids {
        if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}
