//! The first process of a replica's PID namespace. It dies with the agent, and the namespace with
//! it.

use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::process::{Pid, Signal, getpid, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use crate::reaper::Reaper;
use crate::stages::{Event, Realm, Stages};
use crate::world::{self, World};
use crate::{AgentError, AgentState, Launch, Log, ReplicaDir, StopRequest};

/// What the agent tells its init, one JSON object a line, over its standard input. The end of the
/// input means that the agent is dead.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// First: the network that was made.
    Begin(World),
    /// Last: end the replica.
    Stop(StopRequest),
}

/// Runs as init; returns when nothing else is left in the namespace.
pub(crate) fn run(dir: &ReplicaDir) -> Result<(), AgentError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(AgentError::world("tie init to its agent"))?;
    if getpid() != Pid::INIT {
        return Err(AgentError::Malformed(
            "init must be the first of its namespace".to_owned(),
        ));
    }
    // An agent that died before the tie was made has closed the other end: there is no first order
    // then.
    let mut orders = BufReader::new(std::io::stdin());
    let Some(Order::Begin(world)) = next_order(&mut orders) else {
        return Ok(());
    };
    let launch = Launch::read(dir)?;
    let log = Log::open(&launch.log).map_err(AgentError::file("open the log"))?;
    for note in world::make_mounts(&launch, dir)? {
        log.note(&note);
    }
    let (sender, events) = channel();
    let reaper = Reaper::start(sender.clone()).map_err(AgentError::file("start the reaper"))?;
    thread::Builder::new()
        .name("orders".to_owned())
        .spawn(move || follow(orders, &sender))
        .map_err(AgentError::file("start the listener"))?;
    let state = AgentState::starting("starting the app");
    let dir = dir.clone();
    Stages {
        launch,
        dir,
        log,
        world,
        state,
        realm: Realm::Namespace,
        events,
        reaper,
    }
    .run()
}

/// Passes orders on; ends the process, and so the namespace, when the agent is gone.
fn follow(mut orders: impl BufRead, events: &Sender<Event>) {
    while let Some(order) = next_order(&mut orders) {
        if let Order::Stop(request) = order
            && events.send(Event::Stop(request)).is_err()
        {
            return;
        }
    }
    std::process::exit(0);
}

fn next_order(orders: &mut impl BufRead) -> Option<Order> {
    let mut line = String::new();
    match orders.read_line(&mut line) {
        Ok(length) if length > 0 => serde_json::from_str(&line).ok(),
        _ => None,
    }
}
