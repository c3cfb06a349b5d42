//! Answers to the client: a replica's, passed on as it comes, or one of the proxy's own.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::body::{Body, Frame, SizeHint};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::client_stream::ClientStream;
use super::grpc;
use super::replica_body::ReplicaBody;
use super::request_body::UploadFailure;
use crate::log::{Outcome, RequestRecord};

/// When a client that found no ready replica may ask again, in seconds.
const RETRY_AFTER_SECONDS: u16 = 5;

/// The body of an answer to the client.
pub(crate) struct AnswerBody {
    kind: Kind,
    /// The stream of the client that the answer goes to, where it is one of HTTP/2.
    stream: Option<ClientStream>,
}

enum Kind {
    /// A replica's, as it comes; `None` once the client was found to take nothing of it.
    Replica(Rc<RefCell<Option<ReplicaBody>>>),
    /// The proxy's own; `None` once it has been taken.
    Own(Option<Bytes>),
}

impl AnswerBody {
    pub(super) fn replica(body: ReplicaBody) -> Self {
        Self {
            kind: Kind::Replica(Rc::new(RefCell::new(Some(body)))),
            stream: None,
        }
    }

    fn own(bytes: Option<Bytes>) -> Self {
        Self {
            kind: Kind::Own(bytes),
            stream: None,
        }
    }

    /// Lets the stream last as long as the body, which ends when the client takes nothing of it.
    pub(super) fn hold(&mut self, stream: ClientStream) {
        if let Kind::Replica(body) = &self.kind {
            stream.watch(Rc::downgrade(body));
        }
        self.stream = Some(stream);
    }
}

/// The answer cannot be completed, so the connection must not look as if it were.
#[derive(Debug)]
pub(crate) struct AnswerCut(pub(super) &'static str);

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
        match &mut self.get_mut().kind {
            Kind::Replica(body) => match &mut *body.borrow_mut() {
                Some(body) => body.poll_frame(context),
                None => Poll::Ready(Some(Err(AnswerCut(
                    "the client took nothing of the answer",
                )))),
            },
            Kind::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Replica(body) => (body.borrow().as_ref()).is_some_and(ReplicaBody::is_end_stream),
            Kind::Own(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Replica(body) => {
                (body.borrow().as_ref()).map_or_else(SizeHint::default, ReplicaBody::size_hint)
            }
            Kind::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}

/// In what form a client gets an own answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    /// A head as to JSON, and no body: the request was one for a head.
    HeadOnly,
    Grpc,
}

/// An answer of the proxy itself: JSON with a `detail`, as SkyServe's load balancer gives, or a status of gRPC.
#[derive(Debug)]
pub(crate) struct OwnAnswer {
    status: StatusCode,
    detail: String,
    outcome: Outcome,
}

impl OwnAnswer {
    fn new(status: StatusCode, outcome: Outcome, detail: String) -> Self {
        Self {
            status,
            detail,
            outcome,
        }
    }

    pub(super) fn no_replica(service: &str) -> Self {
        let detail = format!(
            "No ready replicas. Use \"sky serve status {service}\" to check the replica status."
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Outcome::NoReplica, detail)
    }

    pub(super) fn queue_full(limit: u32) -> Self {
        let detail = format!(
            "No replica is free, and {limit} requests wait already (load_balancer.queue.max_requests)."
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Outcome::Shed, detail)
    }

    pub(super) fn waited_in_vain(limit: Duration, service: &str) -> Self {
        let detail = format!(
            "No replica was free within {} seconds (load_balancer.queue.timeout_seconds). Use \"sky serve status \
             {service}\" to check the replica status.",
            limit.as_secs_f64()
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Outcome::Shed, detail)
    }

    pub(super) fn unauthorised() -> Self {
        let detail = "An API key is needed: \"Authorization: Bearer KEY\".".to_owned();
        Self::new(StatusCode::UNAUTHORIZED, Outcome::Rejected, detail)
    }

    pub(super) fn replica_failed(error: &str, repeatable: bool) -> Self {
        let repeated = if repeatable {
            "No other replica could answer."
        } else {
            "The request may have reached it, so it was not sent again."
        };
        let detail = format!("The replica failed before it answered ({error}). {repeated}");
        Self::new(StatusCode::BAD_GATEWAY, Outcome::ReplicaFailed, detail)
    }

    pub(super) fn refused() -> Self {
        let detail = "Every replica refused the request without looking at it.".to_owned();
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Outcome::ReplicaFailed,
            detail,
        )
    }

    pub(super) fn silent(limit: Duration) -> Self {
        let detail = format!(
            "The replica did not answer within {} seconds (load_balancer.stream_timeout_seconds).",
            limit.as_secs_f64()
        );
        Self::new(StatusCode::GATEWAY_TIMEOUT, Outcome::Silent, detail)
    }

    pub(super) fn slow_body(least: u64) -> Self {
        let detail = format!(
            "The body of the request came with less than {least} bytes per second \
             (load_balancer.min_upload_bytes_per_second)."
        );
        Self::new(StatusCode::REQUEST_TIMEOUT, Outcome::ClientSlow, detail)
    }

    pub(super) fn bad_body(failure: UploadFailure, limit: u64) -> Self {
        match failure {
            UploadFailure::Incomplete => {
                let detail = "The body of the request ended early.".to_owned();
                Self::new(StatusCode::BAD_REQUEST, Outcome::ClientGone, detail)
            }
            UploadFailure::TooLarge => {
                let detail = format!(
                    "The body of the request has more than {limit} bytes \
                     (load_balancer.max_request_body_bytes)."
                );
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, Outcome::Rejected, detail)
            }
        }
    }

    pub(super) fn rejected(status: StatusCode, detail: &str) -> Self {
        let detail = format!("Bad request: {detail}.");
        Self::new(status, Outcome::Rejected, detail)
    }

    pub(super) fn into_response(
        self,
        form: Form,
        mut record: RequestRecord,
    ) -> Response<AnswerBody> {
        record.outcome(self.outcome);
        if form == Form::Grpc {
            record.answered(StatusCode::OK.as_u16());
            return self.into_grpc();
        }
        record.answered(self.status.as_u16());
        let text = Bytes::from(json!({ "detail": self.detail }).to_string());
        let length = text.len() as u64;
        let body = (form == Form::Json).then_some(text);
        record.sent(body.as_ref().map_or(0, |_| length));
        let mut response = Response::new(AnswerBody::own(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }

    /// A head that is the whole answer.
    fn into_grpc(self) -> Response<AnswerBody> {
        let mut response = Response::new(AnswerBody::own(None));
        let status = grpc::Status::of(self.status);
        *response.headers_mut() = grpc::status_fields(status, &self.detail);
        let kind = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}
