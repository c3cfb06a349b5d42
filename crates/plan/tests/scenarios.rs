//! Runs the scenario files in `tests/scenarios`: a block of commands, `----`, and what the world
//! looks like then. `SKY_UPDATE_SCENARIOS=1` rewrites what is expected; read the difference before
//! you commit it.
//!
//! Commands: `up replicas=2 [min= max= qps= up= down= over=] [content=a] [is=BEHAVIOUR]`, `update
//! [mode=rolling|blue_green|canary|in_place] [probe=/path] [surge=N|N%|auto] [unavailable=N|N%]
//! [deadline=SECONDS] [auto_rollback=no] [undo=SECONDS] [steps=WEIGHT:SECONDS,WEIGHT:promoted]
//! [verify=true|false|hangs]` with the same words, `pause`, `resume`, `promote`, `abort`, `rollback [to=N]`
//! (the answer is told), `figures SECONDS NEW ERRORS OLD ERRORS` (what both sides of a canary do each
//! second; with `analysis=REQUESTS`), `room N|unlimited` (machines there are), `run SECONDS`, `lose ID`, `crash
//! ID`, `mute ID`, `unmute ID` (its probes fail, and no more), `requests RATE`, `hold ID COUNT`
//! (requests in flight), `release ID`, `proxy stalls|recovers|reconnects`, `end ID [now]`, `down
//! [now] [purge]`, `termination fails|works`, `restart`, `sleep SECONDS` (the server is down
//! meanwhile), `latency SECONDS` (until a launch or an end is taken up). Behaviours: good,
//! slow:SECONDS, stuck, setup_fails, exits, never_ready, dies:SECONDS, refused, no_room.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the harness, not the planner"
)]

mod support;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use plan::figures::{CanaryFigures, Figures};
use plan::report;
use plan::rollout::UpdateMode;
use plan::{Event, ServicePhase, Steering};
use spec::{
    Amount, Analysis, Canary, CanaryStep, ReplicaPolicy, StepEnd, Surge, TargetQps, Verify,
};
use support::{Behaviour, World, spec};

