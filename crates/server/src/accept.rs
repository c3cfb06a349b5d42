//! From a request to a version that can be accepted: files are copied and hashed, everything that can be refused is
//! refused here, before a version number exists.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use api::{ErrorCode, UpdateMode};
use controller::{NewVersion, Snapshots};
use plan::settings::UpdateSettings;
use spec::{FileMountSource, FilesDigest, ResourceCandidate, Task, Tls, Workdir};
use store::{FileSource, VersionFiles};

use crate::error::Refusal;
use crate::tls_check;

/// First port given to an endpoint (as SkyServe's load balancers).
pub(crate) const FIRST_ENDPOINT_PORT: u16 = 30001;
/// Address that endpoints listen on; every address of the machine unless set.
pub(crate) const ENDPOINT_HOST_VARIABLE: &str = "SKYSERVE_ENDPOINT_HOST";

/// The longest name of a user that is kept.
const USER_NAME_CHARS_MAX: usize = 64;

/// What a user hands in.
pub(crate) struct Submission {
    /// What to serve.
    pub(crate) task: Task,
    /// The YAML as written.
    pub(crate) yaml: String,
    /// Where relative paths start.
    pub(crate) base_dir: PathBuf,
    /// Where the YAML is.
    pub(crate) yaml_path: Option<PathBuf>,
    /// Who asks, as they say.
    pub(crate) requested_by: Option<String>,
    /// How to get there, where a flag says so: it goes before the YAML.
    pub(crate) mode: Option<UpdateMode>,
}

/// What becomes of the user's files.
#[derive(Clone, Copy)]
pub(crate) enum Files<'a> {
    /// They are copied. Keep [`Snapshots::hold`] until the version is committed.
    Copied(&'a Snapshots),
    /// They are read, to know their content, and nothing more.
    Read,
}

/// Takes in the task's files and works out what the version is.
pub(crate) fn version(submission: Submission, files: Files<'_>) -> Result<NewVersion, Refusal> {
    let Submission {
        mut task,
        yaml,
        base_dir,
        yaml_path,
        requested_by,
        mode,
    } = submission;
    if let Some(tls) = task
        .service
        .as_mut()
        .and_then(|service| service.tls.as_mut())
    {
        make_absolute(tls, &base_dir);
    }
    let Some(service) = task.service.clone() else {
        return Err(Refusal::invalid(
            "Service section not found. Add a 'service:' section to the YAML.",
        ));
    };
    if let Some(tls) = &service.tls {
        tls_check::check(tls).map_err(Refusal::invalid)?;
    }
    let missing: Vec<&str> = task.missing_secrets().collect();
    if !missing.is_empty() {
        return Err(Refusal::invalid(format!(
            "These secrets have no value: {}. Give each with --secret NAME=VALUE.",
            missing.join(", ")
        )));
    }
    local_candidate(&task)?;
    let (files, digest) = snapshot(files, &task, &base_dir, yaml_path.as_deref())?;
    let task_hash = task.task_hash(&digest).to_string();
    let use_spot = task
        .resources
        .candidates
        .iter()
        .any(|candidate| candidate.use_spot);
    let settings = UpdateSettings::of(&service);
    let mode = mode.or(service.update.mode).unwrap_or_default();
    Ok(NewVersion {
        task,
        service,
        yaml,
        files,
        task_hash,
        use_spot,
        requested_by: requested_by.as_deref().and_then(user_name),
        mode,
        settings,
    })
}

