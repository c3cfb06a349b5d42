//! Gives a request to a replica, and to others as long as that is needed and harmless.

use std::future::poll_fn;
use std::rc::Rc;

use plan::routing::ReplicaId;

use super::answer::OwnAnswer;
use super::connection::{Client, Then};
use super::exchange::{End, Exchange};
use super::request::Request;
use super::tunnel::Tunnel;
use crate::endpoint::Endpoint;
use crate::lease::Lease;
use crate::log::{Outcome, RequestRecord};
use crate::stream::Stream;
use crate::upstream::connect;

/// Attempts per request, on replicas that take no connection included.
const MAX_ATTEMPTS: usize = 8;
/// How often a request that may have reached a replica is sent again.
const MAX_REPLAYS: usize = 2;

/// What the attempts at one request have come to.
struct Attempts {
    tried: Vec<ReplicaId>,
    kept_connections: bool,
    replays: usize,
    /// What the last replica that may have read the request failed with.
    reached: Option<String>,
    /// Whether the whole request has been read from the client.
    request_read: bool,
}

/// What to do after an attempt.
enum Next {
    /// The client has what it gets of the proxy's doing.
    Done(Then),
    /// An answer of the proxy's own.
    Answer(OwnAnswer),
    /// Try again.
    Again,
    /// No more attempts.
    Enough,
}

/// Answers one request. Whatever happens is an answer or, once the answer has begun, the end of the connection.
pub(super) async fn answer<S: Stream>(
    client: &mut Client<S>,
    request: Request,
    endpoint: &Rc<Endpoint>,
) -> Then {
    let mut record = RequestRecord::start(endpoint, request.method_text(), request.target());
    record.received(request.body_bytes);
    endpoint.record_arrival(record.started());
    let mut attempts = Attempts {
        tried: Vec::new(),
        kept_connections: true,
        replays: 0,
        reached: None,
        request_read: request.body.has_ended(),
    };
    for _ in 0..MAX_ATTEMPTS {
        let Some(lease) = endpoint.select(&attempts.tried) else {
            break;
        };
        match attempt(
            client,
            &request,
            endpoint,
            lease,
            &mut record,
            &mut attempts,
        )
        .await
        {
            Next::Done(then) => return then,
            Next::Answer(answer) => {
                return client
                    .answer(&answer, &request, attempts.request_read, &mut record)
                    .await;
            }
            Next::Again => {}
            Next::Enough => break,
        }
    }
    let answer = match &attempts.reached {
        Some(error) => OwnAnswer::replica_failed(error, request.is_repeatable()),
        None => OwnAnswer::no_replica(endpoint.service.name()),
    };
    client
        .answer(&answer, &request, attempts.request_read, &mut record)
        .await
}

async fn attempt<S: Stream>(
    client: &mut Client<S>,
    request: &Request,
    endpoint: &Rc<Endpoint>,
    lease: Lease,
    record: &mut RequestRecord,
    attempts: &mut Attempts,
) -> Next {
    let upstream = lease.upstream();
    record.attempt(upstream);
    let kept = if attempts.kept_connections {
        endpoint.idle.take(upstream, request.is_repeatable())
    } else {
        None
    };
    let is_kept = kept.is_some();
    let stream = match kept {
        Some(stream) => stream,
        None => match connect(upstream.address, lease.settings().connect_timeout).await {
            Ok(stream) => stream,
            Err(error) => {
                lease.failed(&format!("cannot connect to {}: {error}", upstream.address));
                attempts.tried.push(upstream.replica_id);
                return Next::Again;
            }
        },
    };
    let mut exchange = Exchange::new(client, request, endpoint, &lease, record, stream);
    let end = poll_fn(|context| exchange.poll(context)).await;
    attempts.request_read = exchange.has_read_request();
    if let End::Complete { reusable } = end {
        let (close, read) = (exchange.close, exchange.has_read_request());
        let (_, stream, ..) = exchange.into_parts();
        record.outcome(Outcome::Completed);
        if reusable && !lease.is_retired() {
            endpoint.idle.put(upstream, stream);
        }
        return Next::Done(after_answer(close, read));
    }
    if let End::Switched = end {
        let (client, stream, input, head) = exchange.into_parts();
        let tunnel = Tunnel::new(client, stream, input, head);
        return run_tunnel(tunnel, record).await;
    }
    let state = Failed {
        is_kept,
        has_sent: exchange.has_sent(),
        has_answered: exchange.has_answered(),
        looks_complete: exchange.has_answered() && exchange.ends_with_connection(),
    };
    drop(exchange);
    after_failure(end, &state, request, &lease, record, attempts)
}

