//! The seed's two walkthroughs, command by command, with the tables checked at every step.

use std::fs;
use std::path::Path;

use api::ServiceRecord;
use testkit::{Installation, Load, Output, StatusTables};

/// As the seed's reader names it, from the project's folder.
const TASK: &str = "examples/serve/http_server/task.yaml";

struct Seed {
    sky: Installation,
}

impl Seed {
    fn new() -> Self {
        let sky = Installation::new(env!("CARGO_BIN_EXE_sky"), &[]);
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/serve/http_server");
        let to = sky.work().join("examples/serve/http_server");
        fs::create_dir_all(&to).unwrap();
        for file in ["task.yaml", "server.py"] {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
        Self { sky }
    }

    /// Edits the task, as the seed's reader does.
    fn edit(&self, from: &str, to: &str) {
        let path = self.sky.work().join(TASK);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// New code: answers say that they are of version 2.
    fn edit_code(&self) {
        let code = "envs:\n  VERSION: \"2\"\n\nrun: exec python3 server.py";
        self.edit("run: python3 server.py", code);
    }

    /// `sky serve …`, word by word as in the seed, but for the -y of those that ask.
    fn sky(&self, line: &str) -> Output {
        let words: Vec<&str> = ["serve"].into_iter().chain(line.split(' ')).collect();
        self.sky.ok(&words)
    }

    /// `sky serve status http-server`.
    fn status(&self) -> StatusTables {
        let tables = StatusTables::parse(&self.sky("status http-server").out);
        assert_eq!(tables.service()["NAME"], "http-server");
        for row in &tables.replicas {
            assert_eq!(row["SERVICE_NAME"], "http-server");
            let nowhere_yet = row["INFRA"] == "-" && row["ENDPOINT"] == "-";
            assert!(row["INFRA"] == "Local" || nowhere_yet, "{row:?}");
        }
        tables
    }

    async fn until(&self, what: &str, wanted: impl Fn(&ServiceRecord) -> bool) {
        self.sky.until("http-server", what, wanted).await;
    }

    async fn up(&self) -> String {
        let told = self.sky(&format!("up {TASK} -n http-server -y")).out;
        let words = "Service is spinning up and replicas will be ready shortly.";
        assert!(told.contains(words), "{told}");
        self.until("two ready", |web| web.ready_replicas == 2).await;
        let tables = self.status();
        tables.assert_service("1", "READY", "2/2");
        tables.assert_replicas(&[("1", "1", "READY"), ("2", "1", "READY")]);
        tables.service()["ENDPOINT"].clone()
    }
}

/// Replicas of `version` with `status` in the table.
fn count(tables: &StatusTables, version: &str, status: &str) -> usize {
    let replicas = tables.replicas().into_iter();
    replicas
        .filter(|(_, v, s)| (*v, *s) == (version, status))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_as_in_the_seed() {
    let seed = Seed::new();
    let endpoint = seed.up().await;
    let load = Load::start(&endpoint, 14);

    // 2 → 3 replicas, nothing else: the two that run go on, one is launched.
    seed.edit("replicas: 2", "replicas: 3");
    let told = seed.sky(&format!("update http-server {TASK} -y")).out;
    let words = "Successfully updated service 'http-server' to version 2.";
    assert!(told.contains(words), "{told}");
    seed.until("three ready", |web| web.ready_replicas == 3)
        .await;
    let tables = seed.status();
    tables.assert_service("2", "READY", "3/3");
    tables.assert_replicas(&[
        ("1", "2", "READY"),
        ("2", "2", "READY"),
        ("3", "2", "READY"),
    ]);

    // New code: three new replicas are launched beside the three.
    seed.edit_code();
    seed.sky(&format!("update http-server {TASK} -y"));
    let tables = seed.status();
    assert_eq!(tables.replicas.len(), 6, "{tables:?}");
    assert_eq!(
        count(&tables, "2", "READY"),
        3,
        "old replicas serve: {tables:?}"
    );
    let note = tables.notes.first().expect("a line about the update");
    assert!(
        note.starts_with("Updating to version 3 (rolling): "),
        "{note}"
    );
    // A new replica is ready: traffic goes to both.
    seed.until("both versions answer", |web| web.active_versions == [2, 3])
        .await;
    let tables = seed.status();
    let row = tables.service();
    assert_eq!(
        (&*row["VERSION"], &*row["STATUS"]),
        ("2,3", "READY"),
        "{tables:?}"
    );
    // Then only new ones are left, at the same endpoint.
    let only_new = |web: &ServiceRecord| web.replicas.len() == 3 && web.ready_replicas == 3;
    seed.until("only new", only_new).await;
    let tables = seed.status();
    tables.assert_service("3", "READY", "3/3");
    tables.assert_replicas(&[
        ("4", "3", "READY"),
        ("5", "3", "READY"),
        ("6", "3", "READY"),
    ]);
    assert_eq!(tables.service()["ENDPOINT"], endpoint);
    assert!(tables.notes.is_empty(), "{tables:?}");
    let report = load.stop().await;
    println!("e2e seed rolling: {report}");
    report.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn blue_green_as_in_the_seed() {
    let seed = Seed::new();
    let endpoint = seed.up().await;
    let load = Load::start(&endpoint, 14);
    seed.edit("replicas: 2", "replicas: 3");
    seed.edit_code();
    seed.sky(&format!("update http-server --mode blue_green {TASK} -y"));
    let tables = seed.status();
    assert_eq!(tables.service()["VERSION"], "1", "{tables:?}");
    assert_eq!(
        (tables.replicas.len(), count(&tables, "1", "READY")),
        (5, 2),
        "{tables:?}"
    );
    let note = tables.notes.first().expect("a line about the update");
    assert!(
        note.starts_with("Updating to version 2 (blue_green): "),
        "{note}"
    );
    // New replicas are ready, traffic is still wholly on the old ones.
    seed.until("a new one ready", |web| web.ready_replicas > 2)
        .await;
    let tables = seed.status();
    let row = tables.service();
    assert_eq!(
        (&*row["VERSION"], &*row["STATUS"]),
        ("1", "READY"),
        "{tables:?}"
    );
    // Then wholly on the new ones; streams keep the old ones, which take nothing new.
    seed.until("flipped", |web| web.active_versions == [2])
        .await;
    let tables = seed.status();
    tables.assert_service("2", "READY", "3/5");
    assert_eq!(count(&tables, "2", "READY"), 3, "{tables:?}");
    assert_eq!(count(&tables, "1", "SHUTTING_DOWN"), 2, "{tables:?}");
    seed.until("old are gone", |web| web.replicas.len() == 3)
        .await;
    seed.status().assert_service("2", "READY", "3/3");
    let report = load.stop().await;
    println!("e2e seed blue-green: {report}");
    report.assert_clean();
    report.assert_clean_cut("1", "2");

    // The other order of the seed's arguments.
    seed.edit("VERSION: \"2\"", "VERSION: \"3\"");
    seed.sky(&format!(
        "update --mode blue_green http-server {TASK} -y --wait=60"
    ));
    let tables = seed.status();
    let row = tables.service();
    assert_eq!(
        (&*row["VERSION"], &row["ENDPOINT"]),
        ("3", &endpoint),
        "{tables:?}"
    );
}
