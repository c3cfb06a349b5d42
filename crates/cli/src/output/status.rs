//! The tables of `sky serve status`, and the lines under them.

use api::{ReplicaRecord, RolloutRecord, RolloutState, ServiceRecord};
use plan::status::{ReplicaStatus, ServiceStatus};
use unicode_width::UnicodeWidthChar;

use crate::output::table::{Cell, render};
use crate::output::{duration, one_line};

/// Replica rows shown unless all are asked for, over all services together.
const REPLICAS_SHOWN: usize = 10;
/// Widest INFRA cell; longer ones lose their middle.
const INFRA_WIDTH: usize = 25;
const HEADING: &str = "\x1b[36m\x1b[1m";

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const BLUE: &str = "\x1b[34m";
const MAGENTA: &str = "\x1b[35m";
const CYAN: &str = "\x1b[36m";

/// How much is shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Detail {
    /// More columns and longer cells.
    pub(crate) verbose: bool,
    /// Every replica.
    pub(crate) all: bool,
}

/// A heading line.
pub(crate) fn heading(text: &str) -> String {
    format!("{HEADING}{text}\x1b[0m")
}

/// Both tables, at `now` (seconds since the epoch), without a newline at the end.
pub(crate) fn tables(services: &[ServiceRecord], detail: Detail, now: f64) -> String {
    if services.is_empty() {
        return "No existing services.".to_owned();
    }
    let services_table = service_table(services, detail, now);
    let replicas_table = replica_table(services, detail, now);
    format!(
        "{services_table}\n\n{}\n{replicas_table}",
        heading("Service Replicas")
    )
}

fn service_table(services: &[ServiceRecord], detail: Detail, now: f64) -> String {
    let mut header = vec![
        "NAME", "VERSION", "UPTIME", "STATUS", "REPLICAS", "ENDPOINT",
    ];
    if detail.verbose {
        header.extend([
            "AUTOSCALING_POLICY",
            "LOAD_BALANCING_POLICY",
            "REQUESTED_RESOURCES",
        ]);
    }
    let rows: Vec<Vec<Cell>> = services
        .iter()
        .map(|service| {
            let uptime = service
                .uptime_since
                .map(|since| duration::absolute(since, now));
            let mut row = vec![
                Cell::new(&*service.name),
                versions(&service.active_versions).into(),
                or_dash(uptime).into(),
                Cell::coloured(service.status.as_str(), service_colour(service.status)),
                format!("{}/{}", service.ready_replicas, service.total_replicas).into(),
                or_dash(service.endpoint.clone()).into(),
            ];
            if detail.verbose {
                row.push(Cell::new(&*service.policy));
                row.push(Cell::new(&*service.load_balancing_policy));
                row.push(Cell::new(&*service.requested_resources));
            }
            row
        })
        .collect();
    render(&header, &rows)
}

fn versions(active: &[u32]) -> String {
    let versions: Vec<String> = active.iter().map(ToString::to_string).collect();
    if versions.is_empty() {
        "-".to_owned()
    } else {
        versions.join(",")
    }
}

fn replica_table(services: &[ServiceRecord], detail: Detail, now: f64) -> String {
    let replicas: Vec<(&str, &ReplicaRecord)> = services
        .iter()
        .flat_map(|service| {
            service
                .replicas
                .iter()
                .map(|replica| (service.name.as_str(), replica))
        })
        .collect();
    if replicas.is_empty() {
        return "No existing replicas.".to_owned();
    }
    let header = [
        "SERVICE_NAME",
        "ID",
        "VERSION",
        "ENDPOINT",
        "LAUNCHED",
        "INFRA",
        "RESOURCES",
        "STATUS",
    ];
    let shown = if detail.verbose || detail.all {
        usize::MAX
    } else {
        REPLICAS_SHOWN
    };
    let rows: Vec<Vec<Cell>> = replicas
        .iter()
        .take(shown)
        .map(|(service, replica)| replica_row(service, replica, detail, now))
        .collect();
    let mut table = render(&header, &rows);
    if replicas.len() > shown {
        table.push_str("\n... (use --all to show all replicas)");
    }
    table
}

