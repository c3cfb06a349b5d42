//! `sky serve why`.

use std::process::ExitCode;

use api::Why;

use crate::args::WhyArguments;
use crate::failure::Failure;
use crate::output::{self, one_line};
use crate::server_process;

pub(crate) fn run(arguments: &WhyArguments) -> Result<ExitCode, Failure> {
    let name = &arguments.service_name;
    server_process::block_on(async {
        let client = server_process::connect_to(name).await?;
        let why = client.why(name, arguments.replica_id).await?;
        if arguments.json {
            output::json(&why)?;
        } else {
            output::print(&text(&why))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The sentence, and what is known beside it.
fn text(why: &Why) -> String {
    let mut text = String::new();
    let mut say = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    say(&one_line(&why.sentence));
    for also in &why.also {
        say(&one_line(also));
    }
    if let Some(seen) = &why.last_probe_failure
        && !said(why, seen)
    {
        say(&format!("The last probe saw: {}", one_line(seen)));
    }
    for deadline in &why.deadlines {
        let seconds = deadline.remaining_seconds.ceil();
        say(&format!("In {seconds}s {}.", one_line(&deadline.what)));
    }
    if let (Some(id), false) = (why.replica_id, why.log_lines.is_empty()) {
        say(&format!("Last lines of the log of replica {id}:"));
        for line in &why.log_lines {
            say(&format!("    {}", one_line(line)));
        }
    }
    text
}

/// Whether a sentence has it already.
fn said(why: &Why, text: &str) -> bool {
    std::iter::once(&why.sentence)
        .chain(&why.also)
        .any(|sentence| sentence.contains(text))
}
