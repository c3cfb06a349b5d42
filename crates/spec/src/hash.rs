//! The content hash of a version: whether a replica of one version already is what another version
//! asks for.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::task::{FileMountSource, Task, Workdir};

/// Changes whenever the way of hashing changes, so that hashes of different ways never meet.
const FORMAT: &str = "skyserve task 1";

/// A BLAKE3 hash, as 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentHash(String);

impl ContentHash {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<blake3::Hash> for ContentHash {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.to_hex().to_string())
    }
}

/// The content of the files that a task ships: its workdir and its local file mounts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FilesDigest(ContentHash);

impl FilesDigest {
    /// The digest of a task without files.
    #[must_use]
    pub fn none() -> Self {
        Self::combine([])
    }

    /// Joins the digests of several trees, each with where it appears on the replica: `""` for the
    /// workdir, the destination for a file mount. The order given does not matter.
    #[must_use]
    pub fn combine<'p>(parts: impl IntoIterator<Item = (&'p str, FilesDigest)>) -> Self {
        let mut parts: Vec<(&str, FilesDigest)> = parts.into_iter().collect();
        parts.sort_by(|left, right| left.0.cmp(right.0));
        let mut hasher = blake3::Hasher::new();
        for (destination, digest) in parts {
            add(&mut hasher, destination.as_bytes());
            add(&mut hasher, digest.0.as_str().as_bytes());
        }
        Self(hasher.finalize().into())
    }

    pub(crate) fn of(hash: blake3::Hash) -> Self {
        Self(hash.into())
    }

    /// The hash.
    #[must_use]
    pub fn hash(&self) -> &ContentHash {
        &self.0
    }
}

/// Adds bytes with their length before them, so that no two lists of parts read alike.
pub(crate) fn add(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

impl Task {
    /// The hash of everything that a replica can see: the task without its name and without
    /// `service` but for the port, values of secrets included, and the content of its files. Two
    /// tasks with the same hash make the same replica, so a running one need not be replaced. Where
    /// local files come from does not count, only what is in them.
    #[must_use]
    pub fn task_hash(&self, files: &FilesDigest) -> ContentHash {
        let mut canonical = self.canonical();
        if let Json::Object(fields) = &mut canonical {
            fields.remove("name");
            fields.remove("service");
            if matches!(self.workdir, Some(Workdir::Local(_))) {
                fields.insert("workdir".to_owned(), Json::Null);
            }
            if let Some(Json::Object(mounts)) = fields.get_mut("file_mounts") {
                for mount in &self.file_mounts {
                    if matches!(mount.source, FileMountSource::Local(_)) {
                        mounts.insert(mount.destination.clone(), Json::Null);
                    }
                }
            }
        }
        let port = self.service.as_ref().map(|service| service.port);
        let subject = json!({ "format": FORMAT, "task": canonical, "port": port });
        let mut hasher = blake3::Hasher::new();
        add(&mut hasher, subject.to_string().as_bytes());
        add(&mut hasher, files.hash().as_str().as_bytes());
        hasher.finalize().into()
    }
}
