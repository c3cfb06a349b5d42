//! The report for programs: every sample, nothing summarised.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Report, Section};
use crate::memory::Memories;
use crate::sample::Sample;

impl Report {
    /// The whole report. Times are in the unit that ends their names.
    pub(crate) fn json(&self) -> Value {
        let machine = &self.machine;
        let sections = self.sections.iter().map(|(row, section)| {
            let (kind, value) = match section {
                Section::Load(series) => ("samples", contestants(&series.contestants)),
                Section::Scale(scale) => ("samples", contestants(&scale.series.contestants)),
                Section::Memory(memories) => ("memory", memory(memories)),
            };
            json!({ "row": row.name(), kind: value })
        });
        json!({
            "machine": {
                "processor": machine.processor,
                "processors": machine.processors,
                "memory_gib": machine.memory_gib,
                "kernel": machine.kernel,
                "peers": machine.peers,
                "load": machine.generator,
            },
            "optimised": !self.unoptimised,
            "rounds": self.rounds,
            "measurement_seconds": self.duration.as_secs(),
            "sections": sections.collect::<Vec<_>>(),
            "left_out": self.left_out,
        })
    }
}

fn contestants<K: ToString>(contestants: &[(K, Vec<Sample>)]) -> Value {
    let rounds = contestants.iter().map(|(kind, samples)| {
        let samples: Vec<Value> = samples.iter().map(sample).collect();
        (kind.to_string(), Value::from(samples))
    });
    Value::Object(rounds.collect())
}

fn sample(sample: &Sample) -> Value {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let mut value = json!({
        "requests": sample.requests,
        "errors": sample.errors,
        "elapsed_seconds": sample.elapsed.as_secs_f64(),
        "p50_ns": sample.p50_ns,
        "p99_ns": sample.p99_ns,
        "proxy_user_us": us(sample.proxy.user),
        "proxy_system_us": us(sample.proxy.system),
        "machine_us": us(sample.machine),
        "foreign_share": sample.foreign,
        "counts": sample.is_clean(),
    });
    if let Some(streams) = sample.streams {
        value["first_event_p50_ns"] = json!(streams.first_p50_ns);
        value["first_event_p99_ns"] = json!(streams.first_p99_ns);
        value["reads_with_events"] = json!(streams.reads);
    }
    value
}

fn memory(memories: &Memories) -> Value {
    let peers = memories.peers.iter().map(|peer| {
        json!({
            "peer": peer.kind.to_string(),
            "idle_kib": peer.idle_kib,
            "idle_private_kib": peer.private_kib,
            "kib_per_connection": peer.connection_kib.as_ref().ok(),
            "kib_per_stream": peer.stream_kib.as_ref().ok(),
        })
    });
    json!({ "connections": memories.connections, "peers": peers.collect::<Vec<_>>() })
}
