//! What may be typed. Names, short forms and defaults are SkyServe's where it has them.

mod explain;
mod steer;
mod update;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use self::explain::{DiffArguments, EventsArguments, HistoryArguments, WhyArguments};
pub(crate) use self::steer::{RollbackArguments, SteerArguments};
pub(crate) use self::update::UpdateArguments;

/// Serve a task as replicas behind one endpoint, and update it without losing a request.
#[derive(Debug, Parser)]
#[command(name = "sky", version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it, for as long as the process lives"
)]
pub(crate) enum Command {
    /// Services: up, update, rollback, pause, resume, promote, abort, status, why, events, history, diff, down, logs, auth,
    /// validate.
    Serve {
        #[command(subcommand)]
        command: ServeCommand,
    },
    /// The server that manages the services; started on first use.
    Api {
        #[command(subcommand)]
        command: ApiCommand,
    },
    /// Print the completions of a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Supervise one replica (started by the server).
    #[command(hide = true)]
    Agent {
        /// The replica's folder.
        folder: PathBuf,
    },
    /// The data plane (started by the server).
    #[command(hide = true)]
    Proxy {
        #[command(subcommand)]
        command: ProxyCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServeCommand {
    /// Bring a service up.
    Up(UpArguments),
    /// Replace the replicas of a service; its endpoint stays.
    Update(UpdateArguments),
    /// Bring an earlier version back.
    Rollback(RollbackArguments),
    /// Stop an update where it is: nothing more is replaced; what is good is repaired and scaled meanwhile.
    Pause(SteerArguments),
    /// Let a paused update go on.
    Resume(SteerArguments),
    /// Let an update go on that waits for a person, or before its time: the next step of a canary, the move of traffic.
    Promote(SteerArguments),
    /// Give an update up: back to the version that was good before.
    Abort(SteerArguments),
    /// Show services and their replicas.
    Status(StatusArguments),
    /// Take services, or one replica, down.
    Down(DownArguments),
    /// Show the log of a replica, the controller or the load balancer.
    Logs(LogsArguments),
    /// Say what a service, or one of its replicas, waits for or why it failed.
    Why(WhyArguments),
    /// Show what happened to a service: the timeline of its versions, rollouts and replicas.
    Events(EventsArguments),
    /// Show what a service was brought to: versions, who and when, and how each update ended.
    History(HistoryArguments),
    /// Show what differs between two versions of a service.
    Diff(DiffArguments),
    /// API keys of an endpoint.
    Auth {
        #[command(subcommand)]
        command: AuthCommand,
    },
    /// Say whether YAML files would be accepted; needs no server.
    Validate(ValidateArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuthCommand {
    /// Make an API key and show it, once; from the first one on, requests without a key are refused.
    Create(AuthCreateArguments),
    /// Show the API keys of a service, but for the keys themselves.
    List(AuthListArguments),
    /// Take an API key out of use.
    Revoke(AuthRevokeArguments),
    /// Forget all API keys of a service and ask for none any more.
    Disable(AuthDisableArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApiCommand {
    /// Start the server if it does not run.
    Start,
    /// Stop the server; replicas and endpoints go on.
    Stop(ApiStopArguments),
    /// Say whether the server runs.
    Status(JsonArgument),
    /// Print the metrics of all endpoints, as Prometheus reads them.
    Metrics,
    /// Run the server in the foreground.
    #[command(hide = true)]
    Serve,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProxyCommand {
    /// Hold the listening sockets.
    Hold,
    /// Serve.
    Work,
}

#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    /// The task YAML.
    pub(crate) yaml: String,
    /// Name of the service.
    #[arg(short = 'n', long, visible_alias = "name")]
    pub(crate) service_name: Option<String>,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArguments,
    #[command(flatten)]
    pub(crate) task: TaskArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ConfirmArguments {
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Wait until it is done (at most SECONDS) and exit with 1 if it fails.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
          default_missing_value = "inf", value_parser = seconds)]
    pub(crate) wait: Option<f64>,
    /// Accepted for SkyServe's sake: commands return at once unless --wait is given.
    #[arg(long = "async", hide = true)]
    pub(crate) asynchronous: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds >= 0.0 => Ok(seconds),
        _ => Err("give a number of seconds".to_owned()),
    }
}

/// Options that replace fields of the YAML.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Options that replace fields of the YAML")]
pub(crate) struct TaskArguments {
    /// Environment variable; NAME alone takes its value from here.
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// File of environment variables (dotenv).
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<String>,
    /// Secret, never printed; NAME alone takes its value from the environment.
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) secret: Vec<String>,
    /// File of secrets (dotenv).
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Vec<String>,
    /// Folder that is copied to each replica.
    #[arg(long)]
    pub(crate) workdir: Option<String>,
    /// Where to run: local.
    #[arg(long)]
    pub(crate) infra: Option<String>,
    /// Cloud.
    #[arg(long)]
    pub(crate) cloud: Option<String>,
    /// Region.
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// Zone.
    #[arg(long)]
    pub(crate) zone: Option<String>,
    /// Machines per replica.
    #[arg(long)]
    pub(crate) num_nodes: Option<u32>,
    /// Processors: 4 or 4+.
    #[arg(long)]
    pub(crate) cpus: Option<String>,
    /// GiB of memory: 16 or 16+.
    #[arg(long)]
    pub(crate) memory: Option<String>,
    /// Accelerators: NAME or NAME:COUNT.
    #[arg(long)]
    pub(crate) gpus: Option<String>,
    /// Type of machine.
    #[arg(short = 't', long)]
    pub(crate) instance_type: Option<String>,
    /// Use spot machines.
    #[arg(long, overrides_with = "no_use_spot")]
    pub(crate) use_spot: bool,
    /// Do not use spot machines.
    #[arg(long)]
    pub(crate) no_use_spot: bool,
    /// Image.
    #[arg(long)]
    pub(crate) image_id: Option<String>,
    /// GB of disk.
    #[arg(long)]
    pub(crate) disk_size: Option<String>,
    /// Tier of disk.
    #[arg(long)]
    pub(crate) disk_tier: Option<String>,
    /// Tier of network.
    #[arg(long)]
    pub(crate) network_tier: Option<String>,
    /// Local disk.
    #[arg(long)]
    pub(crate) local_disk: Option<String>,
    /// Ports to open.
    #[arg(long)]
    pub(crate) ports: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    /// Which services; all when none is named.
    pub(crate) service_names: Vec<String>,
    /// More columns, longer cells, every replica.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Every replica, not just the first ten.
    #[arg(long)]
    pub(crate) all: bool,
    /// Only the endpoint of the one service named.
    #[arg(long)]
    pub(crate) endpoint: bool,
    /// As JSON.
    #[arg(long, conflicts_with = "endpoint")]
    pub(crate) json: bool,
    /// Again every SECONDS (2).
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
          default_missing_value = "2", value_parser = seconds)]
    pub(crate) watch: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct DownArguments {
    /// Which services; `*` and `?` match.
    pub(crate) service_names: Vec<String>,
    /// All services.
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Forget what cannot be cleaned up.
    #[arg(short, long)]
    pub(crate) purge: bool,
    /// Only this replica of the one service named.
    #[arg(long, value_name = "ID")]
    pub(crate) replica_id: Option<u32>,
    /// Do not wait for requests in flight.
    #[arg(long)]
    pub(crate) now: bool,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArguments,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// Name of the service.
    pub(crate) service_name: String,
    /// Which replica; several only with --sync-down.
    pub(crate) replica_ids: Vec<u32>,
    /// Go on with what is written next (the default for one log).
    #[arg(long, overrides_with = "no_follow")]
    pub(crate) follow: bool,
    /// Stop at the end of what is there.
    #[arg(long)]
    pub(crate) no_follow: bool,
    /// Only the last N lines; does not follow.
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<u64>,
    /// What was decided about the service, and why.
    #[arg(long)]
    pub(crate) controller: bool,
    /// The requests.
    #[arg(long)]
    pub(crate) load_balancer: bool,
    /// How requests are shown.
    #[arg(
        long,
        value_enum,
        default_value = "json",
        requires = "load_balancer",
        conflicts_with = "sync_down"
    )]
    pub(crate) format: AccessFormat,
    /// Copy logs into ~/sky_logs instead of showing one.
    #[arg(short, long)]
    pub(crate) sync_down: bool,
}