/// What is done with the client's connection once it has its whole answer.
fn after_answer(close: bool, request_read: bool) -> Then {
    match (close, request_read) {
        (_, false) => Then::Linger,
        (true, true) => Then::Close,
        (false, true) => Then::Next,
    }
}

/// In what state an exchange failed.
struct Failed {
    is_kept: bool,
    has_sent: bool,
    has_answered: bool,
    /// Whether the client would take the end of the connection for the end of the answer.
    looks_complete: bool,
}

fn after_failure(
    end: End,
    failed: &Failed,
    request: &Request,
    lease: &Lease,
    record: &mut RequestRecord,
    attempts: &mut Attempts,
) -> Next {
    let cut = if failed.looks_complete {
        Then::Reset
    } else {
        Then::Close
    };
    let (outcome, answer) = match end {
        End::Broken { error } if failed.has_answered => {
            lease.report_failure(&error);
            record.outcome(Outcome::ReplicaFailed);
            return Next::Done(cut);
        }
        End::Broken { error } => return after_broken(error, failed, request, lease, attempts),
        End::Silent if failed.has_answered => {
            lease.report_failure("silent within its answer for the stream timeout");
            (Outcome::Silent, None)
        }
        End::Silent => {
            lease.report_failure("no answer within the stream timeout");
            (
                Outcome::Silent,
                Some(OwnAnswer::silent(lease.stream_timeout())),
            )
        }
        End::SlowUpload => {
            let least = lease.settings().min_upload_bytes_per_second;
            (Outcome::ClientSlow, Some(OwnAnswer::slow_body(least)))
        }
        End::TooLarge => {
            let limit = lease.settings().max_request_body_bytes;
            (Outcome::Rejected, Some(OwnAnswer::too_large(limit)))
        }
        End::Refused(refusal) => (Outcome::Rejected, Some(OwnAnswer::refused(refusal))),
        End::Incomplete => (Outcome::ClientGone, Some(OwnAnswer::incomplete_request())),
        End::SlowDownload => (Outcome::ClientSlow, None),
        End::ClientGone | End::Complete { .. } | End::Switched => (Outcome::ClientGone, None),
    };
    match answer.filter(|_| !failed.has_answered) {
        Some(answer) => Next::Answer(answer),
        None => {
            record.outcome(outcome);
            Next::Done(cut)
        }
    }
}

/// The replica failed before it answered.
fn after_broken(
    error: String,
    failed: &Failed,
    request: &Request,
    lease: &Lease,
    attempts: &mut Attempts,
) -> Next {
    // A kept connection that is dead says nothing of the replica.
    if failed.is_kept {
        attempts.kept_connections = false;
    } else {
        lease.failed(&error);
        attempts.tried.push(lease.upstream().replica_id);
    }
    if !failed.has_sent {
        return Next::Again;
    }
    attempts.reached = Some(error);
    if !request.is_repeatable() || attempts.replays == MAX_REPLAYS {
        return Next::Enough;
    }
    attempts.replays += 1;
    Next::Again
}

async fn run_tunnel<S: Stream>(mut tunnel: Tunnel<'_, S>, record: &mut RequestRecord) -> Next {
    let ended = poll_fn(|context| tunnel.poll(context)).await;
    record.received(tunnel.carried.from_client);
    record.sent(tunnel.carried.from_replica);
    record.outcome(if ended.is_ok() {
        Outcome::Completed
    } else {
        Outcome::Cut
    });
    Next::Done(Then::Close)
}
