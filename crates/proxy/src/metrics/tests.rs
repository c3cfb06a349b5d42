use std::sync::Arc;
use std::time::{Duration, Instant};

use plan::routing::{ReplicaId, Version};

use super::snapshot::ServiceSnapshot;
use super::{Ended, EndpointMetrics, KEPT_MICROS, Reason, ServiceMetrics, render};

/// Requests per measurement.
const ROUNDS: u32 = 1_000_000;

fn ended(status: u16, duration: u64, now: u64) -> Ended {
    Ended {
        status,
        duration,
        first_byte: Some(duration / 2),
        bytes_in: 1,
        bytes_out: 10,
        now,
    }
}

fn read(metrics: &ServiceMetrics) -> ServiceSnapshot {
    let mut snapshot = ServiceSnapshot {
        name: "svc".to_owned(),
        ..ServiceSnapshot::default()
    };
    metrics.read(&mut snapshot);
    snapshot
}

fn text(snapshot: ServiceSnapshot) -> String {
    String::from_utf8(render(&[snapshot])).unwrap()
}

#[test]
fn threads_are_added_up() {
    let shared = Arc::<ServiceMetrics>::default();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let metrics = EndpointMetrics::new(&shared);
                for _ in 0..1000 {
                    metrics.given((7, 2), 0);
                    metrics.ended(Some((7, 2)), &ended(200, 1000, 0));
                    metrics.ended(None, &ended(0, 1000, 0));
                    metrics.refused(Reason::QueueFull);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let text = text(read(&shared));
    for line in [
        r#"skyserve_requests_total{service="svc",version="2",replica="7",status_class="2xx"} 3000"#,
        r#"skyserve_requests_total{service="svc",version="",replica="",status_class="none"} 3000"#,
        r#"skyserve_request_duration_seconds_sum{service="svc",version="2",replica="7",status_class="2xx"} 3.000000"#,
        r#"skyserve_response_body_bytes_total{service="svc",version="2",replica="7"} 30000"#,
        r#"skyserve_refused_total{service="svc",reason="queue_full"} 3000"#,
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} in {text}");
    }
}

#[test]
fn buckets_are_cumulative() {
    let shared = Arc::<ServiceMetrics>::default();
    let metrics = EndpointMetrics::new(&shared);
    for micros in [500, 3_000, 40_000_000, 400_000_000] {
        metrics.waited(micros);
    }
    let text = text(read(&shared));
    for (bound, count) in [
        ("0.001", 1),
        ("0.0025", 1),
        ("0.005", 2),
        ("30", 2),
        ("60", 3),
        ("300", 3),
        ("+Inf", 4),
    ] {
        let line = format!(
            "skyserve_queue_wait_seconds_bucket{{service=\"svc\",le=\"{bound}\"}} {count}\n"
        );
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert!(text.contains("skyserve_queue_wait_seconds_sum{service=\"svc\"} 440.003500\n"));
    assert!(text.contains("skyserve_queue_wait_seconds_count{service=\"svc\"} 4\n"));
}

#[test]
fn values_of_labels_are_escaped() {
    let snapshot = ServiceSnapshot {
        name: "a\"b\\c\nd".to_owned(),
        ..ServiceSnapshot::default()
    };
    let text = text(snapshot);
    assert!(text.contains("{service=\"a\\\"b\\\\c\\nd\"} 0\n"), "{text}");
}

#[test]
fn a_replica_is_forgotten_ten_minutes_after_its_last_request_on_any_thread() {
    let shared = Arc::<ServiceMetrics>::default();
    let (one, two) = (EndpointMetrics::new(&shared), EndpointMetrics::new(&shared));
    let replica = (1, 1);
    one.ended(Some(replica), &ended(200, 10, 0));
    two.ended(Some(replica), &ended(200, 10, 100));
    shared.ejected((2, 1), 50);
    let known =
        || -> Vec<(ReplicaId, Version)> { read(&shared).replicas.into_keys().flatten().collect() };
    shared.forget_idle(KEPT_MICROS + 99, |_| false);
    assert_eq!(known(), [(1, 1)], "the other one had its last at 50");
    shared.forget_idle(KEPT_MICROS + 100, |id| id == 1);
    assert_eq!(known(), [(1, 1)], "it has a request, or is in the table");
    shared.forget_idle(KEPT_MICROS + 100, |_| false);
    assert_eq!(known(), []);
    // It may come back: then it is counted from the beginning.
    one.ended(Some(replica), &ended(200, 10, 2 * KEPT_MICROS));
    one.sweep();
    one.ended(Some(replica), &ended(200, 10, 2 * KEPT_MICROS));
    let snapshot = read(&shared);
    assert_eq!(snapshot.replicas[&Some(replica)].bytes_out, 20);
}

#[test]
fn requests_without_a_replica_are_never_forgotten() {
    let shared = Arc::<ServiceMetrics>::default();
    let metrics = EndpointMetrics::new(&shared);
    metrics.ended(None, &ended(503, 10, 0));
    shared.forget_idle(100 * KEPT_MICROS, |_| false);
    assert_eq!(read(&shared).replicas[&None].bytes_out, 10);
}

/// Best of several, so that a busy machine does not count.
fn best(mut measure: impl FnMut() -> Duration) -> Duration {
    (0..7).map(|_| measure()).min().unwrap_or_default()
}

#[test]
#[ignore = "a measurement: cargo test --release -p proxy -- --ignored --nocapture metrics::tests::cost"]
fn cost_of_a_request() {
    let shared = Arc::<ServiceMetrics>::default();
    let metrics = EndpointMetrics::new(&shared);
    let spent = best(|| {
        let begun = Instant::now();
        for round in 0..ROUNDS {
            let replica = (round % 1000 + 1, 1);
            let now = u64::from(round);
            metrics.given(replica, now);
            metrics.ended(Some(replica), &ended(200, u64::from(round % 4096), now));
        }
        begun.elapsed()
    });
    println!(
        "counting one request: {:?} (1,000 replicas in turn)",
        spent / ROUNDS
    );
    let clock = best(|| {
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            std::hint::black_box(crate::clock::monotonic_micros());
        }
        begun.elapsed()
    });
    println!("reading the clock once: {:?}", clock / ROUNDS);
}

#[test]
#[ignore = "a measurement: cargo test --release -p proxy -- --ignored --nocapture metrics::tests::cost"]
fn cost_of_a_scrape() {
    let shared = Arc::<ServiceMetrics>::default();
    for _ in 0..2 {
        let metrics = EndpointMetrics::new(&shared);
        for id in 1..=1000 {
            for status in [200, 404, 503] {
                metrics.ended(Some((id, 1)), &ended(status, u64::from(id) * 997, 0));
            }
        }
    }
    let mut bytes = 0;
    let spent = best(|| {
        let begun = Instant::now();
        bytes = std::hint::black_box(render(&[read(&shared)])).len();
        begun.elapsed()
    });
    println!("1,000 replicas, 3 status classes, 2 threads: {spent:?}, {bytes} bytes");
}