/// How one request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessFormat {
    /// One JSON object per line, with everything.
    Json,
    /// The common log format of web servers, and the duration in seconds.
    Common,
}

#[derive(Debug, Args)]
pub(crate) struct AuthCreateArguments {
    /// Name of the service.
    pub(crate) service_name: String,
    /// What to call the key: whose it is, or what for.
    #[arg(
        long = "name",
        value_name = "LABEL",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) label: String,
}

#[derive(Debug, Args)]
pub(crate) struct AuthListArguments {
    /// Name of the service.
    pub(crate) service_name: String,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AuthRevokeArguments {
    /// Name of the service.
    pub(crate) service_name: String,
    /// Which key: its ID in `sky serve auth list`.
    pub(crate) key_id: String,
}

#[derive(Debug, Args)]
pub(crate) struct AuthDisableArguments {
    /// Name of the service.
    pub(crate) service_name: String,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArguments {
    /// YAML files; - is standard input.
    #[arg(required = true)]
    pub(crate) files: Vec<String>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) task: TaskArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ApiStopArguments {
    /// Also end the data plane, if no service needs it.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct JsonArgument {
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    /// Lines of the seed, as typed there.
    #[test]
    fn the_seeds_commands_parse() {
        for line in [
            "sky serve update service-name new_service.yaml",
            "sky serve up examples/serve/http_server/task.yaml -n http-server",
            "sky serve status http-server",
            "sky serve update http-server examples/serve/http_server/task.yaml",
            "sky serve update --mode blue_green service-name new_service.yaml",
            "sky serve update http-server --mode blue_green examples/serve/http_server/task.yaml",
            "sky serve update http-server task.yaml --mode BLUE-GREEN -y --wait",
            "sky serve update web t.yaml --max-surge auto --max-unavailable 25% --min-healthy-seconds 5",
            "sky serve update web t.yaml --no-auto-rollback --auto-rollback --undo-window-seconds=600",
            "sky serve update web t.yaml --dry-run --json",
            "sky serve rollback web --to 1 --wait=5 --json",
            "sky serve pause web",
            "sky serve abort web --json",
            "sky serve up task.yaml --wait=30 --env A=1 --env B -y",
        ] {
            assert!(Arguments::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "sky serve update a b --mode green",
            "sky serve rollback web 1",
            "sky serve rollback web --to first",
            "sky serve pause",
            "sky serve update a b --json",
            "sky serve update a b --dry-run --wait",
            "sky serve up t.yaml --wait=-1",
        ] {
            assert!(
                Arguments::try_parse_from(line.split(' ')).is_err(),
                "{line}"
            );
        }
    }
}
