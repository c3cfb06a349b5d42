//! The seed's two walkthroughs, command by command, with the table checked at every step.

use std::fs;
use std::path::Path;

use api::ServiceRecord;
use testkit::{Installation, Load};

/// The columns of a row, cut where the header's columns begin.
fn rows(output: &str, first_column: &str) -> Vec<Vec<String>> {
    let mut lines = output
        .lines()
        .skip_while(|line| !line.starts_with(first_column));
    let header = lines
        .next()
        .unwrap_or_else(|| panic!("no table {first_column}:\n{output}"));
    let mut starts = Vec::new();
    let mut blank = true;
    for (index, character) in header.char_indices() {
        if character != ' ' && blank {
            starts.push(index);
        }
        blank = character == ' ';
    }
    lines
        .take_while(|line| !line.is_empty())
        .map(|line| {
            let ends = starts.iter().skip(1).copied().chain([line.len()]);
            starts
                .iter()
                .zip(ends)
                .map(|(start, end)| line[*start..end].trim().to_owned())
                .collect()
        })
        .collect()
}

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
        let path = self.sky.work().join("examples/serve/http_server/task.yaml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// `sky serve status http-server`: the service's row, and each replica's version and status.
    fn status(&self) -> (Vec<String>, Vec<(String, String)>, String) {
        let out = self.sky.ok(&["serve", "status", "http-server"]).out;
        let header = "NAME         VERSION  UPTIME  STATUS  REPLICAS  ENDPOINT";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(out.starts_with("Services\nNAME "), "{out}");
        assert_eq!(
            squeezed(out.lines().nth(1).unwrap()),
            squeezed(header),
            "{out}"
        );
        assert!(
            out.contains("\n\nService Replicas\nSERVICE_NAME  ID  VERSION  ENDPOINT"),
            "{out}"
        );
        let service = rows(&out, "NAME").remove(0);
        let replicas = rows(&out, "SERVICE_NAME")
            .into_iter()
            .map(|row| {
                assert_eq!(row[0], "http-server", "{out}");
                // A replica that was wanted this very moment is nowhere yet.
                assert!(
                    row[5] == "Local" || (row[5] == "-" && row[3] == "-"),
                    "{out}"
                );
                (row[2].clone(), row[7].clone())
            })
            .collect();
        (service, replicas, out)
    }

    async fn until(&self, what: &str, wanted: impl Fn(&ServiceRecord) -> bool) {
        self.sky.until("http-server", what, wanted).await;
    }

    async fn up(&self) -> String {
        let task = "examples/serve/http_server/task.yaml";
        let told = self
            .sky
            .ok(&["serve", "up", task, "-n", "http-server", "-y"])
            .out;
        assert!(
            told.contains("Service is spinning up and replicas will be ready shortly."),
            "{told}"
        );
        self.until("two ready", |web| web.ready_replicas == 2).await;
        let (service, replicas, out) = self.status();
        assert_eq!(
            (
                service[1].as_str(),
                service[3].as_str(),
                service[4].as_str()
            ),
            ("1", "READY", "2/2"),
            "{out}"
        );
        assert_eq!(
            replicas,
            vec![("1".to_owned(), "READY".to_owned()); 2],
            "{out}"
        );
        service[5].clone()
    }
}

fn count(replicas: &[(String, String)], version: &str, status: &str) -> usize {
    replicas
        .iter()
        .filter(|(v, s)| v == version && s == status)
        .count()
}

const TASK: &str = "examples/serve/http_server/task.yaml";

