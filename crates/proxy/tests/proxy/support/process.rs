//! A proxy in a home directory of its own; nothing of it is left when it is dropped.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use plan::routing::RoutingTable;
use proxy::ProxyPaths;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::controller::Controller;
use super::{eventually, free_address, table};

/// Tells a process of which proxy it is a part.
pub(crate) const HOME_VARIABLE: &str = "PROXY_TEST_HOME";

/// The command that starts this program in a role.
pub(crate) fn role_command(role: &str) -> Vec<OsString> {
    let program = std::env::current_exe().unwrap().into_os_string();
    let arguments = [role, "--exact", "--ignored", "--nocapture"];
    std::iter::once(program)
        .chain(arguments.map(OsString::from))
        .collect()
}

/// A running proxy.
pub(crate) struct Proxy {
    home: TempDir,
    children: RefCell<Vec<Child>>,
}

impl Proxy {
    /// Starts a holder, which starts a worker.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more in the environment.
    pub(crate) fn start_with(environment: &[(&str, &str)]) -> Self {
        let home = TempDir::new().unwrap();
        let proxy = Self {
            home,
            children: RefCell::default(),
        };
        let mut holder = proxy.holder_command();
        holder.envs(environment.iter().copied());
        proxy.spawn(holder);
        proxy
    }

    /// Starts a proxy, connects a controller and applies a first table.
    pub(crate) fn serving(replicas: &[SocketAddr]) -> (Self, Controller, SocketAddr) {
        Self::serving_table(table(free_address(), 1, replicas.iter().copied()))
    }

    pub(crate) fn serving_table(table: RoutingTable) -> (Self, Controller, SocketAddr) {
        let proxy = Self::start();
        let mut controller = proxy.controller();
        let listen = table.listen;
        controller.acknowledged(table);
        (proxy, controller, listen)
    }

    pub(crate) fn start_holder(&self) {
        self.spawn(self.holder_command());
    }

    fn spawn(&self, mut command: Command) {
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        self.children.borrow_mut().push(child);
    }

    /// The command that starts a holder.
    pub(crate) fn holder_command(&self) -> Command {
        let words = role_command("role_holder");
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env(HOME_VARIABLE, self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    pub(crate) fn paths(&self) -> ProxyPaths {
        ProxyPaths {
            home: self.home.path().to_path_buf(),
        }
    }

    /// A controller that has read its hello.
    pub(crate) fn controller(&self) -> Controller {
        let mut controller = None;
        eventually("a connection to the control socket", || {
            controller = Controller::connect(&self.paths().socket()).ok();
            controller.is_some()
        });
        controller.unwrap()
    }

    /// The process ids of holder and worker.
    pub(crate) fn processes(&self) -> (u32, u32) {
        let mut found = None;
        eventually("the file of process ids", || {
            let text = fs::read_to_string(self.paths().pid_file()).unwrap_or_default();
            let pids: Value = serde_json::from_str(&text).unwrap_or_default();
            let pid = |role: &str| pids[role].as_u64().and_then(|pid| u32::try_from(pid).ok());
            found = pid("holder").zip(pid("worker"));
            found.is_some()
        });
        found.unwrap()
    }

    /// Lines of the event log so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        lines_of(&self.paths().event_log())
    }

    pub(crate) fn has_event(&self, name: &str) -> bool {
        self.events().iter().any(|event| event["event"] == name)
    }

    /// The lines of the access log, once there are `count`.
    pub(crate) fn accesses(&self, count: usize) -> Vec<Value> {
        let path = self.paths().access_log("svc");
        eventually("lines in the access log", || lines_of(&path).len() >= count);
        lines_of(&path)
    }

    /// Every process of this proxy, whoever started it.
    fn all_processes(&self) -> Vec<u32> {
        let mark = format!("{HOME_VARIABLE}={}\0", self.home.path().display()).into_bytes();
        let is_ours = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.windows(mark.len()).any(|window| window == mark)
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(is_ours)
            .collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // They revive each other, so all are stopped before any is killed.
        for _ in 0..100 {
            let processes = self.all_processes();
            if processes.is_empty() {
                break;
            }
            for sent in [Signal::STOP, Signal::KILL] {
                processes.iter().for_each(|pid| signal(*pid, sent));
            }
        }
        for child in self.children.get_mut() {
            let _ = child.wait();
        }
    }
}

/// Sends a signal to a process of a proxy; one that has ended is no error.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = kill_process(pid, signal);
}

/// Whether a process still has a thread that runs, and so what it has open.
pub(crate) fn is_alive(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let mut states = threads.map(|thread| {
        let status = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        status
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next())
    });
    states.any(|state| state.is_some_and(|state| !matches!(state, 'Z' | 'X')))
}

fn lines_of(path: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    complete
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
