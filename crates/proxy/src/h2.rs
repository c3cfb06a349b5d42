//! The path of requests that come or go over HTTP/2, on top of hyper: from their head to the last byte of the answer.
//!
//! Phases: check and rewrite the head (`headers`), choose a replica and count the request there
//! ([`crate::endpoint`]), send it (`attempt`) in HTTP/1.1 or HTTP/2 as the table says (`pool`), choose again where that is
//! harmless, pass the answer on while it comes (`replica_body`).
//!
//! # When a request is sent again
//!
//! As on the path of HTTP/1.1 ([`crate::h1`]), but for bodies:
//!
//! | what failed | sent again |
//! |---|---|
//! | no connection to the replica, or one closed before a byte was written | any request |
//! | the replica refused the stream, or left before it (RFC 9113 section 8.7) | any request whose body came to 64 KiB at most so far |
//! | the replica may have read it, no head of an answer came | idempotent methods without a body |
//! | silence for the stream timeout | never: 504 |
//! | the head of the answer was passed on | never: the client's stream is reset |
//!
//! # gRPC
//!
//! A request of gRPC gets the proxy's own answers as a status (`grpc`): 14 where others get 502 or 503, 4 for 504. An answer
//! that breaks off ends with such a status, too.

mod answer;
mod attempt;
mod body_channel;
mod client_stream;
mod grpc;
mod headers;
mod pool;
mod queue;
mod replica_body;
mod request_body;
mod serve;

use std::convert::Infallible;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use plan::routing::ReplicaId;
use spec::ReplicaProtocol;

pub(crate) use self::answer::AnswerBody;
pub(crate) use self::body_channel::{BodySender, body_channel};
pub(crate) use self::pool::Pool;
pub(crate) use self::request_body::{ClientBody, UploadProgress};
pub(crate) use self::serve::serve;

use self::answer::Form;
use self::attempt::{Failure, Outgoing, Reply, attempt};
use self::client_stream::ClientStream;
use self::headers::Head;
use self::replica_body::{ReplicaBody, Silence};
use self::request_body::{Upload, UploadFailure};
use crate::endpoint::{Affinity, Endpoint};
use crate::lease::Lease;
use crate::log::RequestRecord;
use crate::own_answer::OwnAnswer;
use crate::peer::Peer;
use crate::split::Wish;

/// Attempts per request, on replicas that take no connection included.
const MAX_ATTEMPTS: usize = 8;
/// How often a request that may have reached a replica is sent again.
const MAX_REPLAYS: usize = 2;

/// Answers one request that came over HTTP/2.
fn forward(
    endpoint: &Rc<Endpoint>,
    peer: Peer,
    request: Request<Incoming>,
    mut stream: ClientStream,
) -> impl Future<Output = Result<Response<AnswerBody>, Infallible>> + use<> {
    let endpoint = Rc::clone(endpoint);
    let (parts, body) = request.into_parts();
    async move {
        let body = ClientBody::Http2(body);
        let mut answer = forward_parts(&endpoint, &peer, parts, body).await;
        stream.answered();
        answer.body_mut().hold(stream);
        Ok(answer)
    }
}

