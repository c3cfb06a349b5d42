//! Where workers that have left bring requests (see [`crate::relay`]).

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::relay::read_preamble;

/// Connections whose service is known and which wait to be served.
const QUEUE: usize = 64;
/// How long a connection may take to say what it is for; it says so at once.
const PREAMBLE_TIME: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection of a worker that has left.
#[derive(Debug)]
pub(super) struct Relayed {
    /// Name of the service.
    pub(super) service: String,
    pub(super) socket: OwnedFd,
}

/// Accepts until it is dropped; who is not served by then finds another worker.
#[derive(Debug)]
pub(super) struct RelayListener {
    relayed: mpsc::Receiver<Relayed>,
    task: AbortHandle,
}

impl RelayListener {
    /// Accepts on `listener`. Must be called within the runtime.
    pub(super) fn start(listener: UnixListener) -> Self {
        let (sender, relayed) = mpsc::channel(QUEUE);
        let task = tokio::spawn(accept(listener, sender)).abort_handle();
        Self { relayed, task }
    }

    /// The next connection. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<Relayed> {
        self.relayed.recv().await
    }
}

impl Drop for RelayListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: UnixListener, sender: mpsc::Sender<Relayed>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let sender = sender.clone();
                tokio::spawn(async move {
                    if let Some(relayed) = read(stream).await {
                        let _ = sender.send(relayed).await;
                    }
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Who breaks off here has sent nothing yet and tries again.
async fn read(mut stream: UnixStream) -> Option<Relayed> {
    let name = timeout(PREAMBLE_TIME, read_preamble(&mut stream)).await;
    let service = name.ok()?.ok()?;
    let socket = stream.into_std().ok()?.into();
    Some(Relayed { service, socket })
}
