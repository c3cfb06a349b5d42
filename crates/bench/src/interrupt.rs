//! Ctrl-C, SIGTERM and the limit of time: all end a run in order, so that everything it started is ended.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static DEADLINE: OnceLock<Instant> = OnceLock::new();

/// From here on signals do not end the process but make [`check`] fail; so does the time after `deadline`.
pub(crate) fn listen(deadline: Instant) -> anyhow::Result<()> {
    let _ = DEADLINE.set(deadline);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
        let [interrupt, terminate] = kinds.map(signal);
        (interrupt.context("SIGINT")?, terminate.context("SIGTERM")?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Fails once the run must end. To be called in every loop that waits.
pub(crate) fn check() -> anyhow::Result<()> {
    check_signals()?;
    if DEADLINE
        .get()
        .is_some_and(|deadline| Instant::now() > *deadline)
    {
        bail!("the time is up");
    }
    Ok(())
}

/// Fails once a person wants the run to end: then there is no report either.
pub(crate) fn check_signals() -> anyhow::Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Whether [`check`] fails.
pub(crate) fn ended() -> bool {
    check().is_err()
}