#[tokio::test(flavor = "multi_thread")]
async fn rolling_as_in_the_seed() {
    let seed = Seed::new();
    let endpoint = seed.up().await;
    let load = Load::start(&endpoint, 14);

    // 2 → 3 replicas, nothing else: the two that run go on, one is launched.
    seed.edit("replicas: 2", "replicas: 3");
    let told = seed
        .sky
        .ok(&["serve", "update", "http-server", TASK, "-y"])
        .out;
    assert!(
        told.contains("Successfully updated service 'http-server' to version 2."),
        "{told}"
    );
    seed.until("three ready", |web| web.ready_replicas == 3)
        .await;
    let (service, replicas, out) = seed.status();
    assert_eq!(
        (service[1].as_str(), service[4].as_str()),
        ("2", "3/3"),
        "{out}"
    );
    assert_eq!(count(&replicas, "2", "READY"), 3, "{out}");

    // New code: three new replicas are launched beside the three.
    seed.edit(
        "run: python3 server.py",
        "envs:\n  VERSION: \"2\"\n\nrun: exec python3 server.py",
    );
    seed.sky.ok(&["serve", "update", "http-server", TASK, "-y"]);
    let (_, replicas, out) = seed.status();
    assert_eq!(replicas.len(), 6, "{out}");
    assert_eq!(
        count(&replicas, "2", "READY"),
        3,
        "old replicas serve: {out}"
    );
    assert!(out.contains("\nUpdating to version 3 (rolling): "), "{out}");
    // A new replica is ready: traffic goes to both.
    seed.until("both versions answer", |web| web.active_versions == [2, 3])
        .await;
    let (service, _, out) = seed.status();
    assert_eq!(
        (service[1].as_str(), service[3].as_str()),
        ("2,3", "READY"),
        "{out}"
    );
    // Then only new ones are left, at the same endpoint.
    seed.until("only new", |web| {
        web.replicas.len() == 3 && web.ready_replicas == 3
    })
    .await;
    let (service, replicas, out) = seed.status();
    assert_eq!(
        (service[1].as_str(), service[4].as_str()),
        ("3", "3/3"),
        "{out}"
    );
    assert_eq!(service[5], endpoint, "{out}");
    assert_eq!(count(&replicas, "3", "READY"), 3, "{out}");
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
    seed.edit(
        "run: python3 server.py",
        "envs:\n  VERSION: \"2\"\n\nrun: exec python3 server.py",
    );
    seed.sky.ok(&[
        "serve",
        "update",
        "http-server",
        "--mode",
        "blue_green",
        TASK,
        "-y",
    ]);
    let (service, replicas, out) = seed.status();
    assert_eq!(
        (service[1].as_str(), service[3].as_str()),
        ("1", "READY"),
        "{out}"
    );
    assert_eq!(
        (replicas.len(), count(&replicas, "1", "READY")),
        (5, 2),
        "{out}"
    );
    assert!(
        out.contains("\nUpdating to version 2 (blue_green): "),
        "{out}"
    );
    // New replicas are ready, traffic is still wholly on the old ones.
    seed.until("a new one ready", |web| web.ready_replicas > 2)
        .await;
    let (service, _, out) = seed.status();
    assert_eq!(service[1], "1", "{out}");
    // Then wholly on the new ones.
    seed.until("flipped", |web| web.active_versions == [2])
        .await;
    let (service, replicas, out) = seed.status();
    assert_eq!(
        (service[1].as_str(), service[3].as_str()),
        ("2", "READY"),
        "{out}"
    );
    assert_eq!(count(&replicas, "2", "READY"), 3, "{out}");
    assert_eq!(count(&replicas, "1", "READY"), 0, "{out}");
    seed.until("old are gone", |web| web.replicas.len() == 3)
        .await;
    let report = load.stop().await;
    println!("e2e seed blue-green: {report}");
    report.assert_clean();
    report.assert_clean_cut("1", "2");

    // The other order of the seed's arguments, and back again.
    seed.edit("VERSION: \"2\"", "VERSION: \"3\"");
    seed.sky.ok(&[
        "serve",
        "update",
        "--mode",
        "blue_green",
        "http-server",
        TASK,
        "-y",
        "--wait=60",
    ]);
    let (service, _, out) = seed.status();
    assert_eq!(
        (service[1].as_str(), service[5].as_str()),
        ("3", endpoint.as_str()),
        "{out}"
    );
}
