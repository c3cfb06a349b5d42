//! One attempt to get an answer from one replica, and how it may fail.

use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::headers::Head;
use super::pool::{Http1Sender, Http2Slot, Pool, http1};
use super::request_body::{RequestBody, Upload, UploadFailure, UploadProgress};
use crate::clock;
use crate::lease::Lease;

/// How often it is looked whether the client still keeps the replica waiting.
const UPLOAD_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Over how long the pace of a body is measured.
const UPLOAD_WINDOW: Duration = Duration::from_secs(30);

/// The head of a replica's answer, and what it came on.
pub(super) struct Reply {
    pub(super) response: Response<Incoming>,
    pub(super) carrier: Carrier,
}

/// What an answer comes on.
pub(super) enum Carrier {
    /// A connection that serves one request at a time.
    Http1(Http1Sender),
    /// One of the streams of a connection.
    Http2(Http2Slot),
}

/// A request as it is given to one replica after the other.
pub(super) struct Outgoing {
    pub(super) head: Head,
    pub(super) upload: Option<Rc<Upload>>,
    /// Whether the replica is spoken to in HTTP/2.
    pub(super) is_http2: bool,
    /// Whether its body may come as slowly as it likes.
    pub(super) may_pause: bool,
}

impl Outgoing {
    /// Whether it may be sent again though a replica may have read it.
    pub(super) fn is_repeatable(&self) -> bool {
        self.upload.is_none() && super::headers::is_idempotent(&self.head.method)
    }

    /// Whether it is all here still, for another attempt.
    pub(super) fn is_whole(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.is_whole())
    }

    fn progress(&self) -> Option<&UploadProgress> {
        self.upload.as_ref().map(|upload| &**upload.progress())
    }
}

/// Why there is no answer, told by what the replica may have seen.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection: the replica saw nothing.
    NotConnected { error: String },
    /// A kept connection was closed before a byte was written: the replica saw nothing.
    Unsent,
    /// The replica says that it has not looked at the request and will not (RFC 9113 section 8.7).
    Refused,
    /// The replica may have read the request and even done what it asks for.
    Lost {
        error: String,
        kept_connection: bool,
    },
    /// The replica said nothing for the stream timeout.
    Silent,
    /// The client sent its body too slowly.
    ClientSlow,
    /// The body of the client cannot be passed on.
    Body(UploadFailure),
}

/// Sends a request to the replica of `lease`, on a kept connection of HTTP/1.1 if `kept_connections` and there is one.
pub(super) async fn attempt(
    pool: &Pool,
    lease: &Lease,
    outgoing: &Outgoing,
    kept_connections: bool,
) -> Result<Reply, Failure> {
    if outgoing.is_http2 {
        attempt_http2(pool, lease, outgoing).await
    } else {
        attempt_http1(pool, lease, outgoing, kept_connections).await
    }
}

async fn attempt_http1(
    pool: &Pool,
    lease: &Lease,
    outgoing: &Outgoing,
    kept_connections: bool,
) -> Result<Reply, Failure> {
    let (upstream, settings) = (lease.upstream(), lease.settings());
    let kept = if kept_connections {
        pool.http1.take(upstream, outgoing.is_repeatable()).await
    } else {
        None
    };
    let kept_connection = kept.is_some();
    let mut sender = match kept {
        Some(sender) => sender,
        None => http1::connect(upstream, settings.connect_timeout)
            .await
            .map_err(|error| Failure::NotConnected { error })?,
    };
    let trailers = outgoing.head.is_chunked().then(|| sender.trailers.clone());
    let body = match &outgoing.upload {
        Some(upload) => upload.attempt(trailers),
        None => RequestBody::empty(),
    };
    let answer = sender.try_send(outgoing.head.to_http1(body));
    match wait_for(answer, lease, outgoing).await? {
        Ok(response) => {
            let carrier = Carrier::Http1(sender);
            Ok(Reply { response, carrier })
        }
        Err(failed) => Err(why(failed, kept_connection, outgoing)),
    }
}

