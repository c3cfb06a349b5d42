//! `sky serve validate`: says whether files would be accepted. Needs no server.

use std::process::ExitCode;

use serde_json::json;
use spec::{Purpose, Severity, check_task};

use crate::args::ValidateArguments;
use crate::failure::Failure;
use crate::{output, task_file};

pub(crate) fn run(arguments: &ValidateArguments) -> Result<ExitCode, Failure> {
    let overrides = task_file::overrides(&arguments.task)?;
    let mut reports = Vec::new();
    let mut rejected = 0_usize;
    for file in &arguments.files {
        let source = match task_file::read(file) {
            Ok(source) => source,
            Err(Failure::Refused(message)) => {
                rejected += 1;
                if !arguments.json {
                    output::line(&format!("{file}: rejected: {message}"))?;
                }
                reports.push(json!({
                    "file": file, "verdict": "rejected", "canonical": null, "service": null,
                    "task": null,
                    "diagnostics": [{
                        "severity": "error", "code": "unreadable", "message": message,
                        "file": file, "line": 1, "column": 1, "end_line": 1, "end_column": 1,
                        "help": null, "rule": null,
                    }],
                }));
                continue;
            }
            Err(other) => return Err(other),
        };
        let checked = check_task(&source, &overrides, Purpose::Service);
        let accepted = checked.task.is_some();
        rejected += usize::from(!accepted);
        if arguments.json {
            reports.push(checked.report(&source));
            continue;
        }
        task_file::print(&checked.diagnostics, &source);
        let errors = checked
            .diagnostics
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .count();
        let verdict = match (accepted, errors) {
            (true, _) => "accepted".to_owned(),
            (false, 1) => "rejected (1 error)".to_owned(),
            (false, errors) => format!("rejected ({errors} errors)"),
        };
        output::line(&format!("{file}: {verdict}"))?;
    }
    if arguments.json {
        let json = serde_json::to_string_pretty(&reports);
        output::line(&json.map_err(|error| Failure::Refused(error.to_string()))?)?;
    }
    Ok(if rejected == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
