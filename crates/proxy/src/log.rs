//! Logs, written off the hot path: a bounded queue to one thread, which never makes a request wait.
//!
//! When the queue is full, lines are dropped and counted; the count is an event itself. Nothing of
//! a request's headers, query or body is ever in a log.

mod access;
mod event;
mod rotating_file;
mod writer;

pub(crate) use self::access::{AccessLines, Outcome, RequestRecord};
pub(crate) use self::event::{Event, append_event, format_time};
pub(crate) use self::writer::{LogSender, LogWriter};
