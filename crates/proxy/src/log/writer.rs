//! The thread that writes the logs, and the queue to it.

use std::collections::HashMap;
use std::io;
use std::iter;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::event::Event;
use super::rotating_file::RotatingFile;
use crate::paths::ProxyPaths;

/// Events and batches of lines that may wait to be written.
const QUEUE_LINES: usize = 4 * 1024;
/// Lines written before they are handed to the system though more are waiting.
const FLUSH_LINES: usize = 1024;
/// Size at which an access log is rotated, in bytes.
const ACCESS_LOG_BYTES: u64 = 64 * 1024 * 1024;
/// Size at which the event log is rotated, in bytes.
const EVENT_LOG_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Debug)]
enum Line {
    Access(Arc<str>, Vec<u8>),
    Event(Event),
    Stop,
}

/// Hands lines to the writer; cheap to clone, never waits.
#[derive(Clone, Debug)]
pub(crate) struct LogSender {
    queue: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

impl LogSender {
    /// Whole lines of the access log of a service.
    pub(super) fn access(&self, service: &Arc<str>, lines: Vec<u8>) {
        self.send(Line::Access(Arc::clone(service), lines));
    }

    pub(crate) fn event(&self, event: Event) {
        self.send(Line::Event(event));
    }

    fn send(&self, line: Line) {
        if self.queue.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The running writer thread.
#[derive(Debug)]
pub(crate) struct LogWriter {
    queue: SyncSender<Line>,
    thread: JoinHandle<()>,
}

impl LogWriter {
    /// Starts the thread.
    pub(crate) fn start(paths: ProxyPaths) -> io::Result<(Self, LogSender)> {
        let (queue, lines) = sync_channel(QUEUE_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let sender = LogSender {
            queue: queue.clone(),
            dropped: Arc::clone(&dropped),
        };
        let event_log = RotatingFile::new(paths.event_log(), EVENT_LOG_BYTES);
        let mut files = Files {
            paths,
            access_logs: HashMap::new(),
            event_log,
            dropped,
        };
        let thread = thread::Builder::new()
            .name("proxy-log".to_owned())
            .spawn(move || while files.write_batch(&lines).is_ok() {})?;
        Ok((Self { queue, thread }, sender))
    }

    /// Writes what is waiting and ends the thread.
    pub(crate) fn finish(self) {
        if self.queue.send(Line::Stop).is_ok() {
            let _ = self.thread.join();
        }
    }
}

struct Files {
    paths: ProxyPaths,
    access_logs: HashMap<Arc<str>, RotatingFile>,
    event_log: RotatingFile,
    dropped: Arc<AtomicU64>,
}

impl Files {
    /// Waits for lines, writes all that are there and flushes. An error means that no more will
    /// come.
    fn write_batch(&mut self, lines: &Receiver<Line>) -> Result<(), RecvError> {
        let first = lines.recv()?;
        let mut batch = iter::once(first).chain(lines.try_iter().take(FLUSH_LINES));
        let stop = batch.any(|line| self.write(line).is_break());
        self.report_dropped();
        self.flush();
        if stop { Err(RecvError) } else { Ok(()) }
    }

    fn write(&mut self, line: Line) -> ControlFlow<()> {
        match line {
            Line::Access(service, lines) => self.write_access(&service, &lines),
            Line::Event(event) => self.write_event(&event),
            Line::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    // A log that cannot be written (the disk is full, say) must not stop the proxy: such lines are
    // counted as dropped and the count is written once that is possible again.
    fn write_access(&mut self, service: &Arc<str>, lines: &[u8]) {
        if !self.access_logs.contains_key(service) {
            let path = self.paths.access_log(service);
            let file = RotatingFile::new(path, ACCESS_LOG_BYTES);
            self.access_logs.insert(Arc::clone(service), file);
        }
        let file = self.access_logs.get_mut(service);
        if file.is_some_and(|file| file.write_lines(lines).is_err()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn write_event(&mut self, event: &Event) {
        if self.event_log.write_line(&event.to_line()).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn report_dropped(&mut self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let detail = format!("{dropped} lines of logs could not be written");
            if self
                .event_log
                .write_line(&Event::new("log_lines_dropped", detail).to_line())
                .is_err()
            {
                self.dropped.fetch_add(dropped, Ordering::Relaxed);
            }
        }
    }

    fn flush(&mut self) {
        for file in self.access_logs.values_mut() {
            let _ = file.flush();
        }
        let _ = self.event_log.flush();
    }
}
