//! The processes that a run starts: this program again, in a role.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use proxy::ProxyPaths;

use crate::peer::role_command;

/// A replica; see the module `backend`.
///
/// # Errors
///
/// When it cannot listen.
pub fn backend(addresses: &[Ipv4Addr]) -> anyhow::Result<()> {
    crate::backend::run(addresses)
}

/// The holder of the proxy in `home`.
///
/// # Errors
///
/// Those of [`proxy::run_holder`].
pub fn hold(home: PathBuf) -> anyhow::Result<()> {
    let worker = role_command("work", &home)?;
    Ok(proxy::run_holder(&ProxyPaths { home }, worker)?)
}

/// The worker of the proxy in `home`.
///
/// # Errors
///
/// Those of [`proxy::run_worker`].
pub fn work(home: PathBuf) -> anyhow::Result<()> {
    let holder = proxy::inherited_holder()?;
    let revive = role_command("hold", &home)?;
    Ok(proxy::run_worker(&ProxyPaths { home }, holder, revive)?)
}

/// Becomes the program `words`, which is asked to end when the benchmark ends.
///
/// # Errors
///
/// When the program cannot be started.
pub fn guard(words: &[OsString]) -> anyhow::Result<()> {
    crate::process::become_guarded(words)
}
