//! Answers to the client: a replica's, passed on as it comes, or one of the proxy's own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Response, StatusCode};
use serde_json::json;
use tokio::time::{Instant, Sleep};

use super::attempt::{Upload, describe, silence_left};
use super::pool::Sender;
use crate::clock;
use crate::endpoint::Endpoint;
use crate::lease::Lease;
use crate::log::{Outcome, RequestRecord};

/// When a client that found no ready replica may ask again, in seconds.
const RETRY_AFTER_SECONDS: u16 = 5;

/// The body of an answer to the client.
pub(crate) enum AnswerBody {
    /// A replica's, as it comes.
    Replica(Box<ReplicaBody>),
    /// The proxy's own; `None` once it has been taken.
    Own(Option<Bytes>),
}

/// The answer cannot be completed, so the connection must not look as if it were.
#[derive(Debug)]
pub(crate) struct AnswerCut(&'static str);

impl fmt::Display for AnswerCut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for AnswerCut {}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerCut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        match self.get_mut() {
            Self::Replica(body) => body.poll_frame(context),
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Replica(body) => body.incoming.is_end_stream(),
            Self::Own(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Replica(body) => body.incoming.size_hint(),
            Self::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}

/// The body of a replica's answer. Holds all that lasts as long as the request does: the lease, the
/// connection, the record for the log.
pub(crate) struct ReplicaBody {
    incoming: Incoming,
    sender: Option<Sender>,
    endpoint: Rc<Endpoint>,
    lease: Lease,
    record: RequestRecord,
    upload: Upload,
    silence: Silence,
    ended: bool,
}

impl ReplicaBody {
    pub(super) fn new(
        incoming: Incoming,
        sender: Sender,
        endpoint: Rc<Endpoint>,
        lease: Lease,
        record: RequestRecord,
    ) -> Self {
        let upload = record.upload();
        let silence = Silence::default();
        let sender = Some(sender);
        Self {
            incoming,
            sender,
            endpoint,
            lease,
            record,
            upload,
            silence,
            ended: false,
        }
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.silence.broken();
                // hyper does not ask again after trailers.
                self.ended = frame.is_trailers();
                self.record
                    .sent(frame.data_ref().map_or(0, Bytes::len) as u64);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let error = format!("its answer broke off: {}", describe(&error));
                self.lease.report_failure(&error);
                self.cut(Outcome::ReplicaFailed, "the replica's answer broke off")
            }
            Poll::Pending => {
                let limit = self.lease.stream_timeout();
                match self.silence.poll_too_long(context, limit, &self.upload) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => {
                        self.lease
                            .report_failure("silent within its answer for the stream timeout");
                        self.cut(Outcome::Silent, "the replica fell silent")
                    }
                }
            }
        }
    }

    /// Ends the connection to the replica now and, through the error, the one to the client.
    fn cut(
        &mut self,
        outcome: Outcome,
        reason: &'static str,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        self.record.outcome(outcome);
        self.sender = None;
        Poll::Ready(Some(Err(AnswerCut(reason))))
    }
}

impl Drop for ReplicaBody {
    fn drop(&mut self) {
        // hyper does not ask again once the announced length has been passed on.
        if !self.ended && !self.incoming.is_end_stream() {
            return;
        }
        self.record.outcome(Outcome::Completed);
        if let Some(sender) = self.sender.take().filter(|_| !self.lease.is_retired()) {
            self.endpoint.pool.put(self.lease.upstream(), sender);
        }
    }
}

/// How long the replica has been silent; costs nothing while it is not.
#[derive(Default)]
struct Silence {
    /// Since when, in monotonic microseconds.
    since: Option<u64>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    fn broken(&mut self) {
        self.since = None;
    }

    fn poll_too_long(
        &mut self,
        context: &mut Context<'_>,
        limit: Duration,
        upload: &Upload,
    ) -> Poll<()> {
        let is_new = self.since.is_none();
        let since = *self.since.get_or_insert_with(clock::monotonic_micros);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if is_new {
            timer.as_mut().reset(Instant::now() + limit);
        }
        while timer.as_mut().poll(context).is_ready() {
            match silence_left(limit, upload.as_deref(), since) {
                Some(left) => timer.as_mut().reset(Instant::now() + left),
                None => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

/// An answer of the proxy itself: JSON with a `detail`, as SkyServe's load balancer gives.
#[derive(Debug)]
pub(super) struct OwnAnswer {
    status: StatusCode,
    detail: String,
    outcome: Outcome,
}

impl OwnAnswer {
    pub(super) fn no_replica(service: &str) -> Self {
        let detail = format!(
            "No ready replicas. Use \"sky serve status {service}\" to check the replica status."
        );
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            detail,
            outcome: Outcome::NoReplica,
        }
    }

    pub(super) fn replica_failed(error: &str, repeatable: bool) -> Self {
        let repeated = if repeatable {
            "No other replica could answer."
        } else {
            "The request may have reached it, so it was not sent again."
        };
        let detail = format!("The replica failed before it answered ({error}). {repeated}");
        Self {
            status: StatusCode::BAD_GATEWAY,
            detail,
            outcome: Outcome::ReplicaFailed,
        }
    }

    pub(super) fn silent(limit: Duration) -> Self {
        let detail = format!(
            "The replica did not answer within {} seconds (load_balancer.stream_timeout_seconds).",
            limit.as_secs_f64()
        );
        Self {
            status: StatusCode::GATEWAY_TIMEOUT,
            detail,
            outcome: Outcome::Silent,
        }
    }

    pub(super) fn incomplete_request() -> Self {
        let detail = "The body of the request ended before its announced length.".to_owned();
        Self {
            status: StatusCode::BAD_REQUEST,
            detail,
            outcome: Outcome::ClientGone,
        }
    }

    pub(super) fn rejected(status: StatusCode, detail: &str) -> Self {
        Self {
            status,
            detail: format!("Bad request: {detail}."),
            outcome: Outcome::Rejected,
        }
    }

    pub(super) fn into_response(self, mut record: RequestRecord) -> Response<AnswerBody> {
        let text = Bytes::from(json!({ "detail": self.detail }).to_string());
        record.answered(self.status.as_u16());
        record.outcome(self.outcome);
        record.sent(text.len() as u64);
        let mut response = Response::new(AnswerBody::Own(Some(text)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}
