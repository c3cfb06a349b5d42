use std::collections::BTreeMap;

use super::*;
use provider::ReplicaKey;

fn nothing() -> ResourceCandidate {
    serde_json::from_value(serde_json::json!({
        "infra": null, "cloud": null, "region": null, "zone": null, "cpus": null, "memory": null,
        "accelerators": null, "instance_type": null, "use_spot": false, "use_spot_specified": false,
        "disk_size": 256, "disk_tier": null, "network_tier": null, "ports": [], "image_id": null,
        "labels": {}, "other": {},
    }))
    .unwrap()
}

fn request(resources: ResourceCandidate) -> LaunchRequest {
    LaunchRequest {
        key: ReplicaKey {
            service: "web".into(),
            incarnation: "0".into(),
            replica_id: 1,
        },
        setup: None,
        run: None,
        envs: BTreeMap::new(),
        secrets: BTreeMap::new(),
        workdir: None,
        file_mounts: Vec::new(),
        port: 8081,
        resources,
        num_nodes: 1,
    }
}

fn verdict(resources: ResourceCandidate) -> Result<(), (ErrorClass, String)> {
    let machine = Machine {
        cpus: 2,
        memory_gib: 15.6,
        gpus: Vec::new(),
    };
    check(&request(resources), &machine).map_err(|error| (error.class, error.message))
}

#[test]
fn the_column_says_what_was_asked_for() {
    let asked = ResourceCandidate {
        cpus: Some("2+".into()),
        memory: Some("4.0+".into()),
        ports: vec!["8081".into()],
        ..nothing()
    };
    assert_eq!(short(&asked), "1x(cpus=2, mem=4, ...)");
    assert_eq!(full(&asked), "1x(cpus=2, mem=4, disk=256, ports=8081)");
    assert_eq!(short(&nothing()), "1x(...)");
    let gpu = ResourceCandidate {
        accelerators: Some(("A100".into(), 2.0)),
        ..asked
    };
    assert_eq!(short(&gpu), "1x(gpus=A100:2, ...)");
    assert_eq!(
        full(&gpu),
        "1x(gpus=A100:2, cpus=2, mem=4, disk=256, ports=8081)"
    );
}

#[test]
fn what_the_machine_has_is_granted() {
    assert_eq!(verdict(nothing()), Ok(()));
    let all = ResourceCandidate {
        cpus: Some("2".into()),
        memory: Some("16+".into()),
        infra: Some("local".into()),
        ..nothing()
    };
    assert_eq!(verdict(all), Ok(()));
}

#[test]
fn what_it_lacks_is_refused_with_both_figures() {
    let (class, message) = verdict(ResourceCandidate {
        cpus: Some("64+".into()),
        ..nothing()
    })
    .unwrap_err();
    assert_eq!(class, ErrorClass::NoCapacity);
    assert_eq!(message, "`cpus: 64+` is asked for; this machine has 2");
    let (class, message) = verdict(ResourceCandidate {
        memory: Some("17".into()),
        ..nothing()
    })
    .unwrap_err();
    assert_eq!(class, ErrorClass::NoCapacity);
    assert_eq!(
        message,
        "`memory: 17` is asked for; this machine has 16 GiB"
    );
}

#[test]
fn what_no_machine_of_ours_is_can_only_be_mended_by_the_user() {
    let refused = [
        ResourceCandidate {
            cloud: Some("aws".into()),
            ..nothing()
        },
        ResourceCandidate {
            instance_type: Some("m5.large".into()),
            ..nothing()
        },
        ResourceCandidate {
            image_id: Some(serde_json::json!("docker:x")),
            ..nothing()
        },
        ResourceCandidate {
            cpus: Some("many".into()),
            ..nothing()
        },
    ];
    for resources in refused {
        assert_eq!(verdict(resources).unwrap_err().0, ErrorClass::UserFault);
    }
    let two_nodes = LaunchRequest {
        num_nodes: 2,
        ..request(nothing())
    };
    let machine = Machine {
        cpus: 2,
        memory_gib: 4.0,
        gpus: Vec::new(),
    };
    assert_eq!(
        check(&two_nodes, &machine).unwrap_err().class,
        ErrorClass::UserFault
    );
}
