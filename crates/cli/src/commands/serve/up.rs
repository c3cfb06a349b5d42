//! `sky serve up`.

use std::process::ExitCode;

use api::{UpRequest, UpResponse};
use spec::{Auth, UpdateFlags};

use super::{estimate, wait};
use crate::args::UpArguments;
use crate::failure::Failure;
use crate::output::{self, prompt};
use crate::{requester, server_process, task_file};

pub(crate) fn run(arguments: &UpArguments) -> Result<ExitCode, Failure> {
    let name = match &arguments.service_name {
        Some(name) => name.clone(),
        None => default_name(),
    };
    let file = task_file::load(
        &arguments.yaml,
        &arguments.task,
        &name,
        UpdateFlags::default(),
    )?;
    output::line(&format!("YAML to run: {}", output::bold(&arguments.yaml)))?;
    if let Some(service) = &file.task.service {
        output::line(&output::cyan("Service spec:"))?;
        output::line(file.task.masked(&service.summary()).trim_end())?;
    }
    output::line("")?;
    output::line(&output::cyan(
        "Each replica will use the following resources (estimated):",
    ))?;
    output::line(&estimate::table(&file.task))?;
    output::line("")?;
    let question = format!("Launching a new service '{name}'. Proceed?");
    prompt::confirm(&question, arguments.confirm.yes)?;
    let request = UpRequest {
        name,
        task: file.task,
        yaml: file.yaml,
        base_dir: file.base_dir,
        yaml_path: file.yaml_path,
        requested_by: Some(requester::name()),
    };
    server_process::block_on(async {
        let client = server_process::connect().await?;
        let response = client.up(&request).await?;
        output::print(&summary(&response, request.task.service.as_ref()))?;
        if let Some(seconds) = arguments.confirm.wait {
            wait::for_up(&client, &response.name, seconds).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// `sky-service-<4 hex>`, as SkyServe names services that have no name.
fn default_name() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mixed = now.map_or(0, |since| since.subsec_nanos()) ^ std::process::id();
    format!("sky-service-{:04x}", mixed & 0xffff)
}

fn summary(response: &UpResponse, service: Option<&spec::ServiceSpec>) -> String {
    let (name, endpoint) = (&response.name, &response.endpoint);
    let scheme = if service.is_some_and(|service| service.tls.is_some()) {
        "https"
    } else {
        "http"
    };
    let (make_key, header) = match service.map(|service| service.auth) {
        Some(Auth::ApiKey) => (
            format!("├── To make an API key:\tsky serve auth create {name}\n"),
            "-H \"Authorization: Bearer KEY\" ",
        ),
        Some(Auth::None) | None => (String::new(), ""),
    };
    format!(
        "\nService name: {}\nEndpoint URL: {}\n📋 Useful Commands\n\
         ├── To check service status:\tsky serve status {name} [--endpoint]\n\
         ├── To teardown the service:\tsky serve down {name}\n\
         ├── To see replica logs:\tsky serve logs {name} [REPLICA_ID]\n\
         ├── To see load balancer logs:\tsky serve logs --load-balancer {name}\n\
         ├── To see controller logs:\tsky serve logs --controller {name}\n\
         ├── To monitor the status:\tsky serve status {name} --watch\n\
         {make_key}\
         └── To send a test request:\tcurl {header}{scheme}://{endpoint}\n\n\
         ✓ Service is spinning up and replicas will be ready shortly.\n",
        output::cyan(name),
        output::cyan(&format!("{scheme}://{endpoint}")),
    )
}
