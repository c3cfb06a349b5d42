//! The tables, byte for byte: SkyServe's own where the corpus is there, and a few of ours.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

fn corpus(name: &str) -> Option<Value> {
    let path = format!(
        "{}/../../../shared/corpus/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    match std::fs::read(&path) {
        Ok(text) => Some(serde_json::from_slice(&text).unwrap()),
        Err(_) => {
            println!("skipped: the corpus is not there ({name})");
            None
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn record(record: &Value) -> ServiceRecord {
    let replicas: Vec<ReplicaRecord> = record["replica_info"]
        .as_array()
        .unwrap()
        .iter()
        .map(replica)
        .collect();
    let count = |wanted: fn(ReplicaStatus) -> bool| {
        u32::try_from(replicas.iter().filter(|r| wanted(r.status)).count()).unwrap()
    };
    let versions: Vec<u32> = serde_json::from_value(record["active_versions"].clone()).unwrap();
    ServiceRecord {
        name: text(&record["name"]).unwrap(),
        revision: 1,
        version: versions.last().copied().unwrap_or(1),
        desired_version: 1,
        active_versions: versions,
        status: serde_json::from_value(record["status"].clone()).unwrap(),
        message: None,
        uptime_since: record["uptime"].as_f64(),
        created_at: 0.0,
        endpoint: text(&record["endpoint"]),
        endpoint_ready: true,
        endpoint_error: None,
        target_replicas: 0,
        ready_replicas: count(|status| status == ReplicaStatus::Ready),
        total_replicas: count(|status| !status.is_failed()),
        policy: text(&record["policy"]).unwrap_or_default(),
        load_balancing_policy: text(&record["load_balancing_policy"]).unwrap_or_default(),
        requested_resources: text(&record["requested_resources_str"]).unwrap_or_default(),
        tls_encrypted: false,
        rollout: None,
        replicas,
    }
}

fn replica(record: &Value) -> ReplicaRecord {
    ReplicaRecord {
        replica_id: u32::try_from(record["replica_id"].as_u64().unwrap()).unwrap(),
        version: u32::try_from(record["version"].as_u64().unwrap()).unwrap(),
        status: serde_json::from_value(record["status"].clone()).unwrap(),
        status_detail: text(&record["status_detail"]),
        reason: None,
        endpoint: text(&record["endpoint"]),
        launched_at: record["launched_at"].as_f64(),
        ready_since: None,
        infra: text(&record["infra"]),
        resources: text(&record["resources_str"]),
        resources_full: text(&record["resources_str_full"]),
        is_spot: false,
        in_flight: None,
    }
}

fn without_colours(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn tables_are_byte_equal_to_skyserves() {
    let Some(corpus) = corpus("status_tables.json") else {
        return;
    };
    let now = corpus["now"].as_f64().unwrap();
    let tables: BTreeMap<String, Value> = serde_json::from_value(corpus["tables"].clone()).unwrap();
    let mut compared = 0;
    for (name, table) in &tables {
        let records = table["records"].as_array().unwrap();
        if table["records"].to_string().contains("\"UNKNOWN\"") {
            println!("{name}: not compared, there is no replica of status UNKNOWN here");
            continue;
        }
        let services: Vec<ServiceRecord> = records.iter().map(record).collect();
        let detail = Detail {
            verbose: name.ends_with("+verbose"),
            all: false,
        };
        let rendered = super::tables(&services, detail, now);
        assert_eq!(
            rendered,
            table["ansi"].as_str().unwrap(),
            "{name}, with colours"
        );
        assert_eq!(
            without_colours(&rendered),
            table["plain"].as_str().unwrap(),
            "{name}"
        );
        compared += 2;
    }
    println!("{compared} tables compared");
    assert!(compared > 40);
}

#[test]
fn durations_are_skyserves() {
    let Some(corpus) = corpus("truth_tables.json") else {
        return;
    };
    let end = corpus["end"].as_f64().unwrap();
    let durations = corpus["durations_seconds"].as_object().unwrap();
    for (seconds, expected) in durations {
        let Ok(length) = seconds.parse::<f64>() else {
            continue;
        };
        let start = end - length;
        let absolute = crate::output::duration::absolute(start, end);
        assert_eq!(
            absolute,
            expected["absolute"].as_str().unwrap(),
            "{seconds} absolute"
        );
        let relative = crate::output::duration::relative(start, end);
        assert_eq!(
            relative,
            expected["relative"].as_str().unwrap(),
            "{seconds} relative"
        );
    }
}

#[test]
fn text_from_outside_cannot_break_a_table_or_a_terminal() {
    let service = serde_json::json!({
        "name": "web\u{1b}[31m\nx", "status": "READY", "replica_info": [], "active_versions": [],
    });
    let rendered = super::tables(&[record(&service)], Detail::default(), 0.0);
    assert!(rendered.contains("web[31mx"), "{rendered:?}");
    assert_eq!(one_line("a\u{1b}[2Jb\nc"), "a[2Jb c");
}

#[test]
fn long_places_lose_their_middle() {
    let long = "Kubernetes (a-very-long-context-name)";
    assert_eq!(truncate_middle(long, 25), "Kubernetes ...ntext-name)");
    assert_eq!(truncate_middle("AWS (us-east-1a)", 25), "AWS (us-east-1a)");
}
