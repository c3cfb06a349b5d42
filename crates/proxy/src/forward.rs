//! The life of one request, from its head at the client's connection to the last byte of the
//! answer.
//!
//! Phases: check and rewrite the head (`headers`), choose a replica and count the request there
//! ([`crate::routing`]), send it (`attempt`), choose again where that is harmless, pass the
//! answer on while it comes (`answer`), or join both connections after an upgrade (`upgrade`).
//!
//! # When a request is sent again
//!
//! | what failed | sent again |
//! |---|---|
//! | no connection to the replica | any request, to another replica |
//! | a kept connection was closed before a byte was written | any request, on a new connection |
//! | the replica may have read it, no head of an answer came | idempotent methods without a body |
//! | silence for the stream timeout | never: 504 |
//! | the head of the answer was passed on | never: the client's connection is cut |

mod answer;
mod attempt;
mod headers;
mod request_body;
mod upgrade;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use plan::routing::ReplicaId;
use tokio_util::task::TaskTracker;

pub(crate) use self::answer::AnswerBody;
pub(crate) use self::request_body::{RequestBody, UploadProgress};

use self::answer::OwnAnswer;
use self::attempt::{Failure, Reply, attempt};
use crate::client_stream::HalfClose;
use crate::lease::Lease;
use crate::log::{LogSender, RequestRecord};
use crate::pool::Pool;
use crate::routing::Service;

/// Attempts per request, on replicas that take no connection included.
const MAX_ATTEMPTS: usize = 8;
/// How often a request that may have reached a replica is sent again.
const MAX_REPLAYS: usize = 2;

/// One service as one thread serves it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) service: Arc<Service>,
    pub(crate) pool: Pool,
    pub(crate) logs: LogSender,
    /// Everything that must end before the thread may.
    pub(crate) tasks: TaskTracker,
}

/// One connection of a client.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) peer: IpAddr,
    pub(crate) half_close: Arc<HalfClose>,
    /// Whether a request has been read from it yet.
    pub(crate) used: AtomicBool,
}

/// Answers one request. Whatever happens is an answer or, once the answer has begun, the end of the
/// connection.
///
/// The record and the half-close are settled before the future is first polled: the end of the
/// client's sending may be read in the same turn as the head, and drop the future unpolled.
pub(crate) fn forward(
    client: Arc<ClientConnection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<AnswerBody>, Infallible>> {
    client.used.store(true, Ordering::Relaxed);
    if headers::is_last_request(&request) {
        client.half_close.expect_no_more_requests();
    }
    let endpoint = &client.endpoint;
    let record = RequestRecord::start(&endpoint.logs, endpoint.service.name(), &request);
    async move { Ok(respond(&client, request, record).await) }
}

async fn respond(
    client: &ClientConnection,
    mut request: Request<Incoming>,
    mut record: RequestRecord,
) -> Response<AnswerBody> {
    let endpoint = &client.endpoint;
    let wants_upgrade = headers::wants_upgrade(&request);
    let client_upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    if let Err(rejection) =
        headers::prepare_request(&mut parts, client.peer, has_body, wants_upgrade)
    {
        return rejection.into_answer(record);
    }
    let body = RequestBody::new(body, &client.half_close);
    record.watch_upload(body.progress());
    endpoint.service.record_arrival();

    let request = Request::from_parts(parts, body);
    match route(endpoint, request, &mut record).await {
        Ok((lease, reply)) => finish(endpoint, lease, reply, record, client_upgrade),
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
        let Some(lease) = endpoint.service.select(&tried) else {
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
    endpoint: &Arc<Endpoint>,
    lease: Lease,
    mut reply: Reply,
    mut record: RequestRecord,
    client_upgrade: Option<OnUpgrade>,
) -> Response<AnswerBody> {
    if reply.response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client_upgrade) = client_upgrade else {
            let error = "the replica switched protocols without being asked";
            return OwnAnswer::replica_failed(error, false).into_response(record);
        };
        record.answered(StatusCode::SWITCHING_PROTOCOLS);
        let replica_upgrade = hyper::upgrade::on(&mut reply.response);
        let answer = headers::upgrade_answer(reply.response.into_parts().0);
        upgrade::join(
            &endpoint.tasks,
            client_upgrade,
            replica_upgrade,
            lease,
            record,
        );
        return answer;
    }
    let (mut parts, body) = reply.response.into_parts();
    headers::clean_answer(&mut parts);
    record.answered(parts.status);
    let body = answer::ReplicaBody::new(body, reply.sender, Arc::clone(endpoint), lease, record);
    Response::from_parts(parts, AnswerBody::Replica(Box::new(body)))
}
