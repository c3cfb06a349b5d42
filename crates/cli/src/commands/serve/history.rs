//! `sky serve history`.

use std::process::ExitCode;

use api::HistoryEntry;

use crate::args::HistoryArguments;
use crate::failure::Failure;
use crate::output::table::{self, Cell};
use crate::output::{self, instant, one_line};
use crate::server_process;

/// Characters of a content hash that are shown: enough to tell versions apart.
const HASH_CHARS: usize = 12;
const HEADER: [&str; 8] = [
    "VERSION", "WHAT", "WHEN", "BY", "HASH", "MODE", "OUTCOME", "REASON",
];

pub(crate) fn run(arguments: &HistoryArguments) -> Result<ExitCode, Failure> {
    let name = &arguments.service_name;
    server_process::block_on(async {
        let client = server_process::connect_to(name).await?;
        let history = client.history(name).await?;
        if arguments.json {
            output::json(&history)?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<Vec<Cell>> = history.entries.iter().map(row).collect();
        for line in table::render(&HEADER, &rows).lines() {
            // Reasons are of very different lengths.
            output::line(line.trim_end())?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn row(entry: &HistoryEntry) -> Vec<Cell> {
    let or_dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), one_line);
    // The first version replaces nothing.
    let mode = if entry.kind == "up" { "-" } else { &entry.mode };
    vec![
        entry.version.to_string().into(),
        Cell::new(&*entry.kind),
        instant::utc(entry.started_at).into(),
        or_dash(&entry.requested_by).into(),
        entry
            .task_hash
            .chars()
            .take(HASH_CHARS)
            .collect::<String>()
            .into(),
        mode.into(),
        Cell::new(entry.outcome.replace('_', " ")),
        or_dash(&entry.reason).into(),
    ]
}
