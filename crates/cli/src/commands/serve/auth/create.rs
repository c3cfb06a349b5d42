//! `sky serve auth create`.

use std::process::ExitCode;

use api::CreateKeyRequest;

use super::{tell_delay, url};
use crate::args::AuthCreateArguments;
use crate::failure::Failure;
use crate::output;
use crate::server_process;

pub(crate) fn run(arguments: &AuthCreateArguments) -> Result<ExitCode, Failure> {
    let name = &arguments.service_name;
    server_process::block_on(async {
        let client = server_process::connect_to(name).await?;
        // Asked before: once the key is made nothing may come between it and the person.
        let service = client.service(name).await?;
        let request = CreateKeyRequest {
            name: arguments.label.clone(),
        };
        let created = client.create_key(name, &request).await?;
        output::line(&format!(
            "API key {} of service '{name}', shown only this once:",
            created.id
        ))?;
        output::line("")?;
        output::line(created.key.reveal())?;
        output::line("")?;
        output::line("To use it, put it in place of KEY:")?;
        output::line(&format!(
            "curl -H \"Authorization: Bearer KEY\" {}",
            url(&service)
        ))?;
        if created.first {
            output::line("")?;
            output::line("From now on the endpoint refuses requests without a key (401).")?;
        }
        tell_delay(created.in_force);
        Ok(ExitCode::SUCCESS)
    })
}
