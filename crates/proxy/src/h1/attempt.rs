//! Gives a request to a replica, and to others as long as that is needed and harmless.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use plan::routing::ReplicaId;

use super::connection::{Client, Then};
use super::exchange::{End, Exchange};
use super::preference::Preference;
use super::request::Request;
use super::translate;
use super::tunnel::Tunnel;
use crate::deadline::coarse_now;
use crate::endpoint::{Endpoint, REFUSED_PAUSE};
use crate::lease::Lease;
use crate::log::{Outcome, RequestRecord};
use crate::own_answer::OwnAnswer;
use crate::routing::View;
use crate::stream::Stream;
use crate::upstream::connect;

/// Attempts at one request, on replicas that take no connection included, before it waits in line.
const MAX_ATTEMPTS: usize = 8;
/// How often a request that may have reached a replica is sent again.
const MAX_REPLAYS: usize = 2;
/// How often who waits is looked at, where no event would tell that the client has left.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What the attempts at one request have come to.
struct Attempts {
    /// Since it waited last.
    count: usize,
    /// The number of its place in the line, if it had one.
    place: Option<u64>,
    tried: Vec<ReplicaId>,
    /// A replica that failed on a kept connection, which says little of it.
    last_resort: Option<ReplicaId>,
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
    request: &Request,
    endpoint: &Rc<Endpoint>,
) -> Then {
    if request.is_raw {
        return Box::pin(translate::answer(client, request, endpoint)).await;
    }
    let mut record = RequestRecord::start(endpoint, request.method_text(), request.target());
    let protocol = if request.is_1_1 {
        "HTTP/1.1"
    } else {
        "HTTP/1.0"
    };
    record.identify(protocol, request.request_id());
    record.received(request.body_bytes);
    let mut attempts = Attempts {
        count: 0,
        place: None,
        tried: Vec::new(),
        last_resort: None,
        kept_connections: true,
        replays: 0,
        reached: None,
        request_read: request.body.has_ended(),
    };
    let answer = match refuse(request, endpoint) {
        Some(answer) => answer,
        None => {
            endpoint.record_arrival(record.started());
            let preference = Preference::of(client, request, endpoint).await;
            record.goes_to(preference.side);
            match run(
                client,
                request,
                endpoint,
                &preference,
                &mut record,
                &mut attempts,
            )
            .await
            {
                Ok(then) => return then,
                Err(answer) => answer,
            }
        }
    };
    Box::pin(client.answer(&answer, request, attempts.request_read, &mut record)).await
}

/// What is answered without asking a replica.
fn refuse(request: &Request, endpoint: &Endpoint) -> Option<OwnAnswer> {
    if !request.is_admitted {
        return Some(OwnAnswer::unauthorised());
    }
    let limit = endpoint.view().published.settings.max_request_body_bytes;
    let announced = request.content_length.unwrap_or(request.body_bytes);
    (announced > limit).then(|| OwnAnswer::too_large(limit))
}

/// Tries until the client has an answer, or says what the proxy is to answer.
async fn run<S: Stream>(
    client: &mut Client<S>,
    request: &Request,
    endpoint: &Rc<Endpoint>,
    preference: &Preference,
    record: &mut RequestRecord,
    attempts: &mut Attempts,
) -> Result<Then, OwnAnswer> {
    loop {
        let lease = match attempts.select(endpoint, preference) {
            Some(lease) => lease,
            None if attempts.reached.is_some() => break,
            None => {
                let waited = wait(client, request, endpoint, preference, record, attempts);
                match Box::pin(waited).await {
                    Waited::Lease(lease) => lease,
                    Waited::Gone => {
                        record.outcome(Outcome::ClientGone);
                        return Ok(Then::Close);
                    }
                    Waited::Vain(answer) => return Err(answer),
                }
            }
        };
        attempts.count += 1;
        match attempt(client, request, endpoint, lease, record, attempts).await {
            Next::Done(then) => return Ok(then),
            Next::Answer(answer) => return Err(answer),
            Next::Again => {}
            Next::Enough => break,
        }
    }
    Err(match &attempts.reached {
        Some(error) => OwnAnswer::replica_failed(error, request.is_repeatable()),
        None => OwnAnswer::no_replica(endpoint.service.name()),
    })
}

impl Attempts {
    /// A replica that was not tried; the one whose kept connection failed, only when there is no other.
    fn select(&mut self, endpoint: &Endpoint, preference: &Preference) -> Option<Lease> {
        // Who comes while others wait stands behind them.
        let is_new = self.count == 0 && self.place.is_none();
        if self.count == MAX_ATTEMPTS || (is_new && endpoint.service.line.len() > 0) {
            return None;
        }
        if let Some(lease) = endpoint.select(&self.tried, preference.wish()) {
            return Some(lease);
        }
        let last_resort = self.last_resort.take()?;
        self.tried.retain(|replica| *replica != last_resort);
        endpoint.select(&self.tried, preference.wish())
    }
}

