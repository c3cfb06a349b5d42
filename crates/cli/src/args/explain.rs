//! Commands that tell what was and is going on, and change nothing.

use clap::Args;

#[derive(Debug, Args)]
#[command(
    after_help = "What happened, oldest first: when, what kind, which version and replica, and one sentence. The \
                  newest 10,000 events of a service are kept, through restarts and after its end."
)]
pub(crate) struct EventsArguments {
    /// Name of the service.
    pub(crate) service_name: String,
    /// Go on with what happens next, until the service is gone.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// One JSON object per line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Every up, update and rollback, oldest first: the version, when and who, the content hash (equal \
                  hashes need no new replicas), how replicas were replaced, and how it ended."
)]
pub(crate) struct HistoryArguments {
    /// Name of the service.
    pub(crate) service_name: String,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "One sentence, as the status has it: what is being waited for, or why it failed; then what the last \
                  probe saw, how long is left, and the last lines of the log of the replica concerned. Values of the \
                  task's secrets show as ***."
)]
pub(crate) struct WhyArguments {
    /// Name of the service.
    pub(crate) service_name: String,
    /// About this replica, rather than the service as a whole.
    pub(crate) replica_id: Option<u32>,
    /// As JSON, with everything as data.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Field by field of the task and its service section, whatever their spelling: path, old and new \
                  value. Values of secrets, headers, and variables that look like secrets are compared and not shown; \
                  files differ by their content."
)]
pub(crate) struct DiffArguments {
    /// Name of the service.
    pub(crate) service_name: String,
    /// The one version [default: the one before the other].
    #[arg(value_name = "V1")]
    pub(crate) from: Option<u32>,
    /// The other version [default: the desired one].
    #[arg(value_name = "V2")]
    pub(crate) to: Option<u32>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
