//! The report as it is printed.

use std::fmt::Write;

use super::{Report, Section};
use crate::memory::{Memories, Memory};
use crate::peer::PeerKind;
use crate::row::Row;
use crate::sample::Sample;
use crate::scale::Scale;
use crate::series::{Figure, Series, Summary};

/// Stands behind a figure of which no round was undisturbed.
const DISTURBED: &str = "†";
const NOTHING: &str = "–";
const LEGEND: &str = "\
Figures are medians of the rounds; ratios are medians of the quotients within a round, with smallest and largest in \
brackets. *proxy µs* is processor time of all processes of the peer per request (user + system), *machine µs* that of \
the whole machine. *rounds* are those that count and all: one in which programs that are no part of the benchmark \
took over 3 % of the processors is left out; † means that no round was without, so that all count.\n";

impl Report {
    /// The whole report.
    pub(crate) fn markdown(&self) -> String {
        let machine = &self.machine;
        let mut text = String::from("# The proxy beside its peers\n\n");
        let _ = write!(
            text,
            "- machine: {}, {} processors, {:.0} GiB\n- kernel: {}\n- peers: {}\n- load: {}\n\
             - rounds: {} of {} s for each peer; {} s in all\n",
            machine.processor,
            machine.processors,
            machine.memory_gib,
            machine.kernel,
            machine.peers.join("; "),
            machine.generator,
            self.rounds,
            self.duration.as_secs(),
            self.took.as_secs(),
        );
        if self.unoptimised {
            text.push_str("- **built without optimisation: these figures mean nothing**\n");
        }
        let _ = write!(text, "\n{LEGEND}");
        for (row, section) in &self.sections {
            let _ = write!(text, "\n## {} (`{}`)\n\n", row.title(), row.name());
            match section {
                Section::Load(series) => loads(&mut text, *row, series),
                Section::Memory(memories) => memory(&mut text, memories),
                Section::Scale(of) => scale(&mut text, of),
            }
        }
        if !self.left_out.is_empty() {
            text.push_str("\n## Left out\n\n");
            for reason in &self.left_out {
                let _ = writeln!(text, "- {reason}");
            }
        }
        text
    }
}

fn loads(text: &mut String, row: Row, series: &Series<PeerKind>) {
    let bases: Vec<PeerKind> = [PeerKind::Nginx, PeerKind::Haproxy]
        .into_iter()
        .filter(|base| series.has(*base))
        .collect();
    let unit = if row == Row::Streams {
        "events/s"
    } else {
        "requests/s"
    };
    let mut head = vec!["peer".to_owned(), unit.to_owned()];
    head.extend(["p50 µs", "p99 µs"].map(str::to_owned));
    if row == Row::Streams {
        let more = [
            "first event p50 ms",
            "first event p99 ms",
            "events per read",
        ];
        head.extend(more.map(str::to_owned));
    }
    head.extend(["proxy µs", "machine µs"].map(str::to_owned));
    let ratios: [(&str, Figure); 3] = [
        ("proxy µs", Sample::proxy_us),
        (unit, Sample::per_second),
        ("p99", p99_us),
    ];
    for (name, _) in ratios {
        head.extend(bases.iter().map(|base| format!("{name} ÷ {base}")));
    }
    head.extend(["errors", "rounds"].map(str::to_owned));
    line(text, &head);
    rule(text, head.len());
    for (kind, samples) in &series.contestants {
        if samples.is_empty() {
            continue;
        }
        let mut cells = vec![kind.to_string()];
        cells.extend(load_cells(row, series, *kind));
        for (_, figure) in ratios {
            let of = |base: &PeerKind| match kind == base {
                true => "1".to_owned(),
                false => ratio(series.ratio(*kind, *base, figure)),
            };
            cells.extend(bases.iter().map(of));
        }
        let (clean, all) = series.counts(*kind);
        cells.extend([
            grouped(series.errors(*kind) as f64),
            format!("{clean} of {all}"),
        ]);
        line(text, &cells);
    }
}

fn load_cells(row: Row, series: &Series<PeerKind>, kind: PeerKind) -> Vec<String> {
    let whole = |figure: Figure| summary(series.summary(kind, figure), grouped);
    let fine =
        |figure: Figure| summary(series.summary(kind, figure), |value| format!("{value:.2}"));
    let mut cells = vec![whole(Sample::per_second), whole(p50_us), whole(p99_us)];
    if row == Row::Streams {
        cells.extend([
            fine(first_p50_ms),
            fine(first_p99_ms),
            fine(events_per_read),
        ]);
    }
    let part = |figure: Figure| {
        let summary = series.summary(kind, figure);
        summary.map_or_else(
            || NOTHING.to_owned(),
            |summary| format!("{:.1}", summary.spread.median),
        )
    };
    let (user, system) = (part(Sample::user_us), part(Sample::system_us));
    cells.push(format!("{} ({user} + {system})", fine(Sample::proxy_us)));
    cells.push(summary(series.summary(kind, Sample::machine_us), |value| {
        format!("{value:.1}")
    }));
    cells
}

