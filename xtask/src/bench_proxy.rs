//! The benchmark of the proxy, built as what it measures is shipped.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

/// Becomes `bench-proxy` with these arguments.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["run", "--quiet", "--release", "--package", "bench"];
    Err(Command::new(cargo)
        .args(words)
        .args(["--bin", "bench-proxy", "--"])
        .args(arguments)
        .exec())
    .context("cannot start cargo")
}
