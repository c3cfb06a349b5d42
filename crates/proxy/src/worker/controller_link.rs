//! One connection of a controller: lines of JSON both ways, read and written by tasks of their own.

use std::io;

use plan::routing::{ProxyCommand, ProxyReport};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Longest line in bytes: a table of some ten thousand replicas.
const MAX_LINE_BYTES: u64 = 4 * 1024 * 1024;
/// Reports that may wait to be read by the controller.
const REPORT_QUEUE: usize = 4096;

/// What comes from a controller.
#[derive(Debug)]
pub(super) enum Input {
    Command(Box<ProxyCommand>),
    /// A line that is no command, and why.
    Garbled(String),
    Closed,
}

/// A connected controller; dropping it closes the connection.
#[derive(Debug)]
pub(super) struct ControllerLink {
    id: u64,
    reports: mpsc::Sender<ProxyReport>,
    tasks: [AbortHandle; 2],
}

impl ControllerLink {
    /// Starts to read; what comes goes into `inputs` under the number `id`.
    pub(super) fn start(id: u64, stream: UnixStream, inputs: mpsc::Sender<(u64, Input)>) -> Self {
        let (read, write) = stream.into_split();
        let (reports, queue) = mpsc::channel(REPORT_QUEUE);
        let reader = tokio::spawn(async move {
            if let Err(error) = read_commands(id, read, &inputs).await
                && error.kind() == io::ErrorKind::InvalidData
            {
                let _ = inputs.send((id, Input::Garbled(error.to_string()))).await;
            }
            let _ = inputs.send((id, Input::Closed)).await;
        });
        let writer = tokio::spawn(write_reports(write, queue));
        Self {
            id,
            reports,
            tasks: [reader.abort_handle(), writer.abort_handle()],
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Queues a report; false when the controller has stopped reading.
    pub(super) fn report(&self, report: ProxyReport) -> bool {
        self.reports.try_send(report).is_ok()
    }
}

impl Drop for ControllerLink {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn read_commands(
    id: u64,
    read: OwnedReadHalf,
    inputs: &mpsc::Sender<(u64, Input)>,
) -> io::Result<()> {
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = (&mut read)
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .await?;
        if length == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            let message = format!("a line broke off after {length} bytes, or is longer than that");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        // What a newer controller says that this proxy does not know is passed over.
        let input = match serde_json::from_slice(&line) {
            Ok(command) => Input::Command(Box::new(command)),
            Err(error) => Input::Garbled(error.to_string()),
        };
        if inputs.send((id, input)).await.is_err() {
            return Ok(());
        }
    }
}

async fn write_reports(mut write: OwnedWriteHalf, mut queue: mpsc::Receiver<ProxyReport>) {
    while let Some(report) = queue.recv().await {
        let Ok(mut line) = serde_json::to_vec(&report) else {
            continue;
        };
        line.push(b'\n');
        if write.write_all(&line).await.is_err() {
            return;
        }
    }
}
