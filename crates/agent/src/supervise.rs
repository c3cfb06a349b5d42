//! The agent proper: takes the lock, makes the replica's world, and watches over it from outside.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use plan::observation::Phase;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, set_child_subreaper, setsid};
use rustix::thread::UnshareFlags;

use crate::init::Order;
use crate::log::LOG_BYTES_MAX;
use crate::network::Network;
use crate::reaper::Reaper;
use crate::stages::{Event, Realm, Stages};
use crate::stop::StopWatch;
use crate::world::{World, unshare};
use crate::{
    AgentError, AgentLock, AgentState, Launch, Log, NetworkChoice, ReplicaDir, STAGE_INIT,
    STAGE_VARIABLE, STARTED_LINE, StopRequest,
};

/// How long init may take to end the replica beyond the grace period before it is killed itself.
const INIT_PATIENCE: Duration = Duration::from_secs(12);

/// Time between two looks at the size of the log, in seconds.
const LOG_CHECK_SECONDS: i64 = 10;

/// Runs the agent. An error means that the replica could not be run at all; it is written down as
/// lost.
pub(crate) fn run(dir: &ReplicaDir) -> Result<(), AgentError> {
    // Fails only for the leader of a group, which then is detached already.
    let _ = setsid();
    let Some(_lock) = AgentLock::acquire(dir).map_err(AgentError::file("take the agent's lock"))?
    else {
        return Ok(());
    };
    if AgentState::read(dir)
        .map_err(AgentError::file("read state.json"))?
        .is_some()
    {
        return Ok(());
    }
    let launch = Launch::read(dir)?;
    let log = Log::open(&launch.log).map_err(AgentError::file("open the log"))?;
    write(dir, &AgentState::starting("making the network"))?;
    say_started()?;
    let result = supervise(dir, launch, &log);
    if let Err(error) = &result {
        log.note(&format!("the replica could not be run: {error}"));
        lose(dir, &error.to_string())?;
    }
    result
}

/// Tells whoever waits that the replica is owned now, then lets go of its pipe.
fn say_started() -> Result<(), AgentError> {
    // Whoever waited may have died meanwhile: then nobody needs to be told.
    let _ = writeln!(std::io::stdout(), "{STARTED_LINE}");
    let null = std::fs::File::options()
        .write(true)
        .open("/dev/null")
        .map_err(AgentError::file("open /dev/null"))?;
    rustix::stdio::dup2_stdout(&null).map_err(AgentError::world("detach the standard output"))
}

fn supervise(dir: &ReplicaDir, launch: Launch, log: &Log) -> Result<(), AgentError> {
    let watch = StopWatch::new(dir).map_err(AgentError::file("watch for the order to stop"))?;
    let (world, network) = make_network(dir, &launch)?;
    log.note(&world.sentence());
    if let Some(network) = &network {
        for note in network.notes() {
            log.note(note);
        }
    }
    if launch.namespaces {
        match unshare(UnshareFlags::NEWPID) {
            Ok(()) => return with_init(dir, log, world, network, &watch),
            Err(error) if launch.binds.is_empty() && network.is_none() => {
                log.note(&format!(
                    "processes: no PID namespace ({error}); followed by parentage"
                ));
            }
            Err(source) => {
                return Err(AgentError::World {
                    what: "make a PID namespace".to_owned(),
                    source,
                });
            }
        }
    }
    without_init(dir, launch, world, watch)
}

/// Makes the network that was asked for, or says why the machine's is shared.
fn make_network(dir: &ReplicaDir, launch: &Launch) -> Result<(World, Option<Network>), AgentError> {
    let why_shared = match launch.network {
        NetworkChoice::Shared => "as the settings ask".to_owned(),
        NetworkChoice::Auto | NetworkChoice::Isolated if !launch.namespaces => {
            "a network of its own needs root".to_owned()
        }
        NetworkChoice::Auto | NetworkChoice::Isolated => {
            match Network::make(&launch.key, &dir.resolv_conf()) {
                Ok(network) => {
                    let world = World {
                        own_network: true,
                        address: network.address().into(),
                        port: launch.port,
                        reason: "a network namespace with outbound NAT".to_owned(),
                    };
                    return Ok((world, Some(network)));
                }
                Err(error) => error.to_string(),
            }
        }
    };
    if launch.network == NetworkChoice::Isolated {
        return Err(AgentError::Malformed(format!(
            "the settings ask for a network of its own, which cannot be had here: {why_shared}"
        )));
    }
    Ok((World::shared(launch, why_shared), None))
}

/// Runs the stages in a PID namespace, under an init of our own, and waits for its end.
fn with_init(
    dir: &ReplicaDir,
    log: &Log,
    world: World,
    network: Option<Network>,
    watch: &StopWatch,
) -> Result<(), AgentError> {
    let mut init = start_init(log, &world, network.as_ref())?;
    let pidfd = pidfd_open(Pid::from_child(&init.child), PidfdFlags::empty())
        .map_err(AgentError::world("watch init"))?;
    let stopped = follow_init(dir, log, watch, &mut init, &pidfd)?;
    let status = init
        .child
        .wait()
        .map_err(AgentError::file("wait for init"))?;
    drop(network);
    if !stopped && !status.success() {
        let reason = format!("the first process of the replica ended unexpectedly ({status})");
        log.note(&reason);
        lose(dir, &reason)?;
    }
    Ok(())
}

