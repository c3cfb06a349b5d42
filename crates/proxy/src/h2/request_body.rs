//! The client's body on its way to a replica: passed on as it comes, watched for who keeps whom
//! waiting.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::clock;

/// How the sending of one body goes.
#[derive(Debug, Default)]
pub(crate) struct UploadProgress {
    waiting_for_client: AtomicBool,
    last_progress: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicBool,
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

    /// The client stopped before the end of its body.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    fn moved(&self, bytes: usize) {
        self.waiting_for_client.store(false, Ordering::Relaxed);
        self.last_progress
            .store(clock::monotonic_micros(), Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }
}

/// The body of a request to a replica.
pub(crate) struct RequestBody {
    upload: Option<ClientBody>,
}

struct ClientBody {
    incoming: Incoming,
    progress: Arc<UploadProgress>,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming) -> Self {
        let upload = (!incoming.is_end_stream()).then(|| ClientBody {
            incoming,
            progress: Arc::default(),
        });
        Self { upload }
    }

    pub(crate) fn empty() -> Self {
        Self { upload: None }
    }

    pub(crate) fn progress(&self) -> Option<Arc<UploadProgress>> {
        self.upload.as_ref().map(|body| Arc::clone(&body.progress))
    }
}

/// The client stopped before the end of its body.
#[derive(Debug)]
pub(crate) struct IncompleteBody;

impl fmt::Display for IncompleteBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the client stopped before the end of its body")
    }
}

impl std::error::Error for IncompleteBody {}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = IncompleteBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IncompleteBody>>> {
        let Some(ClientBody { incoming, progress }) = &mut self.upload else {
            return Poll::Ready(None);
        };
        match Pin::new(incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                progress.moved(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                progress.moved(0);
                Poll::Ready(None)
            }
            Poll::Pending => {
                progress.waiting_for_client.store(true, Ordering::Relaxed);
                Poll::Pending
            }
            Poll::Ready(Some(Err(_))) => {
                progress.fail();
                Poll::Ready(Some(Err(IncompleteBody)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.upload
            .as_ref()
            .is_none_or(|body| body.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.upload
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |body| body.incoming.size_hint())
    }
}