/// Answers one request, whatever it came over. Whatever happens is an answer or, once the answer has begun, an error of its
/// body, upon which the client's connection or stream must end as a failure. The arrival is counted and the access line
/// written here; the line when the body of the answer is dropped.
///
/// `parts` are as the client sent them; what is allowed in its version of HTTP has been checked.
pub(crate) async fn forward_parts(
    endpoint: &Rc<Endpoint>,
    peer: &Peer,
    mut parts: Parts,
    body: ClientBody,
) -> Response<AnswerBody> {
    let target = parts.uri.path().as_bytes();
    let mut record = RequestRecord::start(endpoint, parts.method.as_str().as_bytes(), target);
    let is_grpc = grpc::is_grpc(&parts.headers);
    let form = match &parts.method {
        _ if is_grpc => Form::Grpc,
        &Method::HEAD => Form::HeadOnly,
        _ => Form::Json,
    };
    let view = endpoint.view();
    let limit = view.published.settings.max_request_body_bytes;
    if !headers::admit(&mut parts.headers, view.published.keys.as_ref()) {
        return OwnAnswer::unauthorised().into_response(form, record);
    }
    let affinity = match &view.published.ring {
        Some(_) => headers::session(&parts.headers, &view.published.settings.session_affinity),
        None => None,
    };
    let groups = view.published.groups.as_ref();
    let is_wished = groups.is_some_and(|groups| headers::is_wished(&parts.headers, groups));
    let protocol = match parts.version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_11 => "HTTP/1.1",
        _ => "HTTP/2.0",
    };
    let head = match Head::of(parts, peer, !body.is_empty()) {
        Ok(head) => head,
        Err(rejection) => return rejection.into_answer().into_response(form, record),
    };
    record.identify(protocol, head.request_id());
    endpoint.record_arrival(record.started());
    if body.announced_bytes() > limit {
        let answer = OwnAnswer::bad_body(UploadFailure::TooLarge, limit);
        return answer.into_response(form, record);
    }
    let outgoing = Outgoing {
        head,
        upload: Upload::new(body, limit),
        is_http2: match view.published.table.load_balancer.replica_protocol {
            ReplicaProtocol::Auto => is_grpc,
            ReplicaProtocol::Http1 => false,
            ReplicaProtocol::H2c => true,
        },
        may_pause: is_grpc,
    };
    drop(view);
    let wish = Wish {
        side: endpoint.side(is_wished, affinity),
        affinity: affinity.map_or(Affinity::None, Affinity::Session),
    };
    record.goes_to(wish.side);
    let upload = outgoing.upload.as_ref();
    record.watch_upload(upload.map(|upload| Arc::clone(upload.progress())));
    match route(endpoint, &outgoing, wish, &mut record).await {
        Ok((lease, reply)) => finish(endpoint, lease, reply, outgoing.upload, form, record),
        Err(answer) => {
            if let Some(upload) = &outgoing.upload {
                upload.close();
            }
            answer.into_response(form, record)
        }
    }
}

/// What the attempts at one request have come to.
#[derive(Default)]
struct Attempts {
    /// Replicas that failed.
    tried: Vec<ReplicaId>,
    /// Replicas that refused the request: each is asked once more, after the others.
    refused: Vec<ReplicaId>,
    no_kept_connections: bool,
    replays: usize,
    /// What the last replica that may have read the request failed with.
    reached: Option<String>,
    /// Where it stood in the line.
    place: Option<u64>,
    /// Attempts since it last stood there.
    count: usize,
}

impl Attempts {
    fn select(&self, endpoint: &Endpoint, wish: Wish<'_>) -> Option<Lease> {
        let is_first = self.tried.is_empty() && self.refused.is_empty();
        // Who comes while others wait stands behind them.
        if is_first && endpoint.service.line.len() > 0 {
            return None;
        }
        if !self.refused.is_empty() {
            let avoided = [&self.tried[..], &self.refused[..]].concat();
            if let Some(lease) = endpoint.select(&avoided, wish) {
                return Some(lease);
            }
        }
        endpoint.select(&self.tried, wish)
    }

