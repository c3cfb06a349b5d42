use super::*;
use crate::NetworkChoice;

fn launch() -> Launch {
    Launch {
        key: "web-0123456789abcdef-3".into(),
        service: "web".into(),
        replica_id: 3,
        setup: None,
        run: None,
        envs: BTreeMap::from([
            ("GREETING".into(), "hello".into()),
            ("PORT".into(), "1".into()),
        ]),
        secrets: BTreeMap::from([("TOKEN".into(), "s3cret".into())]),
        port: 8081,
        shared_port: 22_001,
        network: NetworkChoice::Auto,
        namespaces: true,
        log: "/logs/3.log".into(),
        binds: Vec::new(),
        gpus: Some(vec![1, 3]),
        task_id: "sky-2026-01-01-00-00-00-000000_web-3_1".into(),
    }
}

fn of(inherited: &[(&str, &str)], stage: Stage) -> BTreeMap<String, String> {
    let inherited = inherited
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    let world = World::test([10, 0, 0, 2].into(), 8081);
    environment(
        inherited,
        &launch(),
        &ReplicaDir::new("/replica"),
        &world,
        stage,
    )
    .into_iter()
    .map(|(name, value)| (name.into_string().unwrap(), value.into_string().unwrap()))
    .collect()
}

#[test]
fn a_replica_has_what_skyserve_promises() {
    let environment = of(&[("HOME", "/home/ada"), ("PATH", "/bin")], Stage::Run);
    for (name, value) in [
        ("PATH", "/bin"),
        ("HOME", "/replica/home"),
        ("GREETING", "hello"),
        ("TOKEN", "s3cret"),
        ("PORT", "8081"),
        ("SKYPILOT_SERVE_REPLICA_ID", "3"),
        ("SKYPILOT_NODE_RANK", "0"),
        ("SKYPILOT_NODE_IPS", "10.0.0.2"),
        ("SKYPILOT_NUM_NODES", "1"),
        ("SKYPILOT_NUM_GPUS_PER_NODE", "2"),
        ("SKYPILOT_TASK_ID", "sky-2026-01-01-00-00-00-000000_web-3_1"),
        ("CUDA_VISIBLE_DEVICES", "1,3"),
        ("PYTHONUNBUFFERED", "1"),
        ("SKYSERVE_HOST_HOME", "/home/ada"),
        ("XDG_CACHE_HOME", "/home/ada/.cache"),
        ("PYTHONUSERBASE", "/home/ada/.local"),
        (KEY_VARIABLE, "web-0123456789abcdef-3"),
    ] {
        assert_eq!(
            environment.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
    assert!(
        !environment.contains_key("CARGO_HOME"),
        "there is no such folder"
    );
    let cluster: serde_json::Value =
        serde_json::from_str(&environment["SKYPILOT_CLUSTER_INFO"]).unwrap();
    assert_eq!(cluster["cluster_name"], "web-3");
    assert!(!environment.contains_key("SKYPILOT_SETUP_NUM_GPUS_PER_NODE"));
    assert_eq!(
        of(&[], Stage::Setup)["SKYPILOT_SETUP_NUM_GPUS_PER_NODE"],
        "2"
    );
}

#[test]
fn what_the_user_set_is_kept_and_what_is_ours_is_not_passed_on() {
    let environment = of(
        &[
            ("XDG_CACHE_HOME", "/cache"),
            ("PYTHONUNBUFFERED", "0"),
            ("SKYSERVE_HOME", "/state"),
            ("SKYSERVE_AGENT_STAGE", "init"),
            ("OLDPWD", "/somewhere"),
        ],
        Stage::Run,
    );
    assert_eq!(environment["XDG_CACHE_HOME"], "/cache");
    assert_eq!(environment["PYTHONUNBUFFERED"], "0");
    for name in ["SKYSERVE_HOME", "SKYSERVE_AGENT_STAGE", "OLDPWD"] {
        assert!(!environment.contains_key(name), "{name}");
    }
}
