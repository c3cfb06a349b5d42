//! What may be typed to steer an update.

use clap::Args;

use super::seconds;

#[derive(Debug, Args)]
#[command(
    after_help = "Asking for what is so already is no error: the command says so and exits with 0."
)]
pub(crate) struct SteerArguments {
    /// Name of the service.
    pub(crate) service_name: String,
    /// As JSON: whether anything was changed, a sentence, and the version that is desired from now on.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The earlier version keeps its number. While its replicas are kept warm (`undo_window_seconds`) \
                  traffic goes back to them at once; after that it is an ordinary update to the old version, with \
                  everything an update is safe from."
)]
pub(crate) struct RollbackArguments {
    /// Name of the service.
    pub(crate) service_name: String,
    /// To which version [default: the one that was good before the desired one]; see sky serve history.
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<u32>,
    /// Wait until it is done (at most SECONDS) and exit with 1 if it fails.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
          default_missing_value = "inf", value_parser = seconds)]
    pub(crate) wait: Option<f64>,
    /// As JSON: whether anything was changed, a sentence, and the version that is desired from now on.
    #[arg(long)]
    pub(crate) json: bool,
}
