//! No process of a replica outlives it.

use agent::{AgentState, holder};
use plan::observation::Phase;
use rustix::process::{Signal, kill_process};

use crate::bench::{Bench, Mode, is_running, until};

/// Shell text that leaves processes behind in every way there is; each sleeps for `seconds`, which
/// names it.
fn runaways(seconds: &str) -> String {
    format!(
        "sleep {seconds} & \n\
         nohup sleep {seconds} >/dev/null 2>&1 &\n\
         setsid sleep {seconds} &\n\
         (setsid bash -c \"trap '' TERM HUP; sleep {seconds} & wait; wait\" &) \n\
         (env -i setsid sleep {seconds} </dev/null >/dev/null 2>&1 &)\n\
         python3 -c 'import os, time\n\
if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n\
\x20       os.execvp(\"sleep\", [\"sleep\", \"{seconds}\"])\n'\n\
         echo away\n"
    )
}

/// A number of seconds that no other process sleeps for.
fn unique_seconds(bench: &Bench) -> String {
    let name = crate::bench::incarnation(bench.home.path());
    let digits: String = name
        .bytes()
        .map(|byte| char::from(b'0' + byte % 10))
        .collect();
    format!("1{digits}")
}

pub(crate) fn nothing_escapes() {
    for mode in Mode::possible() {
        let bench = Bench::new(mode);
        let seconds = unique_seconds(&bench);
        let request = bench.request(&format!("{}sleep {seconds}", runaways(&seconds)));
        bench.launch(&request);
        bench.logged(&request, "away");
        assert!(is_running(&seconds));
        bench
            .block_on(provider::Provider::terminate(
                &bench.provider,
                &request.key,
                0.5,
            ))
            .unwrap();
        assert!(
            !is_running(&seconds),
            "{mode:?}: a process outlived its replica"
        );
    }
}

pub(crate) fn a_failure_ends_everything() {
    for mode in Mode::possible() {
        let bench = Bench::new(mode);
        let seconds = unique_seconds(&bench);
        let mut request = bench.request("exit 4");
        request.setup = Some(runaways(&seconds));
        bench.launch(&request);
        assert_eq!(bench.exited(&request).code, Some(4));
        until("the rest of a failed replica to end", || {
            !is_running(&seconds)
        });
        until("its agent to end", || {
            holder(&bench.dir(&request)).unwrap().is_none()
        });
        assert!(matches!(bench.observe(&request).phase, Phase::Exited(_)));
        bench.terminate(&request);
    }
}

pub(crate) fn idle_is_told() {
    for mode in Mode::possible() {
        let bench = Bench::new(mode);
        let request = bench.request("echo nothing to do");
        bench.launch(&request);
        let dir = bench.dir(&request);
        until("idleness to be told", || {
            AgentState::read(&dir)
                .unwrap()
                .is_some_and(|state| state.idle_since.is_some())
        });
        assert!(matches!(
            bench.observe(&request).phase,
            Phase::Running { .. }
        ));
        bench.terminate(&request);
    }
}

pub(crate) fn an_agent_killed() {
    for mode in Mode::possible() {
        let bench = Bench::new(mode);
        let seconds = unique_seconds(&bench);
        let request = bench.request(&format!("{}sleep {seconds}", runaways(&seconds)));
        bench.launch(&request);
        bench.logged(&request, "away");
        let agent = holder(&bench.dir(&request)).unwrap().expect("a live agent");
        kill_process(agent, Signal::KILL).unwrap();
        until("the loss to be seen", || {
            matches!(bench.observe(&request).phase, Phase::Lost { .. })
        });
        assert!(bench.observe(&request).endpoint.is_none());
        if mode != Mode::WithoutNamespaces {
            until("the namespace to die with its agent", || {
                !is_running(&seconds)
            });
        }
        bench.launch(&request);
        let phase = bench.observe(&request).phase;
        assert!(
            matches!(phase, Phase::Lost { .. }),
            "a lost replica is not run again: {phase:?}"
        );
        bench.terminate(&request);
        if mode == Mode::WithoutNamespaces {
            // The one that cleared its environment cannot be found once its agent is gone.
            assert!(agent::processes::marked(&request.key.to_string()).is_empty());
            end_nameless(&seconds);
        }
        assert!(
            !is_running(&seconds),
            "{mode:?}: a process outlived its replica"
        );
    }
}

/// Ends the processes that only their argument betrays, so that the case leaves nothing.
fn end_nameless(argument: &str) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if line
            .split(|byte| *byte == 0)
            .any(|part| part == argument.as_bytes())
        {
            let _ = kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }
    until("the nameless to end", || !is_running(argument));
}
