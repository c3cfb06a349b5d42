//! What each replica will use, in a table shaped like the one of SkyServe's optimizer.

use spec::{ResourceCandidate, Task};

use crate::output::table::{Cell, render};

/// The table of candidates; this machine costs nothing.
pub(crate) fn table(task: &Task) -> String {
    let header = [
        "INFRA", "INSTANCE", "vCPUs", "Mem(GB)", "GPUS", "COST ($)", "CHOSEN",
    ];
    let candidate = task
        .resources
        .candidates
        .first()
        .cloned()
        .unwrap_or_default();
    render(&header, &[row(&candidate)])
}

fn row(candidate: &ResourceCandidate) -> Vec<Cell> {
    let amount = |text: &Option<String>| {
        let text = text.as_deref().map(|text| text.trim_end_matches('+'));
        text.unwrap_or("-").to_owned()
    };
    let gpus = candidate
        .accelerators
        .as_ref()
        .map(|(name, count)| format!("{name}:{count}"));
    vec![
        "Local".into(),
        "-".into(),
        amount(&candidate.cpus).into(),
        amount(&candidate.memory).into(),
        gpus.unwrap_or_else(|| "-".to_owned()).into(),
        "0.00".into(),
        "✔".into(),
    ]
}
