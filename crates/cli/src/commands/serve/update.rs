//! `sky serve update`.

mod dry_run;

use std::process::ExitCode;

use api::{UpdateRequest, UpdateResponse};

use super::{estimate, wait};
use crate::args::UpdateArguments;
use crate::failure::Failure;
use crate::output::{self, prompt};
use crate::{requester, server_process, task_file};

pub(crate) fn run(arguments: &UpdateArguments) -> Result<ExitCode, Failure> {
    let name = &arguments.service_name;
    let file = task_file::load(
        &arguments.yaml,
        &arguments.task,
        name,
        arguments.rollout.flags(),
    )?;
    let request = UpdateRequest {
        task: file.task,
        yaml: file.yaml,
        base_dir: file.base_dir,
        yaml_path: file.yaml_path,
        requested_by: Some(requester::name()),
        mode: arguments.rollout.mode,
    };
    server_process::block_on(async {
        let client = server_process::connect().await?;
        // Before anything is shown or asked: there must be something to update.
        client.service(name).await?;
        if arguments.dry_run {
            return dry_run::run(&client, name, &request, arguments.json).await;
        }
        if let Some(service) = &request.task.service {
            output::line(&output::cyan("Service spec:"))?;
            output::line(request.task.masked(&service.summary()).trim_end())?;
        }
        output::line("")?;
        output::line(&output::cyan(
            "New replica will use the following resources (estimated):",
        ))?;
        output::line(&estimate::table(&request.task))?;
        output::line("")?;
        let question = format!("Updating service '{name}'. Proceed?");
        prompt::confirm(&question, arguments.confirm.yes)?;
        let response = client.update(name, &request).await?;
        output::print(&summary(name, &response))?;
        if let Some(seconds) = arguments.confirm.wait {
            wait::for_update(&client, name, response.version, seconds).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn summary(name: &str, response: &UpdateResponse) -> String {
    let reused: Vec<String> = response
        .reused_replicas
        .iter()
        .map(ToString::to_string)
        .collect();
    let reused = match reused.as_slice() {
        [] => String::new(),
        [one] => format!("Replica {one} already is what it asks for and goes on.\n"),
        several => {
            format!(
                "Replicas {} already are what it asks for and go on.\n",
                several.join(", ")
            )
        }
    };
    format!(
        "Service '{name}' update scheduled.\n\
         Please use {} to check the latest status.\n{reused}\
         ✓ Successfully updated service '{name}' to version {}.\n",
        output::bold(&format!("sky serve status {name}")),
        response.version
    )
}