    /// Takes note of a failure; an answer where it is the last.
    fn note(
        &mut self,
        failure: Failure,
        endpoint: &Endpoint,
        lease: &Lease,
        outgoing: &Outgoing,
    ) -> Result<(), OwnAnswer> {
        let replica = lease.upstream().replica_id;
        match failure {
            Failure::NotConnected { error } => {
                lease.failed(&error);
                self.tried.push(replica);
            }
            // The connection was stale, which says nothing of the replica.
            Failure::Unsent => self.no_kept_connections = true,
            Failure::Refused { .. } if self.refused.contains(&replica) => {
                self.tried.push(replica);
            }
            Failure::Refused { .. } => self.refused.push(replica),
            Failure::Lost {
                error,
                kept_connection,
            } => {
                if kept_connection {
                    self.no_kept_connections = true;
                } else {
                    lease.failed(&error);
                    self.tried.push(replica);
                }
                let may_repeat = outgoing.is_repeatable() && self.replays < MAX_REPLAYS;
                // The budget spares replicas that fail; one that has closed a connection has not.
                if !may_repeat || !(kept_connection || endpoint.may_retry()) {
                    return Err(OwnAnswer::replica_failed(&error, outgoing.is_repeatable()));
                }
                self.reached = Some(error);
                self.replays += 1;
            }
            Failure::Silent => {
                lease.report_failure("no answer within the stream timeout");
                return Err(OwnAnswer::silent(lease.stream_timeout()));
            }
            Failure::ClientSlow => {
                let least = lease.settings().min_upload_bytes_per_second;
                return Err(OwnAnswer::slow_body(least));
            }
            Failure::Body(failure) => {
                let limit = lease.settings().max_request_body_bytes;
                return Err(OwnAnswer::bad_body(failure, limit));
            }
        }
        if outgoing.is_whole() {
            Ok(())
        } else {
            Err(OwnAnswer::refused_by_all())
        }
    }
}

/// Sends the request to a replica, and to others as long as that is needed and harmless.
async fn route(
    endpoint: &Endpoint,
    outgoing: &Outgoing,
    wish: Wish<'_>,
    record: &mut RequestRecord,
) -> Result<(Lease, Reply), OwnAnswer> {
    let mut attempts = Attempts::default();
    while attempts.count < MAX_ATTEMPTS {
        let lease = match attempts.select(endpoint, wish) {
            Some(lease) => lease,
            None if attempts.reached.is_some() || !attempts.refused.is_empty() => break,
            None => {
                record.waits();
                let (tried, place) = (&mut attempts.tried, &mut attempts.place);
                let waited = queue::wait(endpoint, wish, record.started(), tried, place).await;
                record.waited();
                attempts.count = 0;
                waited?
            }
        };
        attempts.count += 1;
        record.attempt(lease.upstream());
        let kept_connections = !attempts.no_kept_connections;
        match attempt(&endpoint.pool, &lease, outgoing, kept_connections).await {
            Ok(reply) => return Ok((lease, reply)),
            Err(failure) => attempts.note(failure, endpoint, &lease, outgoing)?,
        }
    }
    Err(match attempts.reached {
        Some(error) => OwnAnswer::replica_failed(&error, outgoing.is_repeatable()),
        None if !attempts.refused.is_empty() => OwnAnswer::refused_by_all(),
        None => OwnAnswer::no_replica(endpoint.service.name()),
    })
}

/// Turns the reply of a replica into the answer to the client.
fn finish(
    endpoint: &Rc<Endpoint>,
    lease: Lease,
    reply: Reply,
    upload: Option<Rc<Upload>>,
    form: Form,
    mut record: RequestRecord,
) -> Response<AnswerBody> {
    if reply.response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let error = "it switched protocols without being asked";
        return OwnAnswer::replica_failed(error, false).into_response(form, record);
    }
    if let Some(upload) = &upload {
        upload.settle();
    }
    let (mut parts, incoming) = reply.response.into_parts();
    headers::clean_answer(&mut parts);
    record.answered(parts.status.as_u16());
    lease.answered(parts.status.as_u16());
    let body = ReplicaBody {
        incoming,
        carrier: Some(reply.carrier),
        endpoint: Rc::clone(endpoint),
        lease,
        record,
        upload,
        is_grpc: form == Form::Grpc && grpc::is_grpc(&parts.headers),
        silence: Silence::default(),
        ended: false,
        given: None,
    };
    Response::from_parts(parts, AnswerBody::replica(body))
}
