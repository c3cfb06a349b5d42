//! The path of requests that come over HTTP/2, on top of hyper: from their head to the last byte of the answer.
//!
//! Phases: check and rewrite the head (`headers`), choose a replica and count the request there
//! ([`crate::endpoint`]), send it (`attempt`), choose again where that is harmless, pass the answer on while it comes
//! (`answer`). When a request is sent again is the same as on the path of HTTP/1.1 ([`crate::h1`]), but that a body, once
//! begun, is never sent again.

mod answer;
mod attempt;
mod headers;
mod pool;
mod request_body;
mod serve;

use std::convert::Infallible;
use std::future::Future;
use std::rc::Rc;

use hyper::body::{Body, Incoming};
use hyper::{Request, Response, StatusCode};
use plan::routing::ReplicaId;

pub(crate) use self::pool::Pool;
pub(crate) use self::request_body::UploadProgress;
pub(crate) use self::serve::serve;

use self::answer::{AnswerBody, OwnAnswer};
use self::attempt::{Failure, Reply, attempt};
use self::request_body::RequestBody;
use crate::endpoint::{Affinity, Endpoint};
use crate::lease::Lease;
use crate::log::RequestRecord;
use crate::peer::Peer;

/// Attempts per request, on replicas that take no connection included.
const MAX_ATTEMPTS: usize = 8;
/// How often a request that may have reached a replica is sent again.
const MAX_REPLAYS: usize = 2;

/// Answers one request. Whatever happens is an answer or, once the answer has begun, the end of the stream.
fn forward(
    endpoint: &Rc<Endpoint>,
    peer: Peer,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<AnswerBody>, Infallible>> + use<> {
    let endpoint = Rc::clone(endpoint);
    let target = request.uri().path().as_bytes();
    let record = RequestRecord::start(&endpoint, request.method().as_str().as_bytes(), target);
    async move { Ok(respond(&endpoint, &peer, request, record).await) }
}

async fn respond(
    endpoint: &Rc<Endpoint>,
    peer: &Peer,
    request: Request<Incoming>,
    mut record: RequestRecord,
) -> Response<AnswerBody> {
    let (mut parts, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    if let Err(rejection) = headers::prepare_request(&mut parts, peer, has_body) {
        return rejection.into_answer(record);
    }
    let body = RequestBody::new(body);
    record.watch_upload(body.progress());
    endpoint.record_arrival(record.started());

    let request = Request::from_parts(parts, body);
    match route(endpoint, request, &mut record).await {
        Ok((lease, reply)) => finish(endpoint, lease, reply, record),
        Err(answer) => answer.into_response(record),
    }
}

/// Sends the request to a replica, and to others as long as that is needed and harmless.
async fn route(
    endpoint: &Endpoint,
    mut request: Request<RequestBody>,
    record: &mut RequestRecord,
) -> Result<(Lease, Reply), OwnAnswer> {
    let copy = Repeatable::of(&request);
    let mut tried: Vec<ReplicaId> = Vec::new();
    let mut kept_connections = true;
    let mut replays = 0;
    let mut reached = None;
    for _ in 0..MAX_ATTEMPTS {
        let Some(lease) = endpoint.select(&tried, Affinity::None) else {
            break;
        };
        record.attempt(lease.upstream());
        let repeatable = copy.is_some();
        match attempt(
            &endpoint.pool,
            &lease,
            request,
            kept_connections,
            repeatable,
        )
        .await
        {
            Ok(reply) => return Ok((lease, reply)),
            Err(Failure::NotConnected {
                request: unsent,
                error,
            }) => {
                lease.failed(&error);
                tried.push(lease.upstream().replica_id);
                request = unsent;
            }
            // The connection was stale, which says nothing of the replica.
            Err(Failure::Unsent { request: unsent }) => {
                kept_connections = false;
                request = unsent;
            }
            Err(Failure::Lost {
                error,
                kept_connection,
            }) => {
                if kept_connection {
                    kept_connections = false;
                } else {
                    lease.failed(&error);
                    tried.push(lease.upstream().replica_id);
                }
                reached = Some(error);
                match &copy {
                    Some(copy) if replays < MAX_REPLAYS => request = copy.request(),
                    _ => break,
                }
                replays += 1;
            }
            Err(Failure::Silent) => {
                lease.report_failure("no answer within the stream timeout");
                return Err(OwnAnswer::silent(lease.stream_timeout()));
            }
            Err(Failure::ClientGone) => return Err(OwnAnswer::incomplete_request()),
        }
    }
    Err(match reached {
        Some(error) => OwnAnswer::replica_failed(&error, copy.is_some()),
        None => OwnAnswer::no_replica(endpoint.service.name()),
    })
}

/// The head of a request that may be sent again though a replica may have read it.
struct Repeatable {
    method: http::Method,
    uri: http::Uri,
    headers: http::HeaderMap,
}

impl Repeatable {
    fn of(request: &Request<RequestBody>) -> Option<Self> {
        let repeatable = request.body().is_end_stream() && headers::is_idempotent(request.method());
        repeatable.then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        })
    }

    fn request(&self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// Turns the reply of a replica into the answer to the client.
fn finish(
    endpoint: &Rc<Endpoint>,
    lease: Lease,
    reply: Reply,
    mut record: RequestRecord,
) -> Response<AnswerBody> {
    if reply.response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let error = "it switched protocols without being asked";
        return OwnAnswer::replica_failed(error, false).into_response(record);
    }
    let (mut parts, body) = reply.response.into_parts();
    headers::clean_answer(&mut parts);
    record.answered(parts.status.as_u16());
    let body = answer::ReplicaBody::new(body, reply.sender, Rc::clone(endpoint), lease, record);
    Response::from_parts(parts, AnswerBody::Replica(Box::new(body)))
}
