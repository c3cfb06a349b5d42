//! The text format of Prometheus, version 0.0.4: what a scrape gets.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>. All lines of a metric stand
//! together, after its `# HELP` and `# TYPE`.

use super::Key;
use super::catalogue::{self, Metric};
use super::cell::CLASSES;
use super::count::{BOUNDS, HistogramSum};
use super::reason::Reason;
use super::snapshot::{ClassSnapshot, ReplicaSnapshot, ServiceSnapshot};
use crate::decimal::{push_number, push_seconds};

/// Media type of a page.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A service with its labels as text.
struct Labelled<'a> {
    service: &'a ServiceSnapshot,
    labels: Vec<u8>,
    replicas: Vec<LabelledReplica<'a>>,
}

struct LabelledReplica<'a> {
    key: Key,
    replica: &'a ReplicaSnapshot,
    labels: Vec<u8>,
}

/// Writes everything.
pub(crate) fn render(services: &[ServiceSnapshot]) -> Vec<u8> {
    let services: Vec<Labelled<'_>> = services.iter().map(label).collect();
    let mut page = Page::default();
    page.classes(
        &catalogue::REQUESTS,
        &services,
        |page, metric, labels, class| {
            page.sample(metric, labels, class.duration.count());
        },
    );
    page.classes(
        &catalogue::DURATION,
        &services,
        |page, metric, labels, class| {
            page.histogram(metric, labels, &class.duration);
        },
    );
    page.classes(
        &catalogue::FIRST_BYTE,
        &services,
        |page, metric, labels, class| {
            page.histogram(metric, labels, &class.first_byte);
        },
    );
    page.replicas(&catalogue::IN_FLIGHT, &services, false, |replica| {
        u64::from(replica.in_flight)
    });
    page.replicas(&catalogue::RETRIES, &services, false, |replica| {
        replica.retries
    });
    page.replicas(&catalogue::EJECTIONS, &services, false, |replica| {
        replica.ejections
    });
    page.replicas(&catalogue::BYTES_IN, &services, true, |replica| {
        replica.bytes_in
    });
    page.replicas(&catalogue::BYTES_OUT, &services, true, |replica| {
        replica.bytes_out
    });
    page.versions(&services);
    page.shares(&services);
    page.services(&catalogue::DIVERTED, &services, |service| service.diverted);
    page.services(&catalogue::QUEUE_DEPTH, &services, |service| {
        u64::from(service.queue_depth)
    });
    page.head(&catalogue::QUEUE_WAIT);
    for labelled in &services {
        page.histogram(
            &catalogue::QUEUE_WAIT,
            &labelled.labels,
            &labelled.service.queue_wait,
        );
    }
    page.refused(&services);
    page.services(&catalogue::CONNECTIONS, &services, |service| {
        u64::from(service.connections)
    });
    page.certificates(&services);
    page.text
}

fn label(service: &ServiceSnapshot) -> Labelled<'_> {
    let mut labels = Vec::new();
    push_label(&mut labels, "service", &service.name);
    let replicas = service.replicas.iter().map(|(key, replica)| {
        let mut labels = labels.clone();
        let (id, version) = key.unwrap_or_default();
        for (name, number) in [("version", version), ("replica", id)] {
            // Replicas and versions are numbered from 1.
            let value = if number == 0 {
                String::new()
            } else {
                number.to_string()
            };
            push_label(&mut labels, name, &value);
        }
        LabelledReplica {
            key: *key,
            replica,
            labels,
        }
    });
    Labelled {
        service,
        replicas: replicas.collect(),
        labels,
    }
}

/// Appends `name="value"`, with a comma where it is not the first.
fn push_label(labels: &mut Vec<u8>, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(b',');
    }
    labels.extend_from_slice(name.as_bytes());
    labels.extend_from_slice(b"=\"");
    for byte in value.bytes() {
        match byte {
            b'\\' => labels.extend_from_slice(b"\\\\"),
            b'"' => labels.extend_from_slice(b"\\\""),
            b'\n' => labels.extend_from_slice(b"\\n"),
            byte => labels.push(byte),
        }
    }
    labels.push(b'"');
}

#[derive(Default)]
struct Page {
    text: Vec<u8>,
    /// Of the line at hand, so that none is allocated anew.
    labels: Vec<u8>,
}

impl Page {
    fn head(&mut self, metric: &Metric) {
        let Metric { name, kind, help } = metric;
        let head = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self.text.extend_from_slice(head.as_bytes());
    }

    fn begin(&mut self, name: &str, suffix: &str, labels: &[u8]) {
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(suffix.as_bytes());
        self.text.push(b'{');
        self.text.extend_from_slice(labels);
    }

