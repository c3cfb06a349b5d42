//! Runs `setup`, then `run`, and keeps the replica until it is told to stop.
//!
//! # Rules
//! - `setup`'s exit code decides whether `run` is started; background processes of `setup` live on.
//! - A failure of either is written down first (so that it is acted upon), then everything else of
//!   the replica is ended.
//! - A clean exit of `run` is no failure: it may have left a server behind. The phase stays
//!   `Running`.
//! - After a stop was asked for nothing is written down any more: how the app takes TERM is
//!   nobody's fault.

use std::io;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use plan::observation::{Exit, Phase, Stage};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::hint::Ended;
use crate::reaper::Reaper;
use crate::world::World;
use crate::{
    AgentError, AgentState, Launch, Log, ReplicaDir, StopRequest, environment, hint, now,
    processes, tail,
};

/// How long the rest of a replica that failed may take after TERM.
const FAILURE_GRACE: Duration = Duration::from_secs(5);

/// How long KILL may take to end everything.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Where bash is looked for.
const SHELLS: [&str; 3] = ["/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"];

/// What the stages wait for.
#[derive(Debug)]
pub(crate) enum Event {
    /// A child ended.
    Ended {
        /// Which.
        pid: Pid,
        /// How.
        how: Ended,
    },
    /// No child is left.
    NoneLeft,
    /// The replica must end.
    Stop(StopRequest),
}

/// Which processes are the replica's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Realm {
    /// All of the PID namespace whose first process we are.
    Namespace,
    /// All descendants: we are their subreaper.
    Descendants,
}

/// The stages of one replica.
#[derive(Debug)]
pub(crate) struct Stages {
    pub(crate) launch: Launch,
    pub(crate) dir: ReplicaDir,
    pub(crate) log: Log,
    pub(crate) world: World,
    pub(crate) state: AgentState,
    pub(crate) realm: Realm,
    pub(crate) events: Receiver<Event>,
    pub(crate) reaper: Reaper,
}

/// How a stage was left.
enum Left {
    Clean,
    Failed(Exit),
    Stopped(StopRequest),
}

impl Stages {
    /// Runs the stages; returns when the replica has ended and nothing of it is left.
    pub(crate) fn run(mut self) -> Result<(), AgentError> {
        self.state.endpoint = Some(self.world.endpoint());
        self.state.network = Some(self.world.sentence());
        for (stage, text) in [
            (Stage::Setup, self.launch.setup.clone()),
            (Stage::Run, self.launch.run.clone()),
        ] {
            self.enter(match stage {
                Stage::Setup if text.is_none() => continue,
                Stage::Setup => Phase::SettingUp { since: now() },
                Stage::Run => Phase::Running { since: now() },
            })?;
            match self.stage(stage, text.as_deref().unwrap_or_default())? {
                Left::Clean => {}
                Left::Failed(exit) => {
                    self.state.endpoint = None;
                    self.enter(Phase::Exited(exit))?;
                    self.end(FAILURE_GRACE);
                    return Ok(());
                }
                Left::Stopped(request) => {
                    self.stop(request);
                    return Ok(());
                }
            }
        }
        self.keep()
    }

    /// Runs one stage to its end.
    fn stage(&mut self, stage: Stage, text: &str) -> Result<Left, AgentError> {
        let name = stage_name(stage);
        self.log.note(&format!("{name} started"));
        let log_start = self.log.end();
        let pid = self
            .start(stage, text)
            .map_err(AgentError::file(format!("start {name}")))?;
        loop {
            match self.events.recv() {
                Ok(Event::Ended { pid: ended, how }) if ended == pid => {
                    self.log.note(&format!("{name} ended {}", how_text(how)));
                    if how.code == Some(0) {
                        return Ok(Left::Clean);
                    }
                    return Ok(Left::Failed(self.failure(stage, how, log_start)));
                }
                Ok(Event::Stop(request)) => return Ok(Left::Stopped(request)),
                Ok(Event::Ended { .. } | Event::NoneLeft) => {}
                // Nobody is left who could stop us: end as if asked to.
                Err(_) => return Ok(Left::Stopped(StopRequest { grace_seconds: 0.0 })),
            }
        }
    }