async fn attempt_http2(pool: &Pool, lease: &Lease, outgoing: &Outgoing) -> Result<Reply, Failure> {
    let (upstream, settings) = (lease.upstream(), lease.settings());
    let slot = pool
        .http2
        .reserve(upstream, settings.connect_timeout)
        .await
        .map_err(|error| Failure::NotConnected { error })?;
    let body = match &outgoing.upload {
        Some(upload) => upload.attempt(None),
        None => RequestBody::empty(),
    };
    let answer = slot.try_send(outgoing.head.to_http2(body, upstream.address));
    let answer = wait_for(answer, lease, outgoing).await;
    match answer {
        Ok(Ok(response)) => {
            let carrier = Carrier::Http2(slot);
            Ok(Reply { response, carrier })
        }
        Ok(Err(failed)) => {
            let failure = why(failed, slot.is_kept, outgoing);
            // A single stream may be refused for want of room; all else says that the connection is of no use.
            if !matches!(failure, Failure::Body(_)) {
                slot.shun();
            }
            Err(failure)
        }
        Err(failure) => {
            if matches!(failure, Failure::Silent) {
                slot.shun();
            }
            Err(failure)
        }
    }
}

/// The outcome of sending; an error where somebody kept it waiting for too long.
async fn wait_for<T>(
    answer: impl Future<Output = T>,
    lease: &Lease,
    outgoing: &Outgoing,
) -> Result<T, Failure> {
    let least = match outgoing.may_pause {
        true => 0,
        false => lease.settings().min_upload_bytes_per_second,
    };
    unless_silent(lease.stream_timeout(), outgoing.progress(), least, answer).await
}

/// Tells what a failure of hyper's means.
fn why(
    mut failed: hyper::client::conn::TrySendError<hyper::Request<RequestBody>>,
    kept_connection: bool,
    outgoing: &Outgoing,
) -> Failure {
    if let Some(failure) = outgoing.progress().and_then(UploadProgress::failure) {
        return Failure::Body(failure);
    }
    let unsent = failed.take_message().is_some();
    let error = failed.error();
    if is_refusal(error) {
        return Failure::Refused;
    }
    let text = describe(error);
    match (unsent, kept_connection) {
        (true, true) => Failure::Unsent,
        (true, false) => Failure::NotConnected { error: text },
        (false, kept_connection) => Failure::Lost {
            error: text,
            kept_connection,
        },
    }
}

/// Whether the replica says that it has not processed the request: it refused the stream, or its GOAWAY named a lower one
/// as the last (RFC 9113 section 8.7). h2 gives the error of a GOAWAY to no other streams.
fn is_refusal(error: &hyper::Error) -> bool {
    h2_error(error).is_some_and(|error| {
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (refused || error.is_go_away())
    })
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}

/// The output of `answer`, unless the replica was silent for `limit`, not counting the time in which it waits for the
/// client's body, or that body comes with less than `least` bytes per second.
async fn unless_silent<T>(
    limit: Duration,
    upload: Option<&UploadProgress>,
    least: u64,
    answer: impl Future<Output = T>,
) -> Result<T, Failure> {
    let started = clock::monotonic_micros();
    let mut answer = pin!(answer);
    let mut wait = limit;
    let mut window = (started, 0);
    loop {
        if let Some(upload) = upload {
            // Whether the client keeps it waiting is known only by looking.
            wait = wait.min(UPLOAD_CHECK_INTERVAL);
            let age = clock::monotonic_micros().saturating_sub(window.0);
            if Duration::from_micros(age) >= UPLOAD_WINDOW {
                let sent = upload.bytes().saturating_sub(window.1);
                if upload.is_waiting_for_client() && sent < least * UPLOAD_WINDOW.as_secs() {
                    return Err(Failure::ClientSlow);
                }
                window = (clock::monotonic_micros(), upload.bytes());
            }
        }
        if let Ok(output) = timeout(wait, answer.as_mut()).await {
            return Ok(output);
        }
        wait = silence_left(limit, upload, started).ok_or(Failure::Silent)?;
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
