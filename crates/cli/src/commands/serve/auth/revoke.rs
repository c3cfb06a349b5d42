//! `sky serve auth revoke`.

use std::process::ExitCode;

use super::tell_delay;
use crate::args::AuthRevokeArguments;
use crate::failure::Failure;
use crate::output;
use crate::server_process;

pub(crate) fn run(arguments: &AuthRevokeArguments) -> Result<ExitCode, Failure> {
    let (name, id) = (&arguments.service_name, &arguments.key_id);
    server_process::block_on(async {
        let changed = server_process::connect_to(name)
            .await?
            .revoke_key(name, id)
            .await?;
        output::line(&changed.message)?;
        tell_delay(changed.in_force);
        Ok(ExitCode::SUCCESS)
    })
}