    fn sample(&mut self, metric: &Metric, labels: &[u8], value: u64) {
        self.begin(metric.name, "", labels);
        self.end(value);
    }

    fn end(&mut self, value: u64) {
        self.text.extend_from_slice(b"} ");
        push_number(&mut self.text, value);
        self.text.push(b'\n');
    }

    fn histogram(&mut self, metric: &Metric, labels: &[u8], histogram: &HistogramSum) {
        let mut count = 0;
        let bounds = BOUNDS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        for (bucket, bound) in histogram.buckets.iter().zip(bounds) {
            count += bucket;
            self.begin(metric.name, "_bucket", labels);
            self.text.extend_from_slice(b",le=\"");
            self.text.extend_from_slice(bound.as_bytes());
            self.text.push(b'"');
            self.end(count);
        }
        self.begin(metric.name, "_sum", labels);
        self.text.extend_from_slice(b"} ");
        push_seconds(&mut self.text, histogram.sum_micros);
        self.text.push(b'\n');
        self.begin(metric.name, "_count", labels);
        self.end(count);
    }

    /// A metric per replica and status class.
    fn classes(
        &mut self,
        metric: &Metric,
        services: &[Labelled<'_>],
        write: impl Fn(&mut Self, &Metric, &[u8], &ClassSnapshot),
    ) {
        self.head(metric);
        let mut labels = std::mem::take(&mut self.labels);
        for replica in services.iter().flat_map(|service| &service.replicas) {
            for (class, name) in replica.replica.classes.iter().zip(CLASSES) {
                if let Some(class) = class {
                    labels.clear();
                    labels.extend_from_slice(&replica.labels);
                    push_label(&mut labels, "status_class", name);
                    write(self, metric, &labels, class);
                }
            }
        }
        self.labels = labels;
    }

    /// A metric per replica; `nobody`: also for requests that no replica was given.
    fn replicas(
        &mut self,
        metric: &Metric,
        services: &[Labelled<'_>],
        nobody: bool,
        value: impl Fn(&ReplicaSnapshot) -> u64,
    ) {
        self.head(metric);
        for replica in services.iter().flat_map(|service| &service.replicas) {
            if nobody || replica.key.is_some() {
                self.sample(metric, &replica.labels, value(replica.replica));
            }
        }
    }

    fn versions(&mut self, services: &[Labelled<'_>]) {
        self.head(&catalogue::REPLICAS);
        for labelled in services {
            let mut counts = std::collections::BTreeMap::new();
            for (key, replica) in &labelled.service.replicas {
                if let Some((_, version)) = key {
                    *counts.entry(*version).or_insert(0) += u64::from(replica.is_upstream);
                }
            }
            for (version, count) in counts {
                let mut labels = labelled.labels.clone();
                push_label(&mut labels, "version", &version.to_string());
                self.sample(&catalogue::REPLICAS, &labels, count);
            }
        }
    }

    fn shares(&mut self, services: &[Labelled<'_>]) {
        self.head(&catalogue::SHARE);
        for labelled in services {
            if let Some((version, percent)) = labelled.service.share {
                let mut labels = labelled.labels.clone();
                push_label(&mut labels, "version", &version.to_string());
                self.begin(catalogue::SHARE.name, "", &labels);
                let value = format!("}} {percent}\n");
                self.text.extend_from_slice(value.as_bytes());
            }
        }
    }

    fn services(
        &mut self,
        metric: &Metric,
        services: &[Labelled<'_>],
        value: impl Fn(&ServiceSnapshot) -> u64,
    ) {
        self.head(metric);
        for labelled in services {
            self.sample(metric, &labelled.labels, value(labelled.service));
        }
    }

    fn certificates(&mut self, services: &[Labelled<'_>]) {
        let metric = &catalogue::CERTIFICATE_EXPIRY;
        self.head(metric);
        for labelled in services {
            if let Some(seconds) = labelled.service.certificate_expiry {
                self.begin(metric.name, "", &labelled.labels);
                self.text
                    .extend_from_slice(format!("}} {seconds}\n").as_bytes());
            }
        }
    }

    fn refused(&mut self, services: &[Labelled<'_>]) {
        self.head(&catalogue::REFUSED);
        for labelled in services {
            for (reason, count) in Reason::ALL.into_iter().zip(labelled.service.refused) {
                let mut labels = labelled.labels.clone();
                push_label(&mut labels, "reason", reason.name());
                self.sample(&catalogue::REFUSED, &labels, count);
            }
        }
    }
}
