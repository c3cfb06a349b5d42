//! The `sky` binary: what was typed → one command → an exit code.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 typed wrongly.

mod args;
mod commands;
mod failure;
mod output;
mod requester;
mod server_process;
mod task_file;

use std::process::ExitCode;

use api::client::SteerAction;
use clap::Parser;

use crate::args::{ApiCommand, AuthCommand, Command, ProxyCommand, ServeCommand};
use crate::failure::Failure;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    match run(arguments.command) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve { command } => serve(command),
        Command::Api { command } => match command {
            ApiCommand::Start => commands::api::start::run(),
            ApiCommand::Stop(arguments) => commands::api::stop::run(&arguments),
            ApiCommand::Status(arguments) => commands::api::status::run(&arguments),
            ApiCommand::Metrics => commands::api::metrics::run(),
            ApiCommand::Serve => commands::api::serve::run(),
        },
        Command::Completions { shell } => commands::completions::run(shell),
        Command::Agent { folder } => Ok(commands::agent::run(&folder)),
        Command::Proxy { command } => match command {
            ProxyCommand::Hold => commands::proxy::hold(),
            ProxyCommand::Work => commands::proxy::work(),
        },
    }
}

fn serve(command: ServeCommand) -> Result<ExitCode, Failure> {
    match command {
        ServeCommand::Up(arguments) => commands::serve::up::run(&arguments),
        ServeCommand::Update(arguments) => commands::serve::update::run(&arguments),
        ServeCommand::Rollback(arguments) => commands::serve::steer::rollback(&arguments),
        ServeCommand::Pause(arguments) => {
            commands::serve::steer::run(&arguments, SteerAction::Pause)
        }
        ServeCommand::Resume(arguments) => {
            commands::serve::steer::run(&arguments, SteerAction::Resume)
        }
        ServeCommand::Promote(arguments) => {
            commands::serve::steer::run(&arguments, SteerAction::Promote)
        }
        ServeCommand::Abort(arguments) => {
            commands::serve::steer::run(&arguments, SteerAction::Abort)
        }
        ServeCommand::Status(arguments) => commands::serve::status::run(&arguments),
        ServeCommand::Down(arguments) => commands::serve::down::run(&arguments),
        ServeCommand::Logs(arguments) => commands::serve::logs::run(&arguments),
        ServeCommand::Events(arguments) => commands::serve::events::run(&arguments),
        ServeCommand::History(arguments) => commands::serve::history::run(&arguments),
        ServeCommand::Why(arguments) => commands::serve::why::run(&arguments),
        ServeCommand::Diff(arguments) => commands::serve::diff::run(&arguments),
        ServeCommand::Auth { command } => match command {
            AuthCommand::Create(arguments) => commands::serve::auth::create::run(&arguments),
            AuthCommand::List(arguments) => commands::serve::auth::list::run(&arguments),
            AuthCommand::Revoke(arguments) => commands::serve::auth::revoke::run(&arguments),
            AuthCommand::Disable(arguments) => commands::serve::auth::disable::run(&arguments),
        },
        ServeCommand::Validate(arguments) => commands::serve::validate::run(&arguments),
    }
}
