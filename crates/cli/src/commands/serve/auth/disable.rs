//! `sky serve auth disable`.

use std::process::ExitCode;

use super::tell_delay;
use crate::args::AuthDisableArguments;
use crate::failure::Failure;
use crate::output::{self, prompt};
use crate::server_process;

pub(crate) fn run(arguments: &AuthDisableArguments) -> Result<ExitCode, Failure> {
    let name = &arguments.service_name;
    server_process::block_on(async {
        let client = server_process::connect_to(name).await?;
        client.service(name).await?;
        let question = format!(
            "Forgetting all API keys of '{name}' and opening its endpoint to everyone. Proceed?"
        );
        prompt::confirm(&question, arguments.yes)?;
        let changed = client.disable_keys(name).await?;
        output::line(&changed.message)?;
        tell_delay(changed.in_force);
        Ok(ExitCode::SUCCESS)
    })
}
