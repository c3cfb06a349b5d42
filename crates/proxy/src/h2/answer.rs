//! Answers to the client: a replica's, passed on as it comes, or one of the proxy's own.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::body::{Body, Frame, SizeHint};
use hyper::{Response, StatusCode};

use super::client_stream::ClientStream;
use super::grpc;
use super::replica_body::ReplicaBody;
use super::request_body::UploadFailure;
use crate::log::RequestRecord;
use crate::own_answer::{OwnAnswer, RETRY_AFTER_SECONDS};

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

impl OwnAnswer {
    /// For a body that is none.
    pub(super) fn bad_body(failure: UploadFailure, limit: u64) -> Self {
        match failure {
            UploadFailure::Incomplete => Self::incomplete_request(),
            UploadFailure::TooLarge => Self::too_large(limit),
        }
    }

    fn http_status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
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
        record.answered(self.status);
        let text = Bytes::from(self.json());
        let length = text.len() as u64;
        let body = (form == Form::Json).then_some(text);
        record.sent(body.as_ref().map_or(0, |_| length));
        let mut response = Response::new(AnswerBody::own(body));
        *response.status_mut() = self.http_status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        if self.status == 401 {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == 503 {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }

    /// A head that is the whole answer.
    fn into_grpc(self) -> Response<AnswerBody> {
        let mut response = Response::new(AnswerBody::own(None));
        let status = grpc::Status::of(self.http_status());
        *response.headers_mut() = grpc::status_fields(status, &self.detail);
        let kind = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}