/// Init and the pipe over which it gets its orders.
struct Init {
    child: Child,
    orders: ChildStdin,
}

impl Init {
    fn order(&mut self, order: &Order) -> Result<(), AgentError> {
        let mut line = serde_json::to_vec(order)
            .map_err(|error| AgentError::Malformed(format!("order to init: {error}")))?;
        line.push(b'\n');
        self.orders
            .write_all(&line)
            .map_err(AgentError::file("give init its orders"))
    }
}

/// Executes this program again, as the first process of the new PID namespace, inside the replica's
/// network.
fn start_init(log: &Log, world: &World, network: Option<&Network>) -> Result<Init, AgentError> {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(std::env::args_os().skip(1))
        .env(STAGE_VARIABLE, STAGE_INIT)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log.output().map_err(AgentError::file("open the log"))?);
    let mut spawn = || command.spawn().map_err(AgentError::file("start init"));
    let mut child = match network {
        Some(network) => network
            .within(&mut spawn)
            .map_err(AgentError::world("enter the replica's network"))??,
        None => spawn()?,
    };
    let Some(orders) = child.stdin.take() else {
        return Err(AgentError::Malformed(
            "init has no standard input".to_owned(),
        ));
    };
    let mut init = Init { child, orders };
    init.order(&Order::Begin(world.clone()))?;
    Ok(init)
}

/// Waits for the end of init, passes on the order to stop, and keeps the log small. Tells whether a
/// stop was ordered.
fn follow_init(
    dir: &ReplicaDir,
    log: &Log,
    watch: &StopWatch,
    init: &mut Init,
    pidfd: &OwnedFd,
) -> Result<bool, AgentError> {
    let mut kill_at = None;
    loop {
        if kill_at.is_none()
            && let Some(request) = StopRequest::read(dir)
        {
            kill_at = Some(Instant::now() + request.grace() + INIT_PATIENCE);
            // An init that is already gone takes no orders.
            let _ = init.order(&Order::Stop(request));
        }
        if wait_for(watch, Some(pidfd)) {
            return Ok(kill_at.is_some());
        }
        if kill_at.is_some_and(|deadline| Instant::now() >= deadline) {
            init.child.kill().map_err(AgentError::file("kill init"))?;
        }
        let _ = log.rotate(LOG_BYTES_MAX);
    }
}

/// Waits for a change of the folder, the end of `process`, or the next look at the log. Tells
/// whether `process` ended.
fn wait_for(watch: &StopWatch, process: Option<&OwnedFd>) -> bool {
    let timeout = Timespec {
        tv_sec: LOG_CHECK_SECONDS,
        tv_nsec: 0,
    };
    let watch_descriptor = watch.as_fd();
    let mut descriptors = vec![PollFd::new(&watch_descriptor, PollFlags::IN)];
    if let Some(process) = process {
        descriptors.push(PollFd::new(process, PollFlags::IN));
    }
    let _ = poll(&mut descriptors, Some(&timeout));
    let ended = descriptors
        .get(1)
        .is_some_and(|process| !process.revents().is_empty());
    watch.clear();
    ended
}

/// Runs the stages as children of this process, which takes in what they orphan.
fn without_init(
    dir: &ReplicaDir,
    launch: Launch,
    world: World,
    watch: StopWatch,
) -> Result<(), AgentError> {
    set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(AgentError::world("become the subreaper"))?;
    let (sender, events) = channel();
    let reaper = Reaper::start(sender.clone()).map_err(AgentError::file("start the reaper"))?;
    let log = Log::open(&launch.log).map_err(AgentError::file("open the log"))?;
    let watched = dir.clone();
    let log_path = launch.log.clone();
    thread::Builder::new()
        .name("stop".to_owned())
        .spawn(move || follow_file(&watched, &log_path, &watch, &sender))
        .map_err(AgentError::file("start the watch"))?;
    let state = AgentState::starting("starting the app");
    let dir = dir.clone();
    Stages {
        launch,
        dir,
        log,
        world,
        state,
        realm: Realm::Descendants,
        events,
        reaper,
    }
    .run()
}

fn follow_file(dir: &ReplicaDir, log: &std::path::Path, watch: &StopWatch, events: &Sender<Event>) {
    loop {
        if let Some(request) = StopRequest::read(dir) {
            // One stop is enough; the stages listen to no second.
            let _ = events.send(Event::Stop(request));
            return;
        }
        wait_for(watch, None);
        if let Ok(log) = Log::open(log) {
            let _ = log.rotate(LOG_BYTES_MAX);
        }
    }
}

/// Writes down that the replica is lost, unless its end is written down already.
fn lose(dir: &ReplicaDir, reason: &str) -> Result<(), AgentError> {
    let state = AgentState::read(dir).ok().flatten();
    let mut state = state.unwrap_or_else(|| AgentState::starting(""));
    if !state.is_final() {
        state.phase = Phase::Lost {
            reason: reason.to_owned(),
        };
        state.endpoint = None;
        write(dir, &state)?;
    }
    Ok(())
}

fn write(dir: &ReplicaDir, state: &AgentState) -> Result<(), AgentError> {
    state
        .write(dir)
        .map_err(AgentError::file("write state.json"))
}
