//! The body of a replica's answer on its way to the client.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::answer::AnswerCut;
use super::attempt::{Carrier, describe, silence_left};
use super::grpc;
use super::request_body::{Upload, UploadProgress};
use crate::clock;
use crate::deadline::coarse_now;
use crate::endpoint::Endpoint;
use crate::lease::Lease;
use crate::log::{Outcome, RequestRecord};

/// The body of a replica's answer. Holds all that lasts as long as the request does: the lease, the
/// connection, the record for the log.
pub(super) struct ReplicaBody {
    pub(super) incoming: Incoming,
    pub(super) carrier: Option<Carrier>,
    pub(super) endpoint: Rc<Endpoint>,
    pub(super) lease: Lease,
    pub(super) record: RequestRecord,
    pub(super) upload: Option<Rc<Upload>>,
    /// Whether the end of a call is told by trailers.
    pub(super) is_grpc: bool,
    pub(super) silence: Silence,
    pub(super) ended: bool,
    /// When the last frame was given to hyper, which asks for the next when the client has taken it; in coarse
    /// monotonic microseconds.
    pub(super) given: Option<u64>,
}

impl ReplicaBody {
    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        self.given = None;
        if self.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.silence.broken();
                // hyper does not ask again after trailers.
                self.ended = frame.is_trailers();
                self.record
                    .sent(frame.data_ref().map_or(0, Bytes::len) as u64);
                self.given = Some(coarse_now());
                if self.ended || self.incoming.is_end_stream() {
                    self.lease.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            // A stream that was reset with CANCEL or NO_ERROR looks to hyper as if it had ended.
            Poll::Ready(None) if self.is_http2() && !self.incoming.is_end_stream() => {
                self.broke_off("the replica cancelled its stream")
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => self.broke_off(&describe(&error)),
            Poll::Pending => {
                let limit = self.lease.stream_timeout();
                let upload = self.upload.as_ref().map(|upload| upload.progress());
                match self.silence.poll_too_long(context, limit, upload) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => {
                        self.lease
                            .report_failure("silent within its answer for the stream timeout");
                        let status = grpc::Status::DeadlineExceeded;
                        self.cut(Outcome::Silent, status, "the replica fell silent")
                    }
                }
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    /// Whether the client has taken nothing for longer than `limit`.
    pub(super) fn is_stalled(&self, limit: Duration) -> bool {
        self.given
            .is_some_and(|given| Duration::from_micros(coarse_now().saturating_sub(given)) > limit)
    }

    /// Ends the request to the replica: the client takes nothing of the answer.
    pub(super) fn give_up(mut self) {
        self.record.outcome(Outcome::ClientSlow);
        self.carrier = None;
    }

    fn is_http2(&self) -> bool {
        matches!(self.carrier, Some(Carrier::Http2(_)))
    }

    /// The answer broke off: because the client's body did, or by the replica's doing.
    fn broke_off(&mut self, error: &str) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        let upload = self.upload.as_ref().map(|upload| upload.progress());
        if upload.and_then(|upload| upload.failure()).is_some() {
            let status = grpc::Status::Cancelled;
            return self.cut(Outcome::ClientGone, status, "the request broke off");
        }
        self.lease
            .report_failure(&format!("its answer broke off: {error}"));
        let status = grpc::Status::Unavailable;
        self.cut(
            Outcome::ReplicaFailed,
            status,
            "the replica's answer broke off",
        )
    }

    /// Ends the request to the replica now and, through the error, the stream of the client. A call of gRPC ends with a
    /// status instead.
    fn cut(
        &mut self,
        outcome: Outcome,
        status: grpc::Status,
        reason: &'static str,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        self.record.outcome(outcome);
        if let Some(Carrier::Http2(slot)) = &self.carrier
            && outcome == Outcome::Silent
        {
            slot.shun();
        }
        self.carrier = None;
        if self.is_grpc {
            self.ended = true;
            let fields = grpc::status_fields(status, reason);
            return Poll::Ready(Some(Ok(Frame::trailers(fields))));
        }
        Poll::Ready(Some(Err(AnswerCut(reason))))
    }
}

impl Drop for ReplicaBody {
    fn drop(&mut self) {
        // A replica that has answered, or lost its client, wants no more of the request.
        if let Some(upload) = &self.upload {
            upload.close();
        }
        // hyper does not ask again once the announced length has been passed on.
        let is_whole = self.ended || self.incoming.is_end_stream();
        let Some(carrier) = self.carrier.take().filter(|_| is_whole) else {
            return;
        };
        self.record.outcome(Outcome::Completed);
        if let Carrier::Http1(sender) = carrier
            && !self.lease.is_retired()
        {
            self.endpoint.pool.http1.put(self.lease.upstream(), sender);
        }
    }
}

/// How long the replica has been silent; costs nothing while it is not.
#[derive(Default)]
pub(super) struct Silence {
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
        upload: Option<&Arc<UploadProgress>>,
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
            match silence_left(limit, upload.map(|upload| &**upload), since) {
                Some(left) => timer.as_mut().reset(Instant::now() + left),
                None => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}
