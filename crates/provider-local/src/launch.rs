//! Launching: check, reserve, copy, write down, start the agent; in this order, so that each step
//! can be cut off.

use std::fs::DirBuilder;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use agent::{AgentState, Bind, KEY_VARIABLE, Launch, Log, STARTED_LINE, StopRequest, holder};
use plan::observation::ErrorClass;
use provider::{LaunchRequest, ProviderError, ReplicaKey};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::layout::Place;
use crate::mounts::{Target, target};
use crate::observe::Columns;
use crate::reservation::{Reservation, Wish, reserve};
use crate::{Inner, failed, files, locked, resources};

/// How long an agent may take to say that it runs.
const START_TIMEOUT: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// Keeps a key in the set of those being launched.
struct Launching<'a> {
    inner: &'a Inner,
    key: &'a ReplicaKey,
}

impl<'a> Launching<'a> {
    fn new(inner: &'a Inner, key: &'a ReplicaKey) -> Self {
        locked(&inner.launching).insert(key.clone());
        Self { inner, key }
    }
}

impl Drop for Launching<'_> {
    fn drop(&mut self) {
        locked(&self.inner.launching).remove(self.key);
    }
}

impl Inner {
    /// Launches a replica, or finishes a launch that was cut off.
    pub(crate) fn launch(&self, request: &LaunchRequest) -> Result<(), ProviderError> {
        let key = &request.key;
        let place = self.layout.place(key)?;
        if place.dir.launch().exists() {
            let state = AgentState::read(&place.dir);
            let alive = holder(&place.dir).is_ok_and(|holder| holder.is_some());
            if alive || !matches!(state, Ok(None)) {
                return Ok(());
            }
            return self.start(key, &place);
        }
        if place.dir.root().exists() {
            self.terminate(key, 0.0)?;
        }
        resources::check(request, &self.options.machine)?;
        let _launching = Launching::new(self, key);
        let made = self
            .make(request, &place)
            .and_then(|()| self.start(key, &place));
        made.inspect_err(|_| {
            if let Err(error) = self.terminate(key, 0.0) {
                tracing::warn!(%key, %error, "something of a failed launch is left");
            }
        })
    }

    /// Makes the folder of a replica, complete and durable.
    fn make(&self, request: &LaunchRequest, place: &Place) -> Result<(), ProviderError> {
        let dir = &place.dir;
        let root = dir.root();
        let what = format!("make the replica's folder {}", root.display());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(|error| failed(&what, &error))?;
        self.watch.add(&request.key, root);
        let targets = self.targets(request, place)?;
        let binds: Vec<PathBuf> = targets
            .iter()
            .filter_map(|target| match target {
                Target::Bind(path) => Some(path.clone()),
                Target::Home(_) => None,
            })
            .collect();
        let reservation = {
            let _reserving = locked(&self.reserving);
            let wish = Wish {
                resources: &request.resources,
                gpus: &self.options.machine.gpus,
                port: request.port,
                destinations: &binds,
            };
            reserve(&self.layout, dir, &wish)?
        };
        Log::open(&place.log)
            .map_err(|error| failed(&format!("open {}", place.log.display()), &error))?;
        copy_workdir(request, place)?;
        let binds = copy_mounts(request, place, &targets)?;
        let columns = Columns::of(request).write(dir);
        columns.map_err(|error| failed("write a file of the replica", &error))?;
        let launch = self.launch_file(request, place, reservation, binds);
        let text = serde_json::to_vec(&launch)
            .map_err(|_| failed("write launch.json", &std::io::ErrorKind::InvalidData.into()))?;
        agent::write_atomically(&dir.launch(), &text, true)
            .map_err(|error| failed("write launch.json", &error))
    }

    /// Where each file mount goes, in their order.
    fn targets(
        &self,
        request: &LaunchRequest,
        place: &Place,
    ) -> Result<Vec<Target>, ProviderError> {
        let mounts = request.file_mounts.iter();
        mounts
            .map(|mount| {
                let namespaces = self.options.namespaces;
                target(
                    &mount.destination,
                    &place.dir,
                    self.layout.home(),
                    namespaces,
                )
            })
            .collect()
    }

    fn launch_file(
        &self,
        request: &LaunchRequest,
        place: &Place,
        reservation: Reservation,
        binds: Vec<Bind>,
    ) -> Launch {
        let key = &request.key;
        let secrets = request.secrets.iter();
        // On a machine with GPUs, a replica that asked for none sees none.
        let gpus = (!self.options.machine.gpus.is_empty()).then_some(reservation.gpus);
        Launch {
            key: key.to_string(),
            service: key.service.clone(),
            replica_id: key.replica_id,
            setup: request.setup.clone(),
            run: request.run.clone(),
            envs: request.envs.clone(),
            secrets: secrets
                .map(|(name, value)| (name.clone(), value.reveal().to_owned()))
                .collect(),
            port: request.port,
            shared_port: reservation.shared_port,
            network: self.options.network,
            namespaces: self.options.namespaces,
            log: place.log.clone(),
            binds,
            gpus,
            task_id: task_id(key),
        }
    }

