//! How the sending of one body goes.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::clock;

/// Why a body was not passed on whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadFailure {
    /// The client stopped before its end.
    Incomplete,
    /// It is larger than allowed.
    TooLarge,
}

/// How the sending of one body goes.
#[derive(Debug, Default)]
pub(crate) struct UploadProgress {
    waiting_for_client: AtomicBool,
    last_progress: AtomicU64,
    bytes: AtomicU64,
    /// 0 none, 1 incomplete, 2 too large.
    failure: AtomicU8,
}

impl UploadProgress {
    /// The replica would take more but the client has not sent it.
    pub(crate) fn is_waiting_for_client(&self) -> bool {
        self.waiting_for_client.load(Ordering::Relaxed)
    }

    /// When the last piece was passed on, in monotonic microseconds.
    pub(crate) fn last_progress(&self) -> u64 {
        self.last_progress.load(Ordering::Relaxed)
    }

    /// Bytes of the body passed on so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Why the body was not passed on whole, if that is so.
    pub(crate) fn failure(&self) -> Option<UploadFailure> {
        match self.failure.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(UploadFailure::Incomplete),
            _ => Some(UploadFailure::TooLarge),
        }
    }

    pub(super) fn wait_for_client(&self) {
        self.waiting_for_client.store(true, Ordering::Relaxed);
    }

    pub(super) fn moved(&self, bytes: usize) {
        self.end();
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.waiting_for_client.store(false, Ordering::Relaxed);
        self.last_progress
            .store(clock::monotonic_micros(), Ordering::Relaxed);
    }

    pub(super) fn fail(&self, failure: UploadFailure) {
        let number = match failure {
            UploadFailure::Incomplete => 1,
            UploadFailure::TooLarge => 2,
        };
        self.failure.store(number, Ordering::Relaxed);
    }
}
