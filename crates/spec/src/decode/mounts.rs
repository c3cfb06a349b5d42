//! `file_mounts` and `volumes`.

use serde_json::Value as Json;

use super::{Nulls, Section, Sink, json, word};
use crate::node::{Node, Value};
use crate::task::{FileMount, FileMountSource};

const STORES: &[&str] = &[
    "S3",
    "GCS",
    "AZURE",
    "R2",
    "IBM",
    "OCI",
    "NEBIUS",
    "COREWEAVE",
    "VASTDATA",
    "HF",
    "VOLUME",
];
const MODES: &[&str] = &["MOUNT", "COPY", "MOUNT_CACHED"];
const TYPES: &[&str] = &[
    "MODEL_CHECKPOINT_RO",
    "MODEL_CHECKPOINT_RW",
    "DATASET_RO",
    "DATASET_RW",
];
/// Address schemes of cloud storage.
const SCHEMES: &[&str] = &[
    "s3", "gs", "https", "http", "r2", "cos", "oci", "nebius", "cw", "vastdata", "hf", "azure",
];
/// Where `workdir` appears on a replica.
const WORKDIR_DESTINATION: &str = "~/sky_workdir";

/// Reads `file_mounts`, sorted by destination.
pub(crate) fn decode(sink: &mut Sink<'_>, node: &Node, has_workdir: bool) -> Vec<FileMount> {
    let Some(entries) = node.entries() else {
        sink.wrong_type(node, "file_mounts", "a mapping of destinations to sources");
        return Vec::new();
    };
    let mut mounts: Vec<FileMount> = Vec::new();
    for entry in entries {
        let Some(destination) = destination(sink, &entry.key, has_workdir) else {
            continue;
        };
        let source = match &entry.value.value {
            Value::Str(source) if is_address(source) => Some(FileMountSource::Url(source.clone())),
            Value::Str(source) => {
                if source.ends_with('/') && source.len() > 1 {
                    let message = "the source of a file mount must not end with `/`";
                    sink.error("mount-path", &entry.value, "file_mounts[]", message);
                }
                Some(FileMountSource::Local(source.clone()))
            }
            Value::Map(_) => storage(sink, &entry.value).map(FileMountSource::Storage),
            _ => {
                sink.wrong_type(
                    &entry.value,
                    "file_mounts[]",
                    "a path, an address, or a mapping",
                );
                None
            }
        };
        if let Some(source) = source {
            mounts.push(FileMount {
                destination,
                source,
            });
        }
    }
    mounts.sort_by(|left, right| left.destination.cmp(&right.destination));
    mounts
}

/// Whether a source is an address rather than a path on this machine.
pub(crate) fn is_address(source: &str) -> bool {
    source
        .split_once("://")
        .is_some_and(|(scheme, _)| SCHEMES.contains(&scheme))
}

fn destination(sink: &mut Sink<'_>, key: &Node, has_workdir: bool) -> Option<String> {
    const PATH: &str = "file_mounts[]";
    let Some(destination) = key.as_str() else {
        sink.wrong_type(key, PATH, "a mapping of destinations to sources");
        return None;
    };
    let problem = if is_address(destination) {
        Some("a destination is a path on the replica, not an address")
    } else if !destination.starts_with(['/', '~']) {
        Some("a destination must be absolute or start with `~`")
    } else if destination.ends_with('/') {
        Some("a destination must not end with `/`")
    } else if destination == WORKDIR_DESTINATION && has_workdir {
        Some("`~/sky_workdir` is where `workdir` goes; name a file or folder inside it")
    } else {
        None
    };
    if let Some(problem) = problem {
        sink.error("mount-path", key, PATH, problem);
        return None;
    }
    Some(destination.to_owned())
}

fn storage(sink: &mut Sink<'_>, node: &Node) -> Option<Json> {
    const PATH: &str = "file_mounts[]";
    let section = Section::open(sink, node, PATH, Nulls::Absent)?;
    let name = section.string(sink, "name");
    section.boolean(sink, "persistent");
    let mut words = |key: &str, words: &[&'static str]| {
        let node = section.get(key)?;
        word(sink, node, &format!("{PATH}.{key}"), words)
    };
    let store = words("store", STORES);
    let mode = words("mode", MODES);
    words("type", TYPES);
    let source = section.get("source");
    let remote = source.and_then(|source| source_of_storage(sink, source));
    // What the storage itself would refuse is a warning only: no infra here mounts buckets yet.
    if store != Some("VOLUME") {
        let problem = match (name, source, remote) {
            (None, None, _) => Some("a storage object needs `name` or `source`"),
            (_, None, _) if mode == Some("COPY") => Some("`mode: COPY` needs `source`"),
            (Some(_), Some(_), Some(true)) => {
                Some("`name` cannot be written with an address as `source`, which names the bucket")
            }
            (None, Some(_), Some(false)) => {
                Some("a storage object with a local `source` needs `name`")
            }
            _ => None,
        };
        if let Some(problem) = problem {
            sink.warning("storage", node, PATH, problem);
        }
        if name.is_some_and(is_address) {
            sink.warning(
                "storage",
                node,
                PATH,
                "`name` is an address; write it as `source`",
            );
        }
    }
    if let Some(config) = section.get("config")
        && config.entries().is_none()
    {
        sink.wrong_type(config, "file_mounts[].config", "a mapping");
    }
    let mut value = json(sink, node, PATH)?;
    if let Json::Object(fields) = &mut value {
        fields.retain(|_, value| !value.is_null());
        for key in ["store", "mode", "type"] {
            if let Some(Json::String(word)) = fields.get_mut(key) {
                *word = word.to_ascii_uppercase();
            }
        }
    }
    Some(value)
}

/// Whether the source of a storage object is an address; `None` when it is neither.
fn source_of_storage(sink: &mut Sink<'_>, source: &Node) -> Option<bool> {
    const PATH: &str = "file_mounts[].source";
    match &source.value {
        Value::Str(source) => Some(is_address(source)),
        Value::Seq(items)
            if !items.is_empty() && items.iter().all(|item| item.as_str().is_some()) =>
        {
            Some(false)
        }
        _ => {
            sink.wrong_type(source, PATH, "a string, or a list of strings");
            None
        }
    }
}

/// Reads `volumes`.
pub(crate) fn volumes(sink: &mut Sink<'_>, node: &Node) -> Option<Json> {
    const PATH: &str = "volumes";
    let Some(entries) = node.entries() else {
        sink.wrong_type(node, PATH, "a mapping of paths to names of volumes");
        return None;
    };
    for entry in entries {
        match &entry.value.value {
            Value::Str(_) => {}
            Value::Map(_)
                if entry.value.get("size").is_some() || entry.value.get("name").is_some() => {}
            Value::Map(_) => {
                let message =
                    "a volume needs `name`, or `size` when it is to be made for the replica";
                sink.warning("missing-field", &entry.value, PATH, message);
            }
            _ => {
                let message = format!(
                    "a volume is a name or a mapping, not {}",
                    entry.value.kind()
                );
                sink.warning("wrong-type", &entry.value, PATH, message);
            }
        }
    }
    json(sink, node, PATH)
}