    /// Starts the agent, and waits until it owns the replica.
    fn start(&self, key: &ReplicaKey, place: &Place) -> Result<(), ProviderError> {
        let mut child = self
            .spawn(key, place)
            .map_err(|error| failed("start the replica's agent", &error))?;
        let said = child.stdout.take().and_then(|stdout| first_line(&stdout));
        let started = said.as_deref() == Some(STARTED_LINE)
            // One that lost the race against an agent of an earlier launch says nothing.
            || matches!(AgentState::read(&place.dir), Ok(Some(_)));
        if !started {
            let _ = child.kill();
            let _ = child.wait();
            let message = format!(
                "the replica's agent did not start; see {}",
                place.log.display()
            );
            return Err(ProviderError::new(ErrorClass::Transient, message));
        }
        self.watch.collect(child);
        self.watch.announce(key);
        Ok(())
    }

    fn spawn(&self, key: &ReplicaKey, place: &Place) -> std::io::Result<Child> {
        let (program, arguments) = self
            .agent_command
            .split_first()
            .ok_or_else(|| std::io::Error::other("the agent's command is empty"))?;
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(&place.log)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg(place.dir.root())
            .env(KEY_VARIABLE, key.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        if Path::new(program).is_absolute() {
            // The agent must not keep the server's folder busy.
            command.current_dir("/");
        }
        command.spawn()
    }
}

/// The first line that an agent says, if it says one in time.
fn first_line(stdout: &ChildStdout) -> Option<String> {
    let mut descriptors = [PollFd::new(stdout, PollFlags::IN)];
    if !poll(&mut descriptors, Some(&START_TIMEOUT)).is_ok_and(|ready| ready > 0) {
        return None;
    }
    let file = std::fs::File::from(rustix::io::dup(stdout).ok()?);
    let mut line = String::new();
    BufReader::new(file).read_line(&mut line).ok()?;
    Some(line.trim_end().to_owned())
}

/// Gives the replica its own copy of the workdir; there is always one.
fn copy_workdir(request: &LaunchRequest, place: &Place) -> Result<(), ProviderError> {
    let dir = &place.dir;
    let workdir = dir.workdir();
    std::fs::create_dir_all(&workdir).map_err(|error| failed("make the replica's home", &error))?;
    let Some(snapshot) = &request.workdir else {
        return Ok(());
    };
    copy(snapshot, &workdir, place, "the workdir")
}

/// Copies all file mounts; returns those that must be mounted.
fn copy_mounts(
    request: &LaunchRequest,
    place: &Place,
    targets: &[Target],
) -> Result<Vec<Bind>, ProviderError> {
    let dir = &place.dir;
    let mut binds = Vec::new();
    for (number, (mount, target)) in request.file_mounts.iter().zip(targets).enumerate() {
        let what = format!("the file mount at `{}`", mount.destination);
        match target {
            Target::Home(path) => {
                files::make_parents(dir.root(), path)
                    .map_err(|error| failed(&format!("copy {what}"), &error))?;
                copy(&mount.source, path, place, &what)?;
            }
            Target::Bind(destination) => {
                check_kind(&mount.source, destination)?;
                let source = dir.mounts().join(number.to_string());
                std::fs::create_dir_all(dir.mounts())
                    .map_err(|error| failed(&format!("copy {what}"), &error))?;
                copy(&mount.source, &source, place, &what)?;
                binds.push(Bind {
                    source,
                    destination: destination.clone(),
                });
            }
        }
    }
    // A mount inside another must come after it.
    binds.sort_by_key(|bind| bind.destination.components().count());
    Ok(binds)
}

/// A file can only be mounted on a file, a folder on a folder.
fn check_kind(source: &Path, destination: &Path) -> Result<(), ProviderError> {
    if !destination.exists() || source.is_dir() == destination.is_dir() {
        return Ok(());
    }
    let kind = |path: &Path| if path.is_dir() { "a folder" } else { "a file" };
    let message = format!(
        "the file mount at `{}` cannot be made: it is {} and there is {} on this machine",
        destination.display(),
        kind(source),
        kind(destination)
    );
    Err(ProviderError::new(ErrorClass::UserFault, message))
}

fn copy(source: &Path, destination: &Path, place: &Place, what: &str) -> Result<(), ProviderError> {
    let cancelled = || StopRequest::read(&place.dir).is_some();
    files::copy(source, destination, &cancelled)
        .map_err(|error| failed(&format!("copy {what} from {}", source.display()), &error))
}

/// SkyPilot's form: `sky-<time>_<cluster>_<job>`.
fn task_id(key: &ReplicaKey) -> String {
    let time = jiff::Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S-%6f");
    format!("sky-{time}_{}-{}_1", key.service, key.replica_id)
}
