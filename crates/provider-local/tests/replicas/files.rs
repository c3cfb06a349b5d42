//! What a replica finds: its environment, its home, its file mounts.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use plan::observation::ErrorClass;
use provider::{LaunchMount, Provider};
use spec::Secret;

use crate::bench::{Bench, Mode};

pub(crate) fn environment() {
    for mode in Mode::possible() {
        let bench = Bench::new(mode);
        let run = "pwd; echo home=$HOME id=$SKYPILOT_SERVE_REPLICA_ID rank=$SKYPILOT_NODE_RANK; \
                   echo nodes=$SKYPILOT_NUM_NODES ip=$SKYPILOT_NODE_IPS port=$PORT; \
                   echo hello=$HELLO; env | grep ^SKYSERVE_; echo done; sleep 1000";
        let mut request = bench.request(run);
        request.envs.insert("HELLO".into(), "two  words".into());
        bench.launch(&request);
        bench.logged(&request, "\ndone\n");
        let log = bench.log(&request);
        let home = bench.dir(&request).home();
        let endpoint = bench.observe(&request).endpoint.unwrap();
        for line in [
            format!("\n{}/sky_workdir\n", home.display()),
            format!("home={} id=1 rank=0\n", home.display()),
            format!("nodes=1 ip={} port={}\n", endpoint.ip(), endpoint.port()),
            "hello=two words\n".to_owned(),
            format!("SKYSERVE_REPLICA_KEY={}\n", request.key),
        ] {
            assert!(log.contains(&line), "{mode:?}: {line:?} in {log}");
        }
        assert!(
            log.contains("] network: ") && log.contains("] run started"),
            "{log}"
        );
        assert!(!log.contains("SKYSERVE_AGENT_STAGE"), "{log}");
        bench.terminate(&request);
    }
}

/// A snapshot of a workdir and another of a folder, as a version has them.
fn snapshots(bench: &Bench) -> (std::path::PathBuf, std::path::PathBuf) {
    let (workdir, data) = (
        bench.home.path().join("snapshot"),
        bench.home.path().join("data"),
    );
    std::fs::create_dir(&workdir).unwrap();
    std::fs::create_dir(&data).unwrap();
    std::fs::write(workdir.join("app.txt"), "app").unwrap();
    std::fs::write(data.join("model.txt"), "model").unwrap();
    (workdir, data)
}

pub(crate) fn home_mounts() {
    for mode in Mode::possible() {
        let bench = Bench::new(mode);
        let (workdir, data) = snapshots(&bench);
        let run = "cat app.txt ~/deep/data/model.txt below/one.txt; echo changed > app.txt; \
                   echo changed > ~/deep/data/model.txt; echo done; sleep 1000";
        let mut request = bench.request(run);
        request.workdir = Some(workdir.clone());
        request.file_mounts = vec![
            LaunchMount {
                destination: "~/deep/data".into(),
                source: data.clone(),
            },
            LaunchMount {
                destination: "below/one.txt".into(),
                source: data.join("model.txt"),
            },
        ];
        bench.launch(&request);
        bench.logged(&request, "appmodelmodeldone\n");
        assert_eq!(std::fs::read(workdir.join("app.txt")).unwrap(), b"app");
        assert_eq!(std::fs::read(data.join("model.txt")).unwrap(), b"model");
        bench.terminate(&request);
    }
}

pub(crate) fn absolute_mounts() {
    if !Mode::Shared.is_possible() {
        return;
    }
    for mode in [Mode::Isolated, Mode::Shared] {
        let bench = Bench::new(mode);
        let (_, data) = snapshots(&bench);
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("new/data");
        let file = outside.path().join("one.txt");
        let run = format!(
            "cat {}/model.txt {}; echo changed > {}/model.txt; echo done; sleep 1000",
            folder.display(),
            file.display(),
            folder.display()
        );
        let mount = |destination: &Path, source: &Path| LaunchMount {
            destination: destination.to_str().unwrap().to_owned(),
            source: source.to_owned(),
        };
        let mut requests = [bench.request(&run), bench.request(&run)];
        for request in &mut requests {
            request.file_mounts =
                vec![mount(&folder, &data), mount(&file, &data.join("model.txt"))];
            bench.launch(request);
        }
        let [first, second] = &requests;
        bench.logged(first, "modelmodeldone\n");
        bench.logged(second, "modelmodeldone\n");
        assert_eq!(std::fs::read(data.join("model.txt")).unwrap(), b"model");
        assert_eq!(
            std::fs::read_dir(&folder).unwrap().count(),
            0,
            "nothing is seen outside"
        );
        bench.terminate(first);
        assert!(
            folder.exists(),
            "the other replica still needs the mount point"
        );
        bench.terminate(second);
        let left = std::fs::read_dir(outside.path()).unwrap().count();
        assert_eq!(
            left, 0,
            "mount points made for replicas go with the last of them"
        );
    }
}

pub(crate) fn absolute_mounts_need_root() {
    let bench = Bench::new(Mode::WithoutNamespaces);
    let (_, data) = snapshots(&bench);
    let mut request = bench.request("sleep 1000");
    request.file_mounts = vec![LaunchMount {
        destination: "/opt/data".into(),
        source: data,
    }];
    let error = bench.block_on(bench.provider.launch(&request)).unwrap_err();
    assert_eq!(error.class, ErrorClass::UserFault);
    assert!(
        error.message.contains("/opt/data") && error.message.contains("below `~`"),
        "{error}"
    );
    assert!(!bench.dir(&request).root().exists());
}

pub(crate) fn secrets_stay_secret() {
    for mode in Mode::possible() {
        let bench = Bench::new(mode);
        let value = "correct-horse-battery";
        let mut request = bench.request("test -n \"$TOKEN\" && echo came; sleep 1000");
        request.setup = Some("true".into());
        request.secrets.insert("TOKEN".into(), Secret::new(value));
        bench.launch(&request);
        bench.logged(&request, "came\n");
        assert!(!bench.log(&request).contains(value));
        let processes = agent::processes::marked(&request.key.to_string());
        assert!(processes.len() >= 2, "{processes:?}");
        for process in processes {
            let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            assert!(
                !String::from_utf8_lossy(&line).contains(value),
                "{mode:?}: visible in ps"
            );
        }
        let mode_of = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let dir = bench.dir(&request);
        assert_eq!(
            (mode_of(dir.root()), mode_of(&dir.launch())),
            (0o700, 0o600)
        );
        bench.terminate(&request);
    }
}
