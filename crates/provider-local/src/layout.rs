//! Where replicas and their logs are, by key.

use std::path::{Path, PathBuf};

use agent::ReplicaDir;
use plan::observation::ErrorClass;
use provider::{ProviderError, ReplicaKey};

use crate::failed;

/// The folders below SKYSERVE_HOME that belong to the local infra.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    home: PathBuf,
}

/// The files of one replica.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its folder.
    pub(crate) dir: ReplicaDir,
    /// Its log, which outlives it.
    pub(crate) log: PathBuf,
}

impl Layout {
    /// Makes the folders if need be.
    pub(crate) fn open(home: PathBuf) -> Result<Self, ProviderError> {
        let what = format!("make the folder {}", home.display());
        let home = std::path::absolute(home).map_err(|error| failed(&what, &error))?;
        let layout = Self { home };
        std::fs::create_dir_all(layout.replicas()).map_err(|error| failed(&what, &error))?;
        Ok(layout)
    }

    /// SKYSERVE_HOME itself.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Where a replica's files are. Refuses keys that would lead out of the home.
    pub(crate) fn place(&self, key: &ReplicaKey) -> Result<Place, ProviderError> {
        let harmless = |name: &str| {
            !name.is_empty()
                && !name.starts_with('.')
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if !harmless(&key.service) || !harmless(&key.incarnation) || key.incarnation.contains('-') {
            return Err(ProviderError::new(
                ErrorClass::UserFault,
                format!(
                    "{:?} cannot be the name of a replica's folder",
                    key.to_string()
                ),
            ));
        }
        let service = format!("{}-{}", key.service, key.incarnation);
        let log = format!("{}.log", key.replica_id);
        Ok(Place {
            dir: ReplicaDir::new(
                self.replicas()
                    .join(&service)
                    .join(key.replica_id.to_string()),
            ),
            log: self.home.join("logs/replicas").join(service).join(log),
        })
    }

    /// Every replica that has a folder, also a half-made one.
    pub(crate) fn keys(&self) -> Result<Vec<ReplicaKey>, ProviderError> {
        let mut keys = Vec::new();
        for service in children(&self.replicas())? {
            let Some((name, incarnation)) = service.rsplit_once('-') else {
                continue;
            };
            for replica in children(&self.replicas().join(&service))? {
                let Ok(replica_id) = replica.parse() else {
                    continue;
                };
                keys.push(ReplicaKey {
                    service: name.to_owned(),
                    incarnation: incarnation.to_owned(),
                    replica_id,
                });
            }
        }
        keys.sort();
        Ok(keys)
    }

    fn replicas(&self) -> PathBuf {
        self.home.join("replicas")
    }
}

/// Names of the folders in `folder`; none if it is gone.
fn children(folder: &Path) -> Result<Vec<String>, ProviderError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&format!("list {}", folder.display()), &error)),
    };
    Ok(entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(service: &str, incarnation: &str) -> ReplicaKey {
        ReplicaKey {
            service: service.into(),
            incarnation: incarnation.into(),
            replica_id: 7,
        }
    }

    #[test]
    fn a_key_is_found_again_by_its_folder() {
        let home = tempfile::tempdir().unwrap();
        let layout = Layout::open(home.path().to_owned()).unwrap();
        assert!(layout.keys().unwrap().is_empty());
        let key = key("http-server.v-2", "0123456789abcdef");
        let place = layout.place(&key).unwrap();
        std::fs::create_dir_all(place.dir.root()).unwrap();
        std::fs::create_dir_all(home.path().join("replicas/stray/x")).unwrap();
        assert_eq!(layout.keys().unwrap(), [key]);
        assert!(
            !place.log.starts_with(place.dir.root()),
            "the log outlives the folder"
        );
    }

    #[test]
    fn no_key_leads_out_of_the_home() {
        let home = tempfile::tempdir().unwrap();
        let layout = Layout::open(home.path().to_owned()).unwrap();
        for (service, incarnation) in [
            ("..", "0"),
            ("a/b", "0"),
            ("", "0"),
            ("web", ""),
            ("web", "a-b"),
            ("web", "../x"),
        ] {
            assert!(
                layout.place(&key(service, incarnation)).is_err(),
                "{service} {incarnation}"
            );
        }
    }
}