/// What came of waiting in line.
enum Waited {
    Lease(Lease),
    /// The client went away.
    Gone,
    Vain(OwnAnswer),
}

/// Waits for a replica. Those that were tried a moment ago are asked again after a pause.
async fn wait<S: Stream>(
    client: &mut Client<S>,
    request: &Request,
    endpoint: &Endpoint,
    preference: &Preference,
    record: &mut RequestRecord,
    attempts: &mut Attempts,
) -> Waited {
    let view = endpoint.view();
    let settings = &view.published.settings;
    let vain = || {
        let name = endpoint.service.name();
        Waited::Vain(OwnAnswer::waited_in_vain(settings.queue_timeout, name))
    };
    let line = &endpoint.service.line;
    let place = match attempts.place {
        Some(number) => line.enter_again(number),
        None => match line.enter(settings.queue_requests) {
            Some(place) => place,
            None => return Waited::Vain(turned_away(&view)),
        },
    };
    attempts.place = Some(place.number());
    attempts.count = 0;
    let waited = Duration::from_micros(coarse_now().saturating_sub(record.started()));
    let until = after(settings.queue_timeout.saturating_sub(waited));
    let again_at = after(match attempts.tried.is_empty() {
        true => Duration::ZERO,
        false => REFUSED_PAUSE,
    });
    record.waits();
    let is_last = !request.keep_alive;
    let waited = poll_fn(|context| {
        if place.is_first(context.waker()) {
            if endpoint.service.epoch() != view.epoch || coarse_now() >= again_at {
                attempts.tried.clear();
            }
            if let Some(lease) = endpoint.select(&attempts.tried, preference.wish()) {
                return Poll::Ready(Waited::Lease(lease));
            }
        }
        if client.poll_gone(is_last, context) || client.has_left_unread(is_last) {
            return Poll::Ready(Waited::Gone);
        }
        if endpoint.has_closed() {
            return Poll::Ready(Waited::Vain(OwnAnswer::closed()));
        }
        let left = until.saturating_sub(coarse_now());
        if left == 0 {
            return Poll::Ready(vain());
        }
        client
            .deadline
            .set(LOOK_INTERVAL.min(Duration::from_micros(left)));
        // It has not struck; this is for being woken when it does.
        let _ = client.deadline.has_struck(context);
        Poll::Pending
    })
    .await;
    record.waited();
    waited
}

/// The coarse time that is `span` from now.
fn after(span: Duration) -> u64 {
    let span = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    coarse_now().saturating_add(span)
}

/// What is answered where there is no place in the line.
fn turned_away(view: &View) -> OwnAnswer {
    let settings = &view.published.settings;
    if settings.queue_requests > 0 {
        return OwnAnswer::queue_full(settings.queue_requests);
    }
    let limit = settings.max_requests_per_replica;
    let mut loads = view.published.loads.iter();
    if loads.any(|load| load.in_flight() >= limit) {
        OwnAnswer::all_busy(limit)
    } else {
        OwnAnswer::no_replica(view.service.name())
    }
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
        None => match Box::pin(connect(upstream.address, lease.settings().connect_timeout)).await {
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
        return Box::pin(run_tunnel(tunnel, record)).await;
    }
    let state = Failed {
        is_kept,
        has_sent: exchange.has_sent(),
        has_answered: exchange.has_answered(),
        looks_complete: exchange.has_answered() && exchange.ends_with_connection(),
    };
    drop(exchange);
    after_failure(end, &state, request, endpoint, &lease, record, attempts)
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
    endpoint: &Endpoint,
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
        End::Broken { error } => {
            return after_broken(error, failed, request, endpoint, lease, attempts);
        }
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
    endpoint: &Endpoint,
    lease: &Lease,
    attempts: &mut Attempts,
) -> Next {
    let replica = lease.upstream().replica_id;
    // A kept connection that is dead says nothing of the replica.
    if failed.is_kept {
        attempts.kept_connections = false;
        if !failed.has_sent {
            return Next::Again;
        }
        attempts.last_resort = Some(replica);
    } else {
        lease.failed(&error);
    }
    attempts.tried.push(replica);
    if !failed.has_sent {
        return Next::Again;
    }
    attempts.reached = Some(error);
    let may_repeat = request.is_repeatable() && attempts.replays < MAX_REPLAYS;
    // The budget spares replicas that fail; one that has closed a connection has not.
    if !may_repeat || !(failed.is_kept || endpoint.may_retry()) {
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
