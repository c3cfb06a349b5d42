use std::time::Duration;

use super::*;
use crate::machine::Machine;
use crate::usage::Usage;

fn sample(us: u64, foreign: f64) -> Sample {
    Sample {
        requests: 123_456,
        errors: 2,
        elapsed: Duration::from_secs(2),
        p50_ns: Some(500_000),
        p99_ns: Some(2_000_000),
        proxy: Usage {
            user: Duration::from_micros(us * 23_456),
            system: Duration::from_micros(us * 100_000),
        },
        machine: Duration::from_secs(3),
        foreign,
        streams: None,
    }
}

fn report(sections: Vec<(Row, Section)>) -> Report {
    Report {
        machine: Machine {
            processor: "Some Processor".to_owned(),
            processors: 2,
            memory_gib: 23.6,
            kernel: "Linux 6.1".to_owned(),
            peers: vec!["sky 0.1.0".to_owned(), "nginx/1.22.1".to_owned()],
            generator: "wrk 4.1.0".to_owned(),
        },
        rounds: 2,
        duration: Duration::from_secs(4),
        unoptimised: false,
        took: Duration::from_secs(61),
        sections,
        left_out: vec!["haproxy: it is not on PATH".to_owned()],
    }
}

#[test]
fn a_row_of_load_has_ratios_to_the_peers_that_are_there() {
    let mut series = Series::new([PeerKind::Sky, PeerKind::Nginx]);
    for (sky, nginx) in [(6, 12), (8, 10)] {
        series.add(PeerKind::Sky, sample(sky, 0.0));
        series.add(PeerKind::Nginx, sample(nginx, 0.5));
    }
    let text = report(vec![(Row::Get64, Section::Load(series))]).markdown();
    let first: Vec<&str> = text.lines().take(8).collect();
    assert_eq!(first[2], "- machine: Some Processor, 2 processors, 24 GiB");
    assert_eq!(first[3], "- kernel: Linux 6.1");
    assert!(first[4].contains("nginx/1.22.1"), "{text}");
    let row = |start: &str| {
        text.lines()
            .find(|line| line.starts_with(start))
            .unwrap()
            .to_owned()
    };
    let head = row("| peer");
    assert!(
        head.contains("proxy µs ÷ nginx") && !head.contains("haproxy"),
        "{head}"
    );
    let sky = row("| sky");
    assert_eq!(sky.matches('|').count(), head.matches('|').count());
    for part in [
        "| 61,728 | 500 | 2,000 |",
        "7.00 (1.3 + 5.7)",
        "0.65 [0.50–0.80]†",
        "| 4 | 2 of 2 |",
    ] {
        assert!(sky.contains(part), "{part} in {sky}");
    }
    let nginx = row("| nginx");
    assert!(
        nginx.contains("11.00†") && nginx.contains("0 of 2"),
        "{nginx}"
    );
    assert!(text.ends_with("## Left out\n\n- haproxy: it is not on PATH\n"));
}

#[test]
fn scale_is_against_the_smallest() {
    let mut series = Series::new([2, 1000]);
    series.add(2, sample(10, 0.0));
    series.add(1000, sample(11, 0.0));
    let scale = Scale {
        of: "replicas",
        series,
    };
    let text = report(vec![(Row::Replicas, Section::Scale(scale))]).markdown();
    let last = text
        .lines()
        .find(|line| line.starts_with("| 1,000"))
        .unwrap();
    assert!(last.contains("| 1.10 |"), "{text}");
}

#[test]
fn what_memory_could_not_be_measured_says_why() {
    let memory = Memory {
        kind: PeerKind::Sky,
        idle_kib: 2048,
        private_kib: 512,
        connection_kib: Ok(1.25),
        stream_kib: Err("answer 7 of 9 is not 200".to_owned()),
    };
    let memories = Memories {
        connections: 2000,
        peers: vec![memory],
    };
    let text = report(vec![(Row::Memory, Section::Memory(memories))]).markdown();
    assert!(text.contains("KiB per connection, 2,000 idle"), "{text}");
    assert!(
        text.contains("| sky | 2.0 | 0.5 | 1.25 | – (answer 7 of 9 is not 200) |"),
        "{text}"
    );
}

#[test]
fn thousands_are_grouped() {
    let texts = [0.0, 999.4, 1000.0, 123_456.0, 1_234_567.0].map(grouped);
    assert_eq!(texts, ["0", "999", "1,000", "123,456", "1,234,567"]);
}

#[test]
fn json_has_every_sample_and_whether_it_counts() {
    let mut series = Series::new([PeerKind::Sky]);
    series.add(PeerKind::Sky, sample(5, 0.0));
    series.add(PeerKind::Sky, sample(6, 0.5));
    let json = report(vec![(Row::Get8, Section::Load(series))]).json();
    let section = &json["sections"][0];
    assert_eq!(section["row"], "get-8");
    let samples = section["samples"]["sky"].as_array().unwrap();
    let counts: Vec<_> = samples
        .iter()
        .map(|sample| sample["counts"].as_bool())
        .collect();
    assert_eq!(counts, [Some(true), Some(false)]);
    assert_eq!(samples[0]["requests"], 123_456);
}
