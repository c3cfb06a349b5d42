//! Servers and providers come and go; replicas stay.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use agent::{AgentState, holder};
use plan::observation::Phase;
use provider::contract::SERVER;
use provider::{Provider, ReplicaKey};
use provider_local::{LocalProvider, Options};

use crate::bench::{Bench, Mode, agent_command, incarnation, request, until};

pub(crate) fn changes_are_told() {
    for mode in Mode::possible() {
        let bench = Bench::new(mode);
        let mut changes = bench.provider.changes();
        let request = bench.request("read line < go; exit 5");
        let workdir = bench.home.path().join("snapshot");
        std::fs::create_dir(&workdir).unwrap();
        let mut setup_request = request.clone();
        setup_request.workdir = Some(workdir);
        setup_request.setup = Some("mkfifo go".into());
        bench.launch(&setup_request);
        // Each change is followed by an observation, as a controller would; nothing is polled.
        let mut next = |wanted: fn(&Phase) -> bool| {
            bench.block_on(async {
                let wait = async {
                    while !wanted(&bench.provider.observe(&request.key).await.unwrap().phase) {
                        assert_eq!(changes.recv().await.unwrap(), request.key);
                    }
                };
                tokio::time::timeout(crate::bench::PATIENCE, wait)
                    .await
                    .expect("a change");
            });
        };
        next(|phase| matches!(phase, Phase::Running { .. }));
        std::fs::write(bench.dir(&request).workdir().join("go"), "go\n").unwrap();
        next(|phase| matches!(phase, Phase::Exited(_)));
        bench.terminate(&request);

        let killed = bench.request("sleep 1000");
        bench.launch(&killed);
        until("an agent", || {
            holder(&bench.dir(&killed)).unwrap().is_some()
        });
        let mut changes = bench.provider.changes();
        let agent = holder(&bench.dir(&killed)).unwrap().unwrap();
        rustix::process::kill_process(agent, rustix::process::Signal::KILL).unwrap();
        bench.block_on(async {
            let wait = async {
                loop {
                    let phase = bench.provider.observe(&killed.key).await.unwrap().phase;
                    if matches!(phase, Phase::Lost { .. }) {
                        return;
                    }
                    changes.recv().await.unwrap();
                }
            };
            tokio::time::timeout(crate::bench::PATIENCE, wait)
                .await
                .expect("a loss");
        });
        bench.terminate(&killed);
    }
}

/// The key that [`launch_and_wait`] launches.
fn key_of(home: &Path) -> ReplicaKey {
    ReplicaKey {
        service: "test-web".to_owned(),
        incarnation: incarnation(home),
        replica_id: 1,
    }
}

/// What the program does as a server: launches one replica, says so, and waits to be killed.
pub(crate) fn launch_and_wait(home: &Path) {
    let options = Options::detect().unwrap();
    let provider = LocalProvider::with_options(home.into(), agent_command(), options).unwrap();
    let mut request = request(key_of(home), SERVER);
    request.envs.insert("ANSWER".into(), "still here".into());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(provider.launch(&request)).unwrap();
    println!("launched");
    std::thread::sleep(crate::bench::PATIENCE);
}

pub(crate) fn a_server_killed() {
    let bench = Bench::new(Mode::WithoutNamespaces);
    let request = bench.request("");
    assert_eq!(request.key, key_of(bench.home.path()));
    let mut server = Command::new(std::env::current_exe().unwrap())
        .arg("launch")
        .arg(bench.home.path())
        .env("SKYSERVE_LOCAL_NETWORK", "auto")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(line, "launched\n");
    let endpoint = bench.answers(&request, "still here");
    assert_eq!(
        bench.block_on(bench.provider.list()).unwrap(),
        std::slice::from_ref(&request.key)
    );
    bench.launch(&request);
    assert_eq!(bench.answers(&request, "still here"), endpoint);
    bench.terminate(&request);
}

pub(crate) fn a_provider_made_again() {
    for mode in Mode::possible() {
        let mut bench = Bench::new(mode);
        let mut request = bench.request(SERVER);
        request.envs.insert("ANSWER".into(), "same".into());
        bench.launch(&request);
        let endpoint = bench.answers(&request, "same");
        let options = Options::detect().unwrap();
        let home = bench.home.path().to_owned();
        bench.provider = LocalProvider::with_options(home, agent_command(), options).unwrap();
        assert_eq!(bench.answers(&request, "same"), endpoint);
        let observation = bench.observe(&request);
        assert_eq!(observation.infra.as_deref(), Some("Local"));
        assert_eq!(observation.resources.as_deref(), Some("1x(cpus=1, ...)"));
        let mut changes = bench.provider.changes();
        bench.terminate(&request);
        assert_eq!(
            changes.try_recv().unwrap(),
            request.key,
            "replicas found on disk are watched"
        );
    }
}

pub(crate) fn half_made_replicas() {
    for mode in Mode::possible() {
        let bench = Bench::new(mode);
        // Cut off while copying.
        let request = bench.request("echo came up; sleep 1000");
        let dir = bench.dir(&request);
        std::fs::create_dir_all(dir.workdir().join("half")).unwrap();
        assert_eq!(
            bench.block_on(bench.provider.list()).unwrap(),
            std::slice::from_ref(&request.key)
        );
        assert_eq!(bench.observe(&request).phase, Phase::Absent);
        bench.launch(&request);
        bench.logged(&request, "came up");
        assert!(
            !dir.workdir().join("half").exists(),
            "what was half made is made anew"
        );
        bench.terminate(&request);

        // Cut off before the agent was started.
        let request = bench.request("echo came up; sleep 1000");
        let dir = bench.dir(&request);
        bench.launch(&request);
        bench.logged(&request, "came up");
        let agent = holder(&dir).unwrap().unwrap();
        rustix::process::kill_process(agent, rustix::process::Signal::KILL).unwrap();
        until("the agent to end", || holder(&dir).unwrap().is_none());
        std::fs::remove_file(dir.state()).unwrap();
        assert_eq!(bench.observe(&request).phase, Phase::Absent);
        bench.launch(&request);
        until("a second start", || {
            bench.log(&request).matches("came up").count() == 2
        });
        assert!(AgentState::read(&dir).unwrap().is_some());
        bench.terminate(&request);

        // Cut off, then given up.
        let request = bench.request("");
        std::fs::create_dir_all(bench.dir(&request).workdir()).unwrap();
        bench.terminate(&request);
        assert!(bench.block_on(bench.provider.list()).unwrap().is_empty());
    }
}

pub(crate) fn an_agent_that_cannot_start() {
    for command in ["/nonexistent/agent", "/bin/false"] {
        let mut bench = Bench::new(Mode::WithoutNamespaces);
        let home = bench.home.path().to_owned();
        let options = Options::detect().unwrap();
        bench.provider = LocalProvider::with_options(home, vec![command.into()], options).unwrap();
        let request = bench.request("sleep 1000");
        let error = bench.block_on(bench.provider.launch(&request)).unwrap_err();
        assert!(error.message.contains("agent"), "{error}");
        assert!(
            bench.block_on(bench.provider.list()).unwrap().is_empty(),
            "nothing is left"
        );
    }
}
