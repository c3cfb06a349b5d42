//! What may be typed behind `sky serve update`.

use api::UpdateMode;
use clap::Args;
use spec::UpdateFlags;

use super::{ConfirmArguments, TaskArguments};

#[derive(Debug, Args)]
#[command(
    after_help = "An accepted update is a new version. Running replicas that already are what it asks for go on under \
                  its number; the others are replaced, and whatever the new version does, capacity is kept. What the \
                  new version must show, and what happens if it does not, stands in `service.update` of the YAML; the \
                  options here replace its fields."
)]
pub(crate) struct UpdateArguments {
    /// Name of the service.
    pub(crate) service_name: String,
    /// The new task YAML.
    pub(crate) yaml: String,
    /// Only say what would happen: replicas reused, restarted, launched and stopped, their peak number, cost and time.
    #[arg(long, conflicts_with_all = ["yes", "wait"])]
    pub(crate) dry_run: bool,
    /// As JSON.
    #[arg(long, requires = "dry_run")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArguments,
    #[command(flatten)]
    pub(crate) rollout: RolloutArguments,
    #[command(flatten)]
    pub(crate) task: TaskArguments,
}

/// Options named as the fields of `service.update` are.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Options that replace fields of service.update in the YAML")]
pub(crate) struct RolloutArguments {
    /// How to replace replicas: rolling, blue_green, canary or in_place [default: what the YAML says, else rolling].
    #[arg(long, value_parser = update_mode)]
    pub(crate) mode: Option<UpdateMode>,
    /// Replicas that there may be beyond those wanted: a number, a share, or auto (as many as there is room for)
    /// [default: 100%].
    #[arg(long, value_name = "N|N%|auto")]
    max_surge: Option<String>,
    /// Replicas that may be missing from those wanted: a number or a share [default: 0].
    #[arg(long, value_name = "N|N%")]
    max_unavailable: Option<String>,
    /// Seconds that a new replica must be ready without a break before it counts [default: 10].
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    min_healthy_seconds: Option<String>,
    /// Seconds without progress after which the update has failed [default: the initial delay + 600].
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    progress_deadline_seconds: Option<String>,
    /// Seconds that requests in flight may keep a replica that is to be stopped [default: 600].
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    drain_timeout_seconds: Option<String>,
    /// Bring back what was good before if the update fails (the default).
    #[arg(long, overrides_with = "no_auto_rollback")]
    auto_rollback: bool,
    /// Leave things as they are if the update fails.
    #[arg(long, overrides_with = "auto_rollback")]
    no_auto_rollback: bool,
    /// Seconds that the old version is kept warm after all traffic has left it [default: 0].
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    undo_window_seconds: Option<String>,
}

impl RolloutArguments {
    /// The same, for the YAML.
    pub(crate) fn flags(&self) -> UpdateFlags {
        UpdateFlags {
            max_surge: self.max_surge.clone(),
            max_unavailable: self.max_unavailable.clone(),
            min_healthy_seconds: self.min_healthy_seconds.clone(),
            progress_deadline_seconds: self.progress_deadline_seconds.clone(),
            drain_timeout_seconds: self.drain_timeout_seconds.clone(),
            auto_rollback: match (self.auto_rollback, self.no_auto_rollback) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
            undo_window_seconds: self.undo_window_seconds.clone(),
        }
    }
}

fn update_mode(text: &str) -> Result<UpdateMode, String> {
    let name = text.to_ascii_lowercase().replace('-', "_");
    let mut modes = UpdateMode::ALL.into_iter();
    modes.find(|mode| mode.as_str() == name).ok_or_else(|| {
        let names = UpdateMode::ALL.map(UpdateMode::as_str).join(", ");
        format!("possible values: {names}")
    })
}