/// A name as it may be stored and shown: on one line, of some length, and not empty.
pub(crate) fn user_name(text: &str) -> Option<String> {
    let printable = text.chars().filter(|character| !character.is_control());
    let name: String = printable.take(USER_NAME_CHARS_MAX).collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Placement, as long as there is one infra: some candidate must allow this machine.
fn local_candidate(task: &Task) -> Result<(), Refusal> {
    let allows = |candidate: &ResourceCandidate| {
        let infra = candidate.infra.as_deref().or(candidate.cloud.as_deref());
        infra.is_none_or(|infra| matches!(infra.split('/').next(), Some("local" | "*")))
    };
    if task.resources.candidates.iter().any(allows) {
        return Ok(());
    }
    let asked: Vec<&str> = task
        .resources
        .candidates
        .iter()
        .filter_map(|candidate| candidate.infra.as_deref().or(candidate.cloud.as_deref()))
        .collect();
    Err(Refusal::invalid(format!(
        "No enabled infra can run this task: it asks for {}, and only 'local' (this machine) is enabled. \
         Remove 'infra' (or 'cloud') from its resources, or pass --infra local.",
        asked.join(" or ")
    )))
}

fn snapshot(
    files: Files<'_>,
    task: &Task,
    base_dir: &Path,
    yaml_path: Option<&Path>,
) -> Result<(VersionFiles, FilesDigest), Refusal> {
    let mut kept = VersionFiles::default();
    let mut digests: Vec<(&str, FilesDigest)> = Vec::new();
    match &task.workdir {
        None => {}
        Some(Workdir::Local(path)) => {
            let root = resolve(base_dir, path);
            if !root.is_dir() {
                return Err(Refusal::invalid(format!(
                    "workdir '{path}' is not a folder ({}).",
                    root.display()
                )));
            }
            let (source, digest) = take_in(files, &root, yaml_path)?;
            digests.push(("", digest));
            kept.workdir = Some(source);
        }
        Some(Workdir::Git { url, .. }) => {
            return Err(Refusal::invalid(format!(
                "workdir from a git repository ({url}) is not supported yet; clone it and give the folder."
            )));
        }
    }
    for mount in &task.file_mounts {
        let destination = mount.destination.as_str();
        let FileMountSource::Local(path) = &mount.source else {
            return Err(Refusal::invalid(format!(
                "file_mounts '{destination}': buckets and web addresses are not supported on the local infra \
                 yet; give a local file or folder."
            )));
        };
        let (source, digest) = take_in(files, &resolve(base_dir, path), yaml_path)?;
        digests.push((destination, digest));
        kept.mounts.push((destination.to_owned(), source));
    }
    Ok((kept, FilesDigest::combine(digests)))
}

/// Takes in a tree. The digest that counts for the version leaves the YAML out where it lies within: editing
/// `replicas: 2` to `3` there is no change of the app.
fn take_in(
    files: Files<'_>,
    root: &Path,
    yaml_path: Option<&Path>,
) -> Result<(FileSource, FilesDigest), Refusal> {
    let mut entries = spec::files::collect(root).map_err(controller::SnapshotError::from)?;
    let source = FileSource {
        digest: spec::files::digest(&entries).hash().to_string(),
    };
    if let Files::Copied(snapshots) = files {
        snapshots.make(&source.digest, root, &entries)?;
    }
    let within = std::fs::canonicalize(root).ok();
    let within = within.and_then(|root| yaml_path?.strip_prefix(root).ok());
    entries.retain(|entry| within.is_none_or(|yaml| entry.path != yaml));
    Ok((source, spec::files::digest(&entries)))
}

/// The proxy stands elsewhere than the user.
fn make_absolute(tls: &mut Tls, base_dir: &Path) {
    for path in [&mut tls.keyfile, &mut tls.certfile] {
        *path = resolve(base_dir, path).to_string_lossy().into_owned();
    }
}

/// `~` is the user's home; anything relative is relative to where the user stood.
fn resolve(base_dir: &Path, path: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map(PathBuf::from);
    match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let rest = rest.trim_start_matches('/');
            home().map_or_else(|| base_dir.join(path), |home| home.join(rest))
        }
        _ => base_dir.join(path),
    }
}

/// Held while a port is chosen and until the proxy has it, so that two servers on one machine do not choose the same.
/// It is locked through a descriptor that only reads, so that servers of different users share it. Where even that
/// cannot be had one goes without; the proxy refuses a port that is taken.
pub(crate) fn port_lock() -> Option<std::fs::File> {
    let path = std::env::temp_dir().join("skyserve-ports.lock");
    let file = std::fs::File::open(&path).or_else(|_| {
        std::fs::OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)?;
        std::fs::File::open(&path)
    });
    let file = file.or_else(|_| std::fs::File::open(&path)).ok()?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).ok()?;
    Some(file)
}