fn p50_us(sample: &Sample) -> f64 {
    sample.p50_ns.map_or(f64::NAN, |value| value as f64 / 1e3)
}

fn p99_us(sample: &Sample) -> f64 {
    sample.p99_ns.map_or(f64::NAN, |value| value as f64 / 1e3)
}

fn first_p50_ms(sample: &Sample) -> f64 {
    let value = sample.streams.and_then(|streams| streams.first_p50_ns);
    value.map_or(f64::NAN, |value| value as f64 / 1e6)
}

fn first_p99_ms(sample: &Sample) -> f64 {
    let value = sample.streams.and_then(|streams| streams.first_p99_ns);
    value.map_or(f64::NAN, |value| value as f64 / 1e6)
}

fn events_per_read(sample: &Sample) -> f64 {
    let streams = sample.streams;
    streams.map_or(f64::NAN, |streams| {
        sample.requests as f64 / streams.reads as f64
    })
}

fn memory(text: &mut String, memories: &Memories) {
    let count = grouped(memories.connections as f64);
    let head = [
        "peer".to_owned(),
        "resident idle, MiB".to_owned(),
        "of that private, MiB".to_owned(),
        format!("KiB per connection, {count} idle"),
        format!("KiB per stream, {count} slow"),
    ];
    line(text, &head);
    rule(text, head.len());
    for peer in &memories.peers {
        line(text, &memory_cells(peer));
    }
}

fn memory_cells(memory: &Memory) -> [String; 5] {
    let mib = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
    let each = |kib: &Result<f64, String>| match kib {
        Ok(kib) => format!("{kib:.2}"),
        Err(reason) => format!("{NOTHING} ({reason})"),
    };
    [
        memory.kind.to_string(),
        mib(memory.idle_kib),
        mib(memory.private_kib),
        each(&memory.connection_kib),
        each(&memory.stream_kib),
    ]
}

/// The small GET with 64 connections, as the first row of the report.
fn scale(text: &mut String, scale: &Scale) {
    let Some((base, _)) = scale.series.contestants.first() else {
        return;
    };
    let of = scale.of;
    let head = [
        of.to_owned(),
        "requests/s".to_owned(),
        "proxy µs".to_owned(),
        "user µs".to_owned(),
        format!("proxy µs ÷ {base} {of}"),
        format!("user µs ÷ {base} {of}"),
        "errors".to_owned(),
        "rounds".to_owned(),
    ];
    line(text, &head);
    rule(text, head.len());
    for (number, _) in &scale.series.contestants {
        let figure = |figure: Figure| scale.series.summary(*number, figure);
        let against = |figure: Figure| ratio(scale.series.ratio(*number, *base, figure));
        let fine = |value: f64| format!("{value:.2}");
        let (clean, all) = scale.series.counts(*number);
        let cells = [
            grouped(f64::from(*number)),
            summary(figure(Sample::per_second), grouped),
            summary(figure(Sample::proxy_us), fine),
            summary(figure(Sample::user_us), fine),
            against(Sample::proxy_us),
            against(Sample::user_us),
            grouped(scale.series.errors(*number) as f64),
            format!("{clean} of {all}"),
        ];
        line(text, &cells);
    }
}

fn line(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// Names stand left, figures right.
fn rule(text: &mut String, columns: usize) {
    let _ = writeln!(text, "|---|{}", "---:|".repeat(columns.saturating_sub(1)));
}

fn summary(summary: Option<Summary>, write: impl Fn(f64) -> String) -> String {
    let Some(summary) = summary else {
        return NOTHING.to_owned();
    };
    format!("{}{}", write(summary.spread.median), mark(summary))
}

fn ratio(summary: Option<Summary>) -> String {
    let Some(summary) = summary else {
        return NOTHING.to_owned();
    };
    let spread = summary.spread;
    let (median, min, max) = (spread.median, spread.min, spread.max);
    if min == max {
        // One round, or the base itself.
        return format!("{median:.2}{}", mark(summary));
    }
    format!("{median:.2} [{min:.2}–{max:.2}]{}", mark(summary))
}

fn mark(summary: Summary) -> &'static str {
    if summary.disturbed { DISTURBED } else { "" }
}

/// A whole number with commas between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests;