fn replica_row(service: &str, replica: &ReplicaRecord, detail: Detail, now: f64) -> Vec<Cell> {
    let launched = replica.launched_at.map(|at| duration::relative(at, now));
    let resources = if detail.verbose {
        &replica.resources_full
    } else {
        &replica.resources
    }
    .clone();
    let status = Cell::coloured(replica.status.as_str(), replica_colour(replica.status));
    let status = match (&replica.status_detail, replica.status) {
        (Some(detail), ReplicaStatus::Provisioning) => status.followed_by(format!(" ({detail})")),
        _ => status,
    };
    vec![
        service.into(),
        replica.replica_id.to_string().into(),
        replica.version.to_string().into(),
        or_dash(replica.endpoint.clone()).into(),
        or_dash(launched).into(),
        truncate_middle(&or_dash(replica.infra.clone()), INFRA_WIDTH).into(),
        or_dash(resources).into(),
        status,
    ]
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// `text`, with `...` in place of its middle where it is wider than `width`.
fn truncate_middle(text: &str, width: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.iter().filter_map(|c| c.width()).sum::<usize>() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(3);
    let (front, back) = (kept.div_ceil(2), kept / 2);
    let tail = characters.len().saturating_sub(back);
    let front: String = characters.iter().take(front).collect();
    let back: String = characters.iter().skip(tail).collect();
    format!("{front}...{back}")
}

/// The lines under the tables: what goes on and why it waits, and why things failed.
pub(crate) fn notes(services: &[ServiceRecord]) -> Vec<String> {
    let several = services.len() > 1;
    let mut notes = Vec::new();
    for service in services {
        let prefix = if several {
            format!("{}: ", service.name)
        } else {
            String::new()
        };
        if let Some(rollout) = service.rollout.as_ref().filter(|rollout| is_told(rollout)) {
            notes.push(format!("{prefix}{}", one_line(&rollout.summary)));
        }
        if let Some(message) = &service.message {
            notes.push(format!("{prefix}{}", one_line(message)));
        }
        for replica in &service.replicas {
            let Some(reason) = &replica.reason else {
                continue;
            };
            let told = replica.status.is_failed()
                || matches!(
                    replica.status,
                    ReplicaStatus::NotReady | ReplicaStatus::Preempted
                );
            if told {
                let (id, status) = (replica.replica_id, replica.status);
                notes.push(format!(
                    "{prefix}Replica {id} is {status}: {}",
                    one_line(reason)
                ));
            }
        }
    }
    notes
}

/// Whether an update is worth a line: one that goes on, that did not end well, or that can be undone at once.
fn is_told(rollout: &RolloutRecord) -> bool {
    match rollout.state {
        RolloutState::InProgress | RolloutState::Failed | RolloutState::Aborted => true,
        RolloutState::Succeeded => rollout.undo_until.is_some(),
        RolloutState::Superseded => false,
    }
}

fn service_colour(status: ServiceStatus) -> &'static str {
    match status {
        ServiceStatus::ControllerInit | ServiceStatus::ReplicaInit => BLUE,
        ServiceStatus::Ready => GREEN,
        ServiceStatus::NoReplica => MAGENTA,
        ServiceStatus::ShuttingDown => YELLOW,
        ServiceStatus::Failed | ServiceStatus::ControllerFailed | ServiceStatus::FailedCleanup => {
            RED
        }
    }
}

fn replica_colour(status: ReplicaStatus) -> &'static str {
    match status {
        ReplicaStatus::Pending | ReplicaStatus::NotReady => YELLOW,
        ReplicaStatus::Provisioning => BLUE,
        ReplicaStatus::Starting => CYAN,
        ReplicaStatus::Ready => GREEN,
        ReplicaStatus::ShuttingDown | ReplicaStatus::Preempted => MAGENTA,
        _ => RED,
    }
}

#[cfg(test)]
mod tests;
