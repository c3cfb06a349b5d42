//! What people and programs read.

pub(crate) mod duration;
pub(crate) mod instant;
pub(crate) mod line_diff;
pub(crate) mod progress;
pub(crate) mod prompt;
pub(crate) mod status;
pub(crate) mod table;

use std::io::{IsTerminal, Write};

use crate::failure::Failure;

/// Prints to standard output; colours vanish where they do not belong.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut output = anstream::stdout();
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(())
}

/// Prints a line to standard output.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Text from outside must not move the cursor or break the line.
pub(crate) fn one_line(text: &str) -> String {
    let text = text.replace(['\n', '\r', '\t'], " ");
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Prints a value as JSON, over several lines.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value);
    line(&json.map_err(|error| Failure::Refused(error.to_string()))?)
}

/// Prints a warning to standard error.
pub(crate) fn warn(text: &str) {
    let style = anstyle::AnsiColor::Yellow.on_default();
    // A warning that nobody can read is no reason to fail.
    let _ = writeln!(anstream::stderr(), "{style}Warning:{style:#} {text}");
}

/// Prints prepared text to standard error.
pub(crate) fn error_text(text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(anstream::stderr(), "{text}{end}");
}

/// Whether standard error shows colours.
pub(crate) fn stderr_has_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Cyan, as SkyServe prints its headings within `up` and `update`.
pub(crate) fn cyan(text: &str) -> String {
    let style = anstyle::AnsiColor::Cyan.on_default();
    format!("{style}{text}{style:#}")
}

/// Bold.
pub(crate) fn bold(text: &str) -> String {
    let style = anstyle::Style::new().bold();
    format!("{style}{text}{style:#}")
}
