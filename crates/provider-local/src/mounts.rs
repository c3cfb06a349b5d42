//! Where file mounts go.

use std::path::{Component, Path, PathBuf};

use agent::ReplicaDir;
use plan::observation::ErrorClass;
use provider::ProviderError;

/// What no mount may replace.
const UNTOUCHABLE: [&str; 4] = ["/proc", "/sys", "/dev", "/etc/resolv.conf"];

/// Where one file mount goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A copy below the replica's HOME, at this place.
    Home(PathBuf),
    /// A copy that is mounted at this absolute path, in the replica's view of the file system
    /// alone.
    Bind(PathBuf),
}

/// Decides where the mount at `destination` goes. Relative ones are below the workdir, as in
/// SkyPilot.
pub(crate) fn target(
    destination: &str,
    dir: &ReplicaDir,
    skyserve_home: &Path,
    namespaces: bool,
) -> Result<Target, ProviderError> {
    let refused = |why: &str| {
        let message = format!("the file mount at `{destination}` cannot be made: {why}");
        ProviderError::new(ErrorClass::UserFault, message)
    };
    let (base, rest) = match destination {
        "" => return Err(refused("the destination is empty")),
        "~" => (dir.home(), ""),
        text => match (text.strip_prefix("~/"), text.starts_with('~')) {
            (Some(rest), _) => (dir.home(), rest),
            (None, true) => {
                return Err(refused("only `~/` is known, not the home of another user"));
            }
            (None, false) if text.starts_with('/') => (PathBuf::from("/"), text),
            (None, false) => (dir.workdir(), text),
        },
    };
    let path =
        normal(&base, Path::new(rest)).ok_or_else(|| refused("`..` is not allowed in it"))?;
    if !destination.starts_with('/') {
        return Ok(Target::Home(path));
    }
    if !namespaces {
        return Err(refused(
            "an absolute path can only be mounted on this machine by root; use a path below `~`",
        ));
    }
    if path == Path::new("/") || UNTOUCHABLE.iter().any(|fixed| path.starts_with(fixed)) {
        return Err(refused("it would replace a part of the system"));
    }
    if skyserve_home.starts_with(&path) || path.starts_with(skyserve_home) {
        return Err(refused("it would hide the files of Skyserve itself"));
    }
    Ok(Target::Bind(path))
}

/// `base` and `rest` without `.`; `None` if there is a `..`.
fn normal(base: &Path, rest: &Path) -> Option<PathBuf> {
    let mut path = base.to_owned();
    for part in rest.components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(destination: &str, namespaces: bool) -> Result<Target, String> {
        let dir = ReplicaDir::new("/var/skyserve/replicas/web-0/1");
        target(destination, &dir, Path::new("/var/skyserve"), namespaces)
            .map_err(|error| error.message)
    }

    #[test]
    fn each_way_to_write_a_destination() {
        let home = |path: &str| {
            Ok(Target::Home(
                Path::new("/var/skyserve/replicas/web-0/1/home").join(path),
            ))
        };
        assert_eq!(of("~/model", false), home("model"));
        assert_eq!(of("~/./a//b/", false), home("a/b"));
        assert_eq!(of("data/x", false), home("sky_workdir/data/x"));
        assert_eq!(of("/data/x", true), Ok(Target::Bind("/data/x".into())));
    }

    #[test]
    fn what_would_do_harm_is_refused_with_a_reason() {
        for (destination, why) in [
            ("", "empty"),
            ("~root/x", "another user"),
            ("~/../x", "`..`"),
            ("/a/../../b", "`..`"),
            ("/", "part of the system"),
            ("/proc/self", "part of the system"),
            ("/var", "Skyserve itself"),
            ("/var/skyserve/replicas", "Skyserve itself"),
        ] {
            let message = of(destination, true).unwrap_err();
            assert!(message.contains(why), "{destination}: {message}");
        }
        assert!(of("/data", false).unwrap_err().contains("root"));
    }
}
