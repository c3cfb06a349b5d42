//! `sky serve pause`, `resume`, `promote`, `abort` and `rollback`.

use std::process::ExitCode;

use api::client::SteerAction;
use api::{RollbackRequest, SteerRequest, Steered};

use super::wait;
use crate::args::{RollbackArguments, SteerArguments};
use crate::failure::Failure;
use crate::output::{self, one_line};
use crate::{requester, server_process};

pub(crate) fn run(arguments: &SteerArguments, action: SteerAction) -> Result<ExitCode, Failure> {
    let name = &arguments.service_name;
    let request = SteerRequest {
        requested_by: Some(requester::name()),
    };
    server_process::block_on(async {
        let client = server_process::connect_to(name).await?;
        let steered = client.steer(name, action, &request).await?;
        show(&steered, arguments.json)?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(crate) fn rollback(arguments: &RollbackArguments) -> Result<ExitCode, Failure> {
    let name = &arguments.service_name;
    let request = RollbackRequest {
        to: arguments.to,
        requested_by: Some(requester::name()),
    };
    server_process::block_on(async {
        let client = server_process::connect_to(name).await?;
        let steered = client.rollback(name, &request).await?;
        show(&steered, arguments.json)?;
        if let Some(seconds) = arguments.wait.filter(|_| steered.changed) {
            let quiet = arguments.json;
            wait::for_rollback(&client, name, steered.desired_version, seconds, quiet).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn show(steered: &Steered, json: bool) -> Result<(), Failure> {
    if json {
        output::json(steered)
    } else {
        output::line(&one_line(&steered.message))
    }
}