#[test]
fn scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 10);
    let update = std::env::var_os("SKY_UPDATE_SCENARIOS").is_some();
    let mut wrong = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let played = play(&text);
        if update {
            fs::write(&path, played).unwrap();
        } else if played != text {
            wrong.push(format!(
                "{}:\n{}",
                path.display(),
                first_difference(&text, &played)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn first_difference(expected: &str, found: &str) -> String {
    for (number, (left, right)) in expected.lines().zip(found.lines()).enumerate() {
        if left != right {
            return format!(
                "  line {}\n  expected: {left}\n  found:    {right}",
                number + 1
            );
        }
    }
    "  one ends before the other".to_owned()
}

/// The text with what is expected replaced by what is found.
fn play(text: &str) -> String {
    let mut world: Option<World> = None;
    let mut out = String::new();
    for block in text.trim_end().split("\n\n") {
        let commands = block.split("\n----").next().unwrap_or_default();
        if let Some(world) = &mut world {
            world.answers.clear();
        }
        let mut launched = world.as_ref().map_or(0, |world| world.launched.len());
        for line in commands
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            if line.starts_with("up ") {
                world = Some(up(line));
                launched = 0;
            } else {
                command(world.as_mut().expect("a scenario begins with up"), line);
            }
        }
        out.push_str(commands.trim_end());
        out.push('\n');
        if block.contains("\n----") {
            let world = world.as_ref().expect("a scenario begins with up");
            out.push_str("----\n");
            out.push_str(&show(world, launched));
        }
        out.push('\n');
    }
    out.trim_end().to_owned() + "\n"
}

fn word<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    line.split(' ')
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn number<T: std::str::FromStr>(line: &str, key: &str) -> Option<T> {
    word(line, key).map(|text| text.parse().unwrap_or_else(|_| panic!("{line}: {key}")))
}

fn policy(line: &str) -> ReplicaPolicy {
    let mut policy = ReplicaPolicy::fixed(
        number(line, "replicas")
            .or(number(line, "min"))
            .unwrap_or(2),
    );
    policy.max_replicas = number(line, "max");
    policy.target_qps_per_replica = number(line, "qps").map(TargetQps::Uniform);
    policy.upscale_delay_seconds = number(line, "up");
    policy.downscale_delay_seconds = number(line, "down");
    policy.num_overprovision = number(line, "over");
    policy
}

fn behaviour(line: &str) -> Behaviour {
    match word(line, "is").unwrap_or("good") {
        "good" => Behaviour::Good,
        "setup_fails" => Behaviour::SetupFails,
        "exits" => Behaviour::Exits,
        "stuck" => Behaviour::Stuck,
        "never_ready" => Behaviour::NeverReady,
        "refused" => Behaviour::Refused,
        "no_room" => Behaviour::NoRoom,
        other => {
            let (what, seconds) = other.split_once(':').unwrap_or_else(|| panic!("{line}"));
            let seconds = seconds.parse().unwrap_or_else(|_| panic!("{line}"));
            match what {
                "dies" => Behaviour::Dies(seconds),
                "slow" => Behaviour::Slow(seconds),
                _ => panic!("{line}"),
            }
        }
    }
}

/// `service.update`, as the words say.
fn settings(line: &str) -> spec::Update {
    let amount = |text: &str| match text.strip_suffix('%') {
        Some(percent) => Amount::Percent(percent.parse().unwrap_or_else(|_| panic!("{line}"))),
        None => Amount::Count(text.parse().unwrap_or_else(|_| panic!("{line}"))),
    };
    let mut update = spec::Update::default();
    match word(line, "surge") {
        Some("auto") => update.max_surge = Surge::Auto,
        Some(text) => update.max_surge = Surge::Amount(amount(text)),
        None => {}
    }
    if let Some(text) = word(line, "unavailable") {
        update.max_unavailable = amount(text);
    }
    update.progress_deadline_seconds = number(line, "deadline");
    update.auto_rollback = word(line, "auto_rollback") != Some("no");
    update.undo_window_seconds = number(line, "undo").unwrap_or(0.0);
    update.verify = word(line, "verify").map(|run| Verify {
        run: run.to_owned(),
        timeout_seconds: 60.0,
    });
    if line.contains(" steps=") || line.contains(" analysis=") {
        update.canary = Some(canary(line));
    }
    update
}

/// `steps=5:60,50:promoted` and `analysis=REQUESTS`.
fn canary(line: &str) -> Canary {
    let mut canary = Canary::default();
    let step = |text: &str| {
        let (weight, until) = text.split_once(':').unwrap_or_else(|| panic!("{line}"));
        CanaryStep {
            weight_percent: weight.parse().unwrap_or_else(|_| panic!("{line}")),
            until: match until {
                "promoted" => StepEnd::Promoted,
                seconds => StepEnd::Seconds(seconds.parse().unwrap_or_else(|_| panic!("{line}"))),
            },
        }
    };
    if let Some(steps) = word(line, "steps") {
        canary.steps = steps.split(',').map(step).collect();
    }
    canary.analysis = number(line, "analysis").map(|min_requests| Analysis {
        min_requests,
        ..Analysis::default()
    });
    canary
}

/// `figures NEW ERRORS OLD ERRORS`: what both sides did in the last second.
fn figures(world: &mut World, numbers: &[u64]) {
    let [new, new_errors, old, old_errors] = numbers else {
        panic!("figures takes four numbers");
    };
    let side = |requests: &u64, errors: &u64| Figures {
        requests: *requests,
        errors: *errors,
        ..Figures::default()
    };
    let figures = CanaryFigures {
        version: world.state.desired,
        new: side(new, new_errors),
        old: side(old, old_errors),
    };
    world.tell(&Event::CanaryFigures { figures });
}

fn steer(world: &mut World, what: Steering) {
    world.steer(&Event::Steer { what });
}

fn up(line: &str) -> World {
    World::up(
        policy(line),
        word(line, "content").unwrap_or("a"),
        behaviour(line),
    )
}

fn command(world: &mut World, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let id = || words[1].parse().unwrap_or_else(|_| panic!("{line}"));
    match words[0] {
        "update" => {
            let name = word(line, "mode").unwrap_or("rolling");
            let mut modes = UpdateMode::ALL.into_iter();
            let mode = modes
                .find(|mode| mode.as_str() == name)
                .unwrap_or_else(|| panic!("{line}"));
            let mut spec = spec(policy(line));
            spec.update = settings(line);
            if let Some(path) = word(line, "probe") {
                path.clone_into(&mut spec.readiness_probe.path);
            }
            world.update(
                word(line, "content").unwrap_or("a"),
                spec,
                mode,
                behaviour(line),
            );
        }
        "pause" => steer(world, Steering::Pause),
        "resume" => steer(world, Steering::Resume),
        "promote" => steer(world, Steering::Promote),
        "abort" => steer(world, Steering::Abort),
        "rollback" => {
            let to = number(line, "to");
            world.steer(&Event::Rollback { to });
        }
        "figures" => {
            let numbers = words[2..].iter().map(|word| word.parse().unwrap());
            let numbers: Vec<u64> = numbers.collect();
            for _ in 0..words[1].trim_end_matches('s').parse().unwrap() {
                figures(world, &numbers);
                world.run(1);
            }
        }
        "room" => world.room = words[1].parse().ok(),
        "run" => world.run(words[1].trim_end_matches('s').parse().unwrap()),
        "lose" => world.lose(id()),
        "crash" => world.crash(id()),
        "mute" => world.mute(id(), true),
        "unmute" => world.mute(id(), false),
        "sleep" => {
            world.sleep(words[1].trim_end_matches('s').parse().unwrap());
            world.restart();
        }
        "latency" => world.latency_seconds = words[1].trim_end_matches('s').parse().unwrap(),
        "requests" => world.requests_per_second = words[1].parse().unwrap(),
        "hold" => {
            world.in_flight.insert(id(), words[2].parse().unwrap());
        }
        "release" => {
            world.in_flight.remove(&id());
            world.traffic(Vec::new());
        }
        "proxy" if words[1] == "reconnects" => world.proxy_connects(),
        "proxy" => world.proxy_stalls = words[1] == "stalls",
        "termination" => world.termination_fails = words[1] == "fails",
        "end" => {
            let event = Event::TerminateReplica {
                replica: id(),
                now: line.contains(" now"),
                purge: false,
            };
            world.tell(&event);
        }
        "down" => {
            let (now, purge) = (line.contains(" now"), line.contains(" purge"));
            world.tell(&Event::Down { now, purge });
        }
        "restart" => world.restart(),
        _ => panic!("unknown command: {line}"),
    }
}

/// ` (2: 5%)` where version 2 gets so much of it.
fn split(world: &World) -> String {
    let table = world.state.table.as_ref();
    let split = table.and_then(|table| table.split.as_ref());
    split.map_or_else(String::new, |split| {
        format!(" ({}: {}%)", split.version, split.weight_percent)
    })
}

/// The service, its replicas, what was launched by this block, and the sentences a user would read.
fn show(world: &World, launched: usize) -> String {
    let state = &world.state;
    let mut out = String::new();
    if state.phase == ServicePhase::Gone {
        return format!("gone, forgotten {} time(s)\n", world.forgotten);
    }
    let versions: Vec<String> = state
        .active_versions()
        .iter()
        .map(ToString::to_string)
        .collect();
    let versions = if versions.is_empty() {
        "-".to_owned()
    } else {
        versions.join(",")
    };
    let trusted = state
        .trusted
        .map_or("-".to_owned(), |trusted| trusted.to_string());
    let _ = writeln!(
        out,
        "{} traffic={versions}{} desired={} trusted={trusted} target={}",
        report::service_status(state),
        split(world),
        state.desired,
        state.target()
    );
    for replica in state.replicas.values() {
        let routed = state.table.iter().flat_map(|table| &table.upstreams);
        let routed = if routed.clone().any(|u| u.replica_id == replica.id) {
            " routed"
        } else {
            ""
        };
        let why = replica
            .reason
            .as_ref()
            .map(|why| format!(" ({why})"))
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "  {} v{} {}{routed}{why}",
            replica.id, replica.version, replica.status
        );
    }
    let new: Vec<String> = world.launched[launched..]
        .iter()
        .map(|(id, version)| format!("{id}:v{version}"))
        .collect();
    if !new.is_empty() {
        let _ = writeln!(out, "launched {}", new.join(" "));
    }
    if !world.restarted.is_empty() {
        let restarted = world.restarted.iter();
        let restarted: Vec<String> = restarted.map(|(id, v)| format!("{id}:v{v}")).collect();
        let _ = writeln!(out, "restarted in place, in all: {}", restarted.join(" "));
    }
    if !world.collected.is_empty() {
        let _ = writeln!(out, "collected versions {:?}", world.collected);
    }
    for answer in &world.answers {
        let _ = writeln!(out, "{answer}");
    }
    if let Some(rollout) = &state.rollout {
        let _ = writeln!(
            out,
            "> {}",
            report::rollout_sentence(state, rollout, world.now)
        );
    }
    if let Some(message) = report::service_message(state, world.now) {
        let _ = writeln!(out, "> {message}");
    }
    out
}
