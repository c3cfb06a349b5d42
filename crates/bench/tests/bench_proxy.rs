//! The benchmark as a user runs it, on the proxy alone and without any program that may not be installed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_bench-proxy");
/// By default the temporary directories of a run are here, which shows whether it removes them, and which names every
/// process that it starts: all inherit it.
const DIRECTORY_VARIABLE: &str = "TMPDIR";

struct Scene {
    directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        Self { directory }
    }

    /// The benchmark with a search path on which there is nothing.
    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(options)
            .env("PATH", self.directory.path())
            .env(DIRECTORY_VARIABLE, self.directory.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, options: &[&str]) -> Output {
        self.command(options).output().unwrap()
    }

    /// Processes that were started in this scene and still run.
    fn processes(&self) -> Vec<u32> {
        let mark = format!("{DIRECTORY_VARIABLE}={}\0", self.directory.path().display());
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_ours = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let mut parts = environment.split_inclusive(|byte| *byte == 0);
            parts.any(|part| part == mark.as_bytes())
        };
        pids.filter(is_ours).collect()
    }

    fn assert_nothing_is_left(&self) {
        assert_eq!(self.processes(), Vec::<u32>::new());
        let files = fs::read_dir(self.directory.path()).unwrap();
        assert_eq!(files.flatten().count(), 0, "{:?}", self.directory.path());
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for signal in [Signal::STOP, Signal::KILL] {
            for pid in self.processes() {
                let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                let _ = kill_process(pid, signal);
            }
        }
    }
}

#[test]
fn a_row_is_measured_with_the_proxy_alone() {
    let scene = Scene::new();
    let options = ["--allow-debug", "--only=get-8", "--rounds=1", "--seconds=1"];
    let output = scene.run(&options);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let row = text
        .lines()
        .find(|line| line.starts_with("| sky |"))
        .unwrap();
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    let rate = cells[2].trim_end_matches('†').replace(',', "");
    assert!(rate.parse::<u64>().unwrap() > 0, "{text}");
    assert_eq!(cells[7], "0", "errors in {row}");
    for absent in [
        "nginx: it is not on PATH",
        "haproxy: it is not on PATH",
        "wrk: ",
    ] {
        assert!(text.contains(absent), "{absent} in {text}");
    }
    scene.assert_nothing_is_left();
}

#[test]
fn streams_come_whole_and_all_samples_can_be_had_as_json() {
    let scene = Scene::new();
    let results = TempDir::new().unwrap();
    let file = results.path().join("samples.json");
    let json = format!("--json={}", file.display());
    let options = [
        "--allow-debug",
        "--only=streams",
        "--peers=sky",
        "--rounds=1",
        "--seconds=1",
        &json,
    ];
    let output = scene.run(&options);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let json: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let sample = &json["sections"][0]["samples"]["sky"][0];
    assert_eq!(sample["requests"], 200 * 200, "{json}");
    assert_eq!(sample["errors"], 0);
    scene.assert_nothing_is_left();
}

#[test]
fn interrupted_it_ends_everything_that_it_started() {
    let scene = Scene::new();
    let options = ["--allow-debug", "--only=get-8", "--seconds=600"];
    let mut command = scene.command(&options);
    let mut child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // It says so when the load begins.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("round 1")));
    assert!(scene.processes().len() > 3);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(!child.wait().unwrap().success());
    assert!(
        rest.iter().any(|line| line.contains("interrupted")),
        "{rest:?}"
    );
    scene.assert_nothing_is_left();
}

#[test]
fn killed_it_leaves_no_process() {
    let scene = Scene::new();
    let options = ["--allow-debug", "--only=get-8", "--seconds=600"];
    let mut command = scene.command(&options);
    let mut child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("round 1")));
    child.kill().unwrap();
    child.wait().unwrap();
    // The kernel asks what was started to end; the proxy lets its requests finish, of which there are none.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !scene.processes().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", scene.processes());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn without_optimisation_it_refuses_unless_told() {
    let output = Scene::new().run(&["--only=get-8", "--seconds=1", "--rounds=1"]);
    let error = String::from_utf8(output.stderr).unwrap();
    if cfg!(debug_assertions) {
        assert!(!output.status.success());
        assert!(
            error.contains("cargo xtask bench-proxy") && error.contains("--allow-debug"),
            "{error}"
        );
    }
}
