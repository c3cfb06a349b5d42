//! One installation of `sky` in a temporary home. When it is dropped, also by a panic, everything of it is ended,
//! and what should have been ended by `sky` itself and was not fails the test.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use api::{Client, ServiceRecord};
use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything a test waits for; only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(90);

/// A temporary installation.
#[derive(Debug)]
pub struct Installation {
    sky: PathBuf,
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    /// Whether commands run as nobody.
    nobody: bool,
}

/// Ids of a user without rights.
const NOBODY: u32 = 65534;

/// What a command printed.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; -1 when ended by a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Installation {
    /// An installation that uses the binary `sky`; `environment` is set for each command.
    ///
    /// # Panics
    /// When no temporary folder can be made.
    #[must_use]
    pub fn new(sky: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("sky-test-")
            .tempdir()
            .expect("a temp folder");
        let environment = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Self {
            sky: PathBuf::from(sky),
            folder,
            environment,
            nobody: false,
        }
    }

    /// An installation whose commands run as a user without rights. Only root can make one, with `setpriv`.
    ///
    /// # Panics
    /// When its files cannot be given to that user.
    #[must_use]
    pub fn as_nobody(sky: &str) -> Self {
        use std::os::unix::fs::{PermissionsExt, chown};
        let mut installation = Self::new(sky, &[]);
        let folder = installation.folder.path().to_owned();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("a mode is set");
        chown(&folder, Some(NOBODY), Some(NOBODY)).expect("a folder is given away");
        let copy = folder.join("sky");
        fs::copy(sky, &copy).expect("the binary is copied");
        installation.sky = copy;
        installation.nobody = true;
        installation
    }

    /// From now on commands are those of this binary.
    pub fn upgrade_to(&mut self, sky: PathBuf) {
        self.sky = sky;
    }

    /// The home.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A folder for the test's own files.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        let work = self.folder.path().join("work");
        fs::create_dir_all(&work).expect("a work folder");
        work
    }

    /// Runs `sky` with these arguments in the work folder, with nothing on standard input.
    ///
    /// # Panics
    /// When the binary cannot be run.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = if self.nobody {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
            command
                .arg("--clear-groups")
                .arg(&self.sky)
                .env("PATH", "/usr/bin:/bin");
            command
        } else {
            Command::new(&self.sky)
        };
        let output = command
            .args(arguments)
            .current_dir(self.work())
            .env("SKYSERVE_HOME", self.home())
            .env("SKYSERVE_ENDPOINT_HOST", "127.0.0.1")
            .env("HOME", self.folder.path())
            .env_remove("NO_COLOR")
            .envs(
                self.environment
                    .iter()
                    .map(|(k, v)| (k.as_str(), v.as_str())),
            )
            .stdin(std::process::Stdio::null())
            .output()
            .expect("sky runs");
        Output {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The same, and it must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn ok(&self, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert_eq!(
            output.code, 0,
            "sky {arguments:?}\n{}\n{}",
            output.out, output.err
        );
        output
    }

    /// A client of this installation's server.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.home())
    }

    /// The service once `wanted` holds of it.
    ///
    /// # Panics
    /// When that never happens; the panic shows the last record.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&ServiceRecord) -> bool,
    ) -> ServiceRecord {
        let (client, begun) = (self.client(), Instant::now());
        let mut last: Option<ServiceRecord> = None;
        while begun.elapsed() < DEADLINE {
            let record = match &last {
                None => client.service(name).await,
                Some(last) => {
                    client
                        .service_after(name, last.revision, Duration::from_millis(500))
                        .await
                }
            };
            match record {
                Ok(record) if wanted(&record) => return record,
                Ok(record) => last = Some(record),
                // The server may be on its way back.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        panic!("never came: {what}\n{last:#?}");
    }

    /// Kills the server without warning and returns its former process id.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill_server(&self) -> u32 {
        let pid = self.client().health().await.expect("the server runs").pid;
        self.kill(pid);
        pid
    }

    /// The proxy's two processes: holder and worker.
    ///
    /// # Panics
    /// When the proxy has never run.
    #[must_use]
    pub fn proxy_pids(&self) -> (u32, u32) {
        let text = fs::read(self.home().join("proxy.pid")).expect("the proxy has run");
        let pids: serde_json::Value = serde_json::from_slice(&text).expect("its pid file is JSON");
        let pid = |which: &str| u32::try_from(pids[which].as_u64().expect("a pid")).expect("a pid");
        (pid("holder"), pid("worker"))
    }

    /// Kills a process of this installation without warning.
    ///
    /// # Panics
    /// When it is not one of ours.
    pub fn kill(&self, pid: u32) {
        self.signal(pid, Signal::KILL);
    }

    /// Asks a process of this installation to end.
    ///
    /// # Panics
    /// When it is not one of ours.
    pub fn terminate(&self, pid: u32) {
        self.signal(pid, Signal::TERM);
    }

    fn signal(&self, pid: u32, signal: Signal) {
        assert!(
            self.owns(pid),
            "{pid} is not a process of this installation"
        );
        let pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, signal).expect("it can be signalled");
    }

    /// Whether a process carries this installation's home in its environment.
    fn owns(&self, pid: u32) -> bool {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let folder = self.folder.path().as_os_str().as_encoded_bytes();
        environment
            .windows(folder.len())
            .any(|window| window == folder)
    }

    /// Processes of this installation.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| self.owns(*pid) && !is_zombie(*pid))
            .collect()
    }

    /// Resident memory of a process in KiB.
    #[must_use]
    pub fn resident_kib(pid: u32) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    fn end(&self) -> Vec<String> {
        self.run(&["serve", "down", "-a", "-y", "--now", "--purge", "--wait=30"]);
        self.run(&["api", "stop", "--all"]);
        let begun = Instant::now();
        while !self.processes().is_empty() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let left = self.processes();
        let names: Vec<String> = left
            .iter()
            .map(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                format!(
                    "{pid}: {}",
                    String::from_utf8_lossy(&line).replace('\0', " ")
                )
            })
            .collect();
        for pid in left {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        names
    }
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

impl Drop for Installation {
    fn drop(&mut self) {
        let left = self.end();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.home().join("logs/server.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(60);
            println!("the server's last words:\n{}", lines[last..].join("\n"));
        } else {
            assert!(left.is_empty(), "left behind: {left:#?}");
        }
    }
}
