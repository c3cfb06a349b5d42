//! Asking before doing.

use std::io::{self, IsTerminal};

use crate::failure::Failure;
use crate::output;

/// Asks `question`, unless `yes`. An empty answer is yes, as in SkyServe.
///
/// # Errors
/// The answer is no, or there is nobody to answer.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    loop {
        output::print(&format!("{question} [Y/n]: "))?;
        let mut answer = String::new();
        if io::stdin().read_line(&mut answer)? == 0 {
            output::line("")?;
            return Err(Failure::Refused(
                "nobody is there to answer; pass --yes (-y) to go on without asking".to_owned(),
            ));
        }
        if !io::stdin().is_terminal() {
            output::line("")?;
        }
        match answer.trim().to_ascii_lowercase().as_str() {
            "" | "y" | "yes" => return Ok(()),
            "n" | "no" => return Err(Failure::Refused("aborted; nothing was changed".to_owned())),
            _ => output::line("Please answer 'y' or 'n'.")?,
        }
    }
}
