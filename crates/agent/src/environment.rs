//! The environment of a replica's processes (names and meanings: SkyPilot's, where it has them).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use plan::observation::Stage;

use crate::world::World;
use crate::{KEY_VARIABLE, Launch, ReplicaDir};

/// Variables of ours begin with this; none of the server's reaches a replica.
const INTERNAL_PREFIX: &str = "SKYSERVE_";

/// Tool caches below the real home that a replica goes on using, unless its environment names
/// others: variable, folder, and whether the folder must be there already.
const CACHES: [(&str, &str, bool); 4] = [
    ("XDG_CACHE_HOME", ".cache", false),
    ("PYTHONUSERBASE", ".local", false),
    ("CARGO_HOME", ".cargo", true),
    ("RUSTUP_HOME", ".rustup", true),
];

/// The whole environment of a stage, from the agent's own (`inherited`), the launch and the world
/// made for it.
///
/// Precedence, weakest first: the server's environment, the caches, the task's `envs`, its
/// `secrets`, and what only we can know (`HOME`, `PORT`, `SKYPILOT_*`).
pub(crate) fn environment(
    inherited: impl Iterator<Item = (OsString, OsString)>,
    launch: &Launch,
    dir: &ReplicaDir,
    world: &World,
    stage: Stage,
) -> BTreeMap<OsString, OsString> {
    let mut variables: BTreeMap<OsString, OsString> = inherited
        .filter(|(name, _)| !name.to_string_lossy().starts_with(INTERNAL_PREFIX))
        .collect();
    let real_home = variables
        .get(&OsString::from("HOME"))
        .cloned()
        .unwrap_or_else(|| "/".into());
    for (name, folder, must_exist) in CACHES {
        let folder = Path::new(&real_home).join(folder);
        if !must_exist || folder.is_dir() {
            variables
                .entry(name.into())
                .or_insert_with(|| folder.into());
        }
    }
    variables
        .entry("PYTHONUNBUFFERED".into())
        .or_insert_with(|| "1".into());
    if let Some(gpus) = &launch.gpus {
        variables.insert("CUDA_VISIBLE_DEVICES".into(), comma_joined(gpus).into());
    }
    let task = launch.envs.iter().chain(&launch.secrets);
    variables.extend(task.map(|(name, value)| (name.into(), value.into())));
    // The shell sets these itself; the server's would be wrong.
    variables.remove(&OsString::from("PWD"));
    variables.remove(&OsString::from("OLDPWD"));
    variables.insert("HOME".into(), dir.home().into());
    variables.insert("SKYSERVE_HOST_HOME".into(), real_home);
    variables.insert(KEY_VARIABLE.into(), launch.key.clone().into());
    variables.extend(
        skypilot(launch, world, stage)
            .into_iter()
            .map(|(name, value)| (name.into(), value.into())),
    );
    variables
}

/// What SkyPilot promises to every task and SkyServe to every replica.
fn skypilot(launch: &Launch, world: &World, stage: Stage) -> Vec<(&'static str, String)> {
    let gpus = launch.gpus.as_ref().map_or(0, Vec::len).to_string();
    let cluster = serde_json::json!({
        "cluster_name": format!("{}-{}", launch.service, launch.replica_id),
        "cloud": "Local",
        "region": "local",
        "zone": null,
    });
    let user = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let mut variables = vec![
        ("PORT", world.port.to_string()),
        ("SKYPILOT_SERVE_REPLICA_ID", launch.replica_id.to_string()),
        ("SKYPILOT_NODE_RANK", "0".to_owned()),
        ("SKYPILOT_NODE_IPS", world.address.to_string()),
        ("SKYPILOT_NUM_NODES", "1".to_owned()),
        ("SKYPILOT_NUM_GPUS_PER_NODE", gpus.clone()),
        ("SKYPILOT_TASK_ID", launch.task_id.clone()),
        (
            "SKYPILOT_USER",
            user.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string()),
        ),
        ("SKYPILOT_CLUSTER_INFO", cluster.to_string()),
    ];
    if stage == Stage::Setup {
        variables.push(("SKYPILOT_SETUP_NUM_GPUS_PER_NODE", gpus));
        variables.push(("SKYPILOT_SETUP_NODE_RANK", "0".to_owned()));
        variables.push(("SKYPILOT_SETUP_NODE_IPS", world.address.to_string()));
    }
    variables
}

fn comma_joined(numbers: &[u32]) -> String {
    numbers
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests;
