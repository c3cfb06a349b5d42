//! Agreement with recorded SkyServe, where the recordings are at hand: its truth tables of
//! statuses, and the decisions of its request-rate autoscaler.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::disallowed_types,
    reason = "a test reads files; the planner does not"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use plan::autoscale::Autoscaler;
use plan::routing::Arrivals;
use plan::status::{ReplicaStatus, ServiceStatus};
use plan::{Span, Timestamp};
use serde_json::Value;
use spec::{ReplicaPolicy, TargetQps};

/// The recordings, if they are there; else says so.
fn corpus(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let path = path.join(file);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

fn texts(value: &Value) -> Vec<&str> {
    let texts = value.as_array().into_iter().flatten();
    texts.filter_map(Value::as_str).collect()
}

/// The status of that name. SkyServe's UNKNOWN "should not happen"; here it cannot.
fn status(name: &str) -> Option<ReplicaStatus> {
    serde_json::from_value(name.into()).ok()
}

fn statuses(value: &Value) -> Vec<ReplicaStatus> {
    let known = texts(value).into_iter().filter(|name| *name != "UNKNOWN");
    known.map(|name| status(name).unwrap()).collect()
}

#[test]
fn statuses_are_those_of_the_truth_tables() {
    let Some(path) = corpus("truth_tables.json") else {
        return;
    };
    let tables: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut rows = 0;
    for row in tables["service_status_from_replicas"].as_array().unwrap() {
        if texts(&row["replicas"]).contains(&"UNKNOWN") {
            continue;
        }
        let replicas = statuses(&row["replicas"]);
        let service = ServiceStatus::from_replicas(replicas.iter().copied());
        assert_eq!(service.as_str(), row["service_status"], "{replicas:?}");
        let ready = replicas.iter().filter(|s| **s == ReplicaStatus::Ready);
        let total = replicas.iter().filter(|status| !status.is_failed());
        let column = format!("{}/{}", ready.count(), total.count());
        assert_eq!(column, row["replicas_column"], "{replicas:?}");
        rows += 1;
    }
    assert!(rows > 50, "{rows} rows");
    for status in ReplicaStatus::ALL {
        let listed = |key: &str| statuses(&tables[key]).contains(&status);
        assert_eq!(status.is_terminal(), listed("replica_terminal"), "{status}");
        assert_eq!(status.is_failed(), listed("replica_failed"), "{status}");
    }
    let order = statuses(&tables["scale_down_order"]);
    assert!(order.is_sorted_by_key(|status| status.scale_down_rank()));
    println!("{rows} rows of service statuses agree");
}

/// The trace's clock: 1/64 s after its epoch.
fn at(ticks: &Value) -> Timestamp {
    Timestamp(1_700_000_000_000_000 + ticks.as_i64().unwrap() * 15_625)
}

fn policy(service: &Value) -> ReplicaPolicy {
    let count = |value: &Value| value.as_u64().map(|n| u32::try_from(n).unwrap());
    let mut policy = ReplicaPolicy::fixed(count(&service["replicas"]).unwrap_or(1));
    let given = &service["replica_policy"];
    if given.is_object() {
        policy.min_replicas = count(&given["min_replicas"]).unwrap_or(0);
        policy.max_replicas = count(&given["max_replicas"]);
        policy.num_overprovision = count(&given["num_overprovision"]);
        let qps = given["target_qps_per_replica"].as_f64();
        policy.target_qps_per_replica = qps.map(TargetQps::Uniform);
        policy.upscale_delay_seconds = given["upscale_delay_seconds"].as_f64();
        policy.downscale_delay_seconds = given["downscale_delay_seconds"].as_f64();
    }
    policy
}

/// Ticks at which target and interval agree, ticks replayed, and what ended the replay.
#[derive(Default)]
struct Replay {
    agree: usize,
    ticks: usize,
    first_difference: Option<String>,
    stale_window: bool,
}

/// SkyServe takes no decision while the newest version has failed before it ever worked. (We do.)
fn is_frozen(tick: &Value, ever_ready: &mut i64) -> bool {
    let newest = tick["out"]["state"]["latest_version"].as_i64().unwrap();
    let replicas = tick["replicas"].as_array().unwrap();
    let newest_has = |wanted: &dyn Fn(&Value) -> bool| {
        replicas
            .iter()
            .any(|replica| replica["version"] == newest && wanted(replica))
    };
    if newest_has(&|replica| replica["status"] == "READY") {
        *ever_ready = newest;
    }
    *ever_ready < newest && newest_has(&|replica| replica["unrecoverable"] == true)
}

/// Replays a scenario up to its first error, update, or difference; one after a window that
/// SkyServe had not pruned is no difference.
fn replay(scenario: &Value) -> Replay {
    let ticks = scenario["ticks"].as_array().unwrap();
    let policy = policy(&scenario["service"]);
    let mut autoscaler = Autoscaler::new(&policy, at(&ticks[0]["now"]));
    let (mut replay, mut ever_ready, mut stale) = (Replay::default(), 0, false);
    for tick in ticks {
        if !tick["out"]["error"].is_null() || !tick["update"].is_null() {
            break;
        }
        for sync in tick["collect"].as_array().unwrap() {
            let times = sync["timestamps"].as_array().unwrap().iter();
            let arrivals: Vec<Arrivals> = times
                .map(|t| Arrivals {
                    at: at(t),
                    count: 1,
                })
                .collect();
            autoscaler.collect(&arrivals, at(&sync["now"]));
        }
        let now = at(&tick["now"]);
        autoscaler.next_decision_at = now;
        if !is_frozen(tick, &mut ever_ready) {
            autoscaler.decide(&policy, now);
        } else if autoscaler.target == 0 {
            autoscaler.next_decision_at = now + Span(5_000_000);
        } else {
            autoscaler.next_decision_at = now + Span(20_000_000);
        }
        let interval = (autoscaler.next_decision_at - now).as_seconds();
        let state = &tick["out"]["state"];
        let counted: u32 = autoscaler
            .window
            .iter()
            .map(|arrivals| arrivals.count)
            .sum();
        // SkyServe forgets old requests only when its balancer reports; here a decision does too.
        stale |= state["num_requests"] != counted;
        let expected = (
            state["target_num_replicas"].as_u64(),
            tick["out"]["interval"].as_f64(),
        );
        let found = (Some(u64::from(autoscaler.target)), Some(interval));
        if expected != found && stale {
            replay.stale_window = true;
            break;
        }
        replay.ticks += 1;
        if expected != found {
            let number = replay.ticks;
            let difference = format!("tick {number}: expected {expected:?}, found {found:?}");
            replay.first_difference = Some(difference);
            break;
        }
        replay.agree += 1;
    }
    replay
}

#[test]
fn the_request_rate_autoscaler_decides_as_recorded() {
    let Some(path) = corpus("autoscaler_traces.jsonl.gz") else {
        return;
    };
    let Ok(output) = Command::new("gzip").arg("-dc").arg(path).output() else {
        println!("skipped: there is no gzip");
        return;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let (mut scenarios, mut ticks, mut agree, mut stale, mut apart) = (0, 0, 0, 0, Vec::new());
    for line in text.lines() {
        let scenario: Value = serde_json::from_str(line).unwrap();
        if scenario["family"] != "rr" {
            continue;
        }
        let replay = replay(&scenario);
        scenarios += 1;
        ticks += replay.ticks;
        agree += replay.agree;
        stale += usize::from(replay.stale_window);
        apart.extend(
            replay
                .first_difference
                .map(|d| format!("{}: {d}", scenario["id"])),
        );
    }
    println!("{scenarios} scenarios, {stale} up to a stale window: {agree} of {ticks} ticks agree");
    assert!(ticks > 1500 && apart.is_empty(), "{}", apart.join("\n"));
}
