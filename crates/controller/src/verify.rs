//! Runs a version's `verify` command against a replica: in a process group of its own, with
//! `REPLICA_URL`, for no longer than it may take.

use std::process::Stdio;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use spec::Verify;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// What is kept of its output: the end.
const OUTPUT_KEPT_BYTES: usize = 4096;
/// What is told of its output.
const LINES_TOLD: usize = 5;
/// How long its output is waited for after its end.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(1);

/// `None` when it was satisfied, else what was seen. The text may hold secrets: mask it.
pub(crate) async fn run(verify: &Verify, replica_url: &str) -> Option<String> {
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(&verify.run)
        .env_clear()
        .env("REPLICA_URL", replica_url)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    for name in ["PATH", "HOME", "LANG", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Some(format!("it could not be started: {error}")),
    };
    let group = Group::of(&child);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let output = tokio::spawn(async move {
        let (out, err) = tokio::join!(tail(out), tail(err));
        if err.trim().is_empty() { out } else { err }
    });
    let limit = Duration::try_from_secs_f64(verify.timeout_seconds).unwrap_or(Duration::MAX);
    let in_time = tokio::time::timeout(limit, group.ended()).await.is_ok();
    // What it started ends with it. It has not been waited for, so its number is still its own.
    group.kill();
    let status = child.wait().await;
    let abort = output.abort_handle();
    let output = tokio::time::timeout(OUTPUT_PATIENCE, output).await;
    abort.abort();
    let output = output.ok().and_then(Result::ok).unwrap_or_default();
    let seen = match status {
        _ if !in_time => format!("it did not end within {}s", verify.timeout_seconds),
        Ok(status) if status.success() => return None,
        Ok(status) => match status.code() {
            Some(code) => format!("it exited with code {code}"),
            None => "it was ended by a signal".to_owned(),
        },
        Err(error) => format!("it could not be waited for: {error}"),
    };
    let last = last_lines(&output);
    Some(if last.is_empty() {
        seen
    } else {
        format!("{seen}; the end of its output: {last}")
    })
}

/// The process group of a command.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    /// Waits for its leader's end without taking note of it.
    async fn ended(&self) {
        let Some(pid) = self.0 else { return };
        let work = move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while waitid(WaitId::Pid(pid), options).is_err_and(|error| error == Errno::INTR) {}
        };
        let _ = tokio::task::spawn_blocking(work).await;
    }

    fn kill(&self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// The end of what is written.
async fn tail(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else {
        return String::new();
    };
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        let surplus = kept.len().saturating_sub(OUTPUT_KEPT_BYTES);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn last_lines(output: &str) -> String {
    let lines = output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.collect();
    let told = lines.len().saturating_sub(LINES_TOLD);
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    lines[told..].join(" | ").chars().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn seen(run: &str, timeout_seconds: f64) -> Option<String> {
        let verify = Verify {
            run: run.to_owned(),
            timeout_seconds,
        };
        super::run(&verify, "http://127.0.0.1:9").await
    }

    #[tokio::test]
    async fn a_command_that_exits_with_0_is_satisfied() {
        assert_eq!(
            seen("test $REPLICA_URL = http://127.0.0.1:9", 60.0).await,
            None
        );
    }

    #[tokio::test]
    async fn the_end_of_its_output_says_why_it_is_not() {
        let script = "seq 1 2000; for i in a b c d e f; do echo $i >&2; done; exit 3";
        let expected = "it exited with code 3; the end of its output: b | c | d | e | f";
        assert_eq!(seen(script, 60.0).await.as_deref(), Some(expected));
        assert_eq!(
            seen("echo no; kill -9 $$", 60.0).await.as_deref(),
            Some("it was ended by a signal; the end of its output: no")
        );
    }

    /// Also what it left behind ends; else the pipes would stay open.
    #[tokio::test]
    async fn it_has_no_more_time_than_it_may_take() {
        let begun = std::time::Instant::now();
        let seen = seen("sleep 1000 & sleep 1000", 0.2).await;
        assert_eq!(seen.as_deref(), Some("it did not end within 0.2s"));
        assert!(begun.elapsed() < Duration::from_secs(500));
    }

    #[tokio::test]
    async fn what_it_left_running_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}", pid.display());
        assert_eq!(seen(&script, 60.0).await, None);
        let number = std::fs::read_to_string(pid).unwrap();
        let stat = format!("/proc/{}/stat", number.trim());
        // Dead, or dead and not buried yet by whoever adopted it.
        let is_dead = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        while !is_dead() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