/// The address of a new endpoint: the first port that no other service has and that can be bound now.
pub(crate) fn endpoint(taken: &[u16]) -> Result<SocketAddr, Refusal> {
    let host = match std::env::var(ENDPOINT_HOST_VARIABLE) {
        Ok(host) => host.parse::<IpAddr>().map_err(|_| {
            Refusal::invalid(format!(
                "{ENDPOINT_HOST_VARIABLE} is '{host}', which is not an IP address."
            ))
        })?,
        Err(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let free = (FIRST_ENDPOINT_PORT..=u16::MAX)
        .filter(|port| !taken.contains(port))
        .map(|port| SocketAddr::new(host, port))
        .find(|address| TcpListener::bind(address).is_ok());
    free.ok_or_else(|| Refusal::new(ErrorCode::Internal, "no free port is left for the endpoint"))
}

/// `1x[cpus=2+, mem=4+]`: the REQUESTED_RESOURCES column.
pub(crate) fn requested_resources(task: &Task) -> String {
    let one = |candidate: &ResourceCandidate| {
        let mut parts: BTreeMap<u8, String> = BTreeMap::new();
        if let Some((name, count)) = &candidate.accelerators {
            parts.insert(0, format!("{name}:{count}"));
        }
        if let Some(cpus) = &candidate.cpus {
            parts.insert(1, format!("CPU:{cpus}"));
        }
        if let Some(memory) = &candidate.memory {
            parts.insert(2, format!("mem={memory}"));
        }
        let spot = if candidate.use_spot { "[Spot]" } else { "" };
        let parts: Vec<String> = parts.into_values().collect();
        let parts = if parts.is_empty() {
            "-".to_owned()
        } else {
            format!("[{}]", parts.join(", "))
        };
        format!("{}x{spot}{parts}", task.num_nodes)
    };
    task.resources
        .candidates
        .iter()
        .map(one)
        .collect::<Vec<_>>()
        .join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_where_the_user_stood() {
        let base = Path::new("/base");
        assert_eq!(resolve(base, "app"), Path::new("/base/app"));
        assert_eq!(resolve(base, "/app"), Path::new("/app"));
        // `~name` is somebody else's home, which SkyServe does not expand either.
        assert_eq!(resolve(base, "~other/app"), Path::new("/base/~other/app"));
        if let Some(home) = std::env::var_os("HOME") {
            assert_eq!(resolve(base, "~/app"), Path::new(&home).join("app"));
        }
    }

    #[test]
    fn the_files_of_tls_are_where_the_user_stood() {
        let mut tls = Tls {
            keyfile: "tls/key.pem".to_owned(),
            certfile: "/etc/cert.pem".to_owned(),
        };
        make_absolute(&mut tls, Path::new("/base"));
        assert_eq!(tls.keyfile, "/base/tls/key.pem");
        assert_eq!(tls.certfile, "/etc/cert.pem");
    }

    #[test]
    fn the_name_of_a_user_fits_into_a_table() {
        assert_eq!(user_name(" ann\n\u{1b}[2J "), Some("ann[2J".to_owned()));
        assert_eq!(user_name("\t \n"), None);
        let long = user_name(&"é".repeat(1000)).unwrap();
        assert_eq!(long.chars().count(), USER_NAME_CHARS_MAX);
    }

    #[test]
    fn an_endpoint_gets_a_port_that_nobody_has() {
        let first = endpoint(&[]).unwrap().port();
        assert!(first >= FIRST_ENDPOINT_PORT);
        let listener = TcpListener::bind(("0.0.0.0", first));
        let second = endpoint(&[]).unwrap().port();
        assert!(listener.is_err() || second != first);
        assert_ne!(endpoint(&[second]).unwrap().port(), second);
    }
}
