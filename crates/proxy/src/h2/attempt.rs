//! One attempt to get an answer from one replica, and how it may fail.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::time::timeout;

use super::pool::{Pool, Sender, connect};
use super::request_body::{RequestBody, UploadProgress};
use crate::clock;
use crate::lease::Lease;

/// How often it is looked whether the client still keeps the replica waiting.
const UPLOAD_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The head of a replica's answer, and the connection it came on.
pub(super) struct Reply {
    pub(super) response: Response<Incoming>,
    pub(super) sender: Sender,
}

/// Why there is no answer, told by what the replica may have seen.
pub(super) enum Failure {
    /// No connection: the replica saw nothing.
    NotConnected {
        request: Request<RequestBody>,
        error: String,
    },
    /// A kept connection was closed before a byte was written: the replica saw nothing.
    Unsent { request: Request<RequestBody> },
    /// The replica may have read the request and even done what it asks for.
    Lost {
        error: String,
        kept_connection: bool,
    },
    /// The replica said nothing for the stream timeout.
    Silent,
    /// The client stopped in the middle of its body.
    ClientGone,
}

/// Sends `request` to the replica of `lease`, on a kept connection if `kept_connections` and there
/// is one. `repeatable` says whether it may be sent again after it may have been read.
pub(super) async fn attempt(
    pool: &Pool,
    lease: &Lease,
    request: Request<RequestBody>,
    kept_connections: bool,
    repeatable: bool,
) -> Result<Reply, Failure> {
    let kept = if kept_connections {
        pool.take(lease.upstream(), repeatable).await
    } else {
        None
    };
    let kept_connection = kept.is_some();
    let mut sender = match kept {
        Some(sender) => sender,
        None => match connect(lease.upstream().address).await {
            Ok(sender) => sender,
            Err(error) => {
                let error = format!("cannot connect to {}: {error}", lease.upstream().address);
                return Err(Failure::NotConnected { request, error });
            }
        },
    };
    let progress = request.body().progress();
    let answer = sender.try_send_request(request);
    let Some(answer) = unless_silent(lease.stream_timeout(), progress.as_deref(), answer).await
    else {
        return Err(Failure::Silent);
    };
    let mut failed = match answer {
        Ok(response) => return Ok(Reply { response, sender }),
        Err(failed) => failed,
    };
    if progress.is_some_and(|progress| progress.has_failed()) {
        return Err(Failure::ClientGone);
    }
    let error = describe(failed.error());
    Err(match failed.take_message() {
        Some(request) if kept_connection => Failure::Unsent { request },
        Some(request) => Failure::NotConnected { request, error },
        None => Failure::Lost {
            error,
            kept_connection,
        },
    })
}

/// The output of `answer`; `None` once the replica was silent for `limit`, not counting the time in
/// which it waits for the client's body.
async fn unless_silent<T>(
    limit: Duration,
    upload: Option<&UploadProgress>,
    answer: impl Future<Output = T>,
) -> Option<T> {
    let started = clock::monotonic_micros();
    let mut answer = pin!(answer);
    let mut wait = limit;
    loop {
        if let Ok(output) = timeout(wait, answer.as_mut()).await {
            return Some(output);
        }
        wait = silence_left(limit, upload, started)?;
    }
}

/// How much longer the replica may be silent, having been so since `started` (monotonic
/// microseconds) at most; `None` when it has been too long.
pub(super) fn silence_left(
    limit: Duration,
    upload: Option<&UploadProgress>,
    started: u64,
) -> Option<Duration> {
    let since = match upload {
        Some(upload) if upload.is_waiting_for_client() => {
            return Some(UPLOAD_CHECK_INTERVAL.min(limit));
        }
        Some(upload) => started.max(upload.last_progress()),
        None => started,
    };
    let silent = Duration::from_micros(clock::monotonic_micros().saturating_sub(since));
    limit.checked_sub(silent).filter(|left| !left.is_zero())
}

/// An error and what lies beneath it, in one line.
pub(super) fn describe(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Shared knowledge of how the sending of a request's body goes; `None` where it has none.
pub(super) type Upload = Option<Arc<UploadProgress>>;