    /// Starts a stage as a bash script from a file: an argument would be visible to everybody and
    /// bounded in length.
    fn start(&self, stage: Stage, text: &str) -> io::Result<Pid> {
        let script = self.dir.script(stage);
        crate::write_atomically(&script, text.as_bytes(), false)?;
        let shell = SHELLS
            .into_iter()
            .find(|path| std::path::Path::new(path).exists())
            .ok_or_else(|| io::Error::other("there is no bash on this machine; install it"))?;
        let variables = environment::environment(
            std::env::vars_os(),
            &self.launch,
            &self.dir,
            &self.world,
            stage,
        );
        let child = Command::new(shell)
            .arg(script)
            .current_dir(self.dir.workdir())
            .env_clear()
            .envs(variables)
            .stdin(std::process::Stdio::null())
            .stdout(self.log.output()?)
            .stderr(self.log.output()?)
            .spawn()?;
        let pid = Pid::from_child(&child);
        self.reaper.watch();
        Ok(pid)
    }

    /// After a clean exit of `run`: waits for the order to stop, and tells when nothing is left of
    /// the replica.
    fn keep(mut self) -> Result<(), AgentError> {
        loop {
            match self.events.recv() {
                Ok(Event::NoneLeft) => {
                    self.log
                        .note("run has ended cleanly and left no process behind");
                    self.state.idle_since = Some(now());
                    self.write_state()?;
                }
                Ok(Event::Ended { .. }) => {}
                Ok(Event::Stop(request)) => {
                    self.stop(request);
                    return Ok(());
                }
                Err(_) => {
                    self.end(Duration::ZERO);
                    return Ok(());
                }
            }
        }
    }

    fn stop(&mut self, request: StopRequest) {
        let grace = request.grace();
        self.log.note(&format!(
            "stopping: TERM now, KILL after {:.1} s",
            grace.as_secs_f64()
        ));
        let killed = self.end(grace);
        self.log
            .note(if killed { "stopped by KILL" } else { "stopped" });
    }

    /// Ends every process of the replica: TERM, `grace`, KILL. Tells whether KILL was needed.
    fn end(&mut self, grace: Duration) -> bool {
        match self.realm {
            Realm::Namespace => self.end_namespace(grace),
            Realm::Descendants => {
                let began = Instant::now();
                let left = processes::end(processes::descendants, grace, KILL_PATIENCE);
                for pid in left {
                    self.log
                        .note(&format!("process {pid} does not end, not even by KILL"));
                }
                !grace.is_zero() && began.elapsed() >= grace
            }
        }
    }

    fn end_namespace(&mut self, grace: Duration) -> bool {
        signal_namespace(Signal::TERM);
        // That nothing is left may have been reported, and forgotten, long ago.
        self.reaper.watch();
        let deadline = Instant::now() + grace;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::NoneLeft) => return false,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        signal_namespace(Signal::KILL);
        let deadline = Instant::now() + KILL_PATIENCE;
        while let Ok(event) = self
            .events
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if matches!(event, Event::NoneLeft) {
                break;
            }
        }
        true
    }

    fn failure(&self, stage: Stage, how: Ended, log_start: u64) -> Exit {
        let log_tail =
            tail::tail(self.log.path(), log_start, &self.launch.secrets).unwrap_or_default();
        // The last line is our own note on the end.
        let own = log_tail.iter().rposition(|line| line.starts_with("[sky "));
        let log_tail = own.map_or(log_tail.clone(), |own| log_tail[..own].to_vec());
        let hint = hint::hint(how, &log_tail, &self.world, self.launch.port);
        if let Some(hint) = &hint {
            self.log.note(hint);
        }
        Exit {
            stage,
            code: how.code,
            signal: how.signal,
            at: now(),
            log_tail,
            hint,
        }
    }

    fn enter(&mut self, phase: Phase) -> Result<(), AgentError> {
        self.state.phase = phase;
        self.write_state()
    }

    fn write_state(&self) -> Result<(), AgentError> {
        self.state
            .write(&self.dir)
            .map_err(AgentError::file("write state.json"))
    }
}

/// Signals every process of our PID namespace but ourselves: `kill(-1)`. Does nothing unless we are
/// its first process, for elsewhere it would reach everything on the machine.
fn signal_namespace(signal: Signal) {
    if rustix::process::getpid() == Pid::INIT {
        // The group "1" negated is -1, which means everybody.
        let _ = kill_process_group(Pid::INIT, signal);
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Setup => "setup",
        Stage::Run => "run",
    }
}

fn how_text(how: Ended) -> String {
    match (how.code, how.signal) {
        (Some(code), _) => format!("with exit code {code}"),
        (None, Some(signal)) => format!("by signal {signal}"),
        (None, None) => "in an unknown way".to_owned(),
    }
}
