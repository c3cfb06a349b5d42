//! One connection of a client, from accept to close: one request after the other, until either side closes it.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http1::Refusal;

use super::attempt;
use super::exchange::flow_of;
use super::request::{Request, take_request};
use crate::buffer::{Input, Text};
use crate::deadline::Deadline;
use crate::endpoint::Endpoint;
use crate::log::RequestRecord;
use crate::own_answer::OwnAnswer;
use crate::peer::Peer;
use crate::stream::Stream;

/// What a client that speaks HTTP/2 without having been asked sends first (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// When the endpoint closes, a connection that has not sent anything yet may still do so for this long: its request is
/// probably on the way.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);
/// The same for one that has been used: what is already on the way is still answered, as the last one. Closing at once
/// would lose a request that cannot be sent again.
const NEXT_REQUEST_GRACE: Duration = Duration::from_millis(300);
/// The same where a request can be brought to the worker that serves next, so that nothing presses: a client that asks at
/// all often never meets an end that it was not told of.
const RELAYED_REQUEST_GRACE: Duration = Duration::from_secs(10);
/// How long an own answer may take to be written.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the beginning of a body is waited for, where the choice of a replica depends on it.
const GATHER_TIME: Duration = Duration::from_secs(2);
/// How long a client may go on sending what nobody reads, so that it comes to read the answer.
const LINGER_TIME: Duration = Duration::from_secs(5);

/// The client's side.
#[derive(Debug)]
pub(super) struct Client<S> {
    pub(super) stream: S,
    /// Read and not used yet: the beginning of a body, or the next request.
    pub(super) input: Input,
    pub(super) deadline: Deadline,
    /// Whether the client has ended its sending, and said so before.
    pub(super) has_ended: bool,
    peer: Peer,
    is_used: bool,
    is_in_grace: bool,
}

/// What becomes of a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The next request.
    Next,
    /// The end.
    Close,
    /// The end, after what the client still sends.
    Linger,
    /// An end that looks like a failure.
    Reset,
}

/// What comes from a client.
enum Incoming {
    Request(Request),
    /// What clients begin with that speak HTTP/2 and know that it is understood.
    Http2,
    /// Nothing more.
    End,
    Refused(Refusal),
    /// The head took too long.
    Slow,
}

/// Serves a connection. One that turns out to speak HTTP/2 is given back, with what was read from it.
//
// Not an `async fn`, which would keep its arguments beside what is made of them.
pub(crate) fn serve<S: Stream>(
    stream: S,
    peer: Peer,
    endpoint: &Rc<Endpoint>,
) -> impl Future<Output = Option<(S, Input)>> {
    let mut client = Client {
        stream,
        input: Input::default(),
        deadline: Deadline::new(),
        has_ended: false,
        peer,
        is_used: false,
        is_in_grace: false,
    };
    async move {
        loop {
            client.await_request(endpoint);
            let incoming = poll_fn(|context| client.poll_request(endpoint, context)).await;
            let then = match &incoming {
                // In boxes is what a connection does not need while it waits for a request: the task of a connection is as
                // large as its largest state, and most connections wait.
                Incoming::Request(request) => {
                    Box::pin(attempt::answer(&mut client, request, endpoint)).await
                }
                Incoming::Http2 => return Some((client.stream, client.input)),
                Incoming::End => Then::Close,
                Incoming::Refused(refusal) => {
                    let answer = OwnAnswer::refused(*refusal);
                    Box::pin(client.refuse(answer, endpoint)).await
                }
                Incoming::Slow => {
                    let limit = endpoint.view().published.settings.head_timeout;
                    let answer = OwnAnswer::slow_head(limit);
                    Box::pin(client.refuse(answer, endpoint)).await
                }
            };
            match then {
                Then::Next if !client.has_ended => continue,
                // What has come behind the last request would make closing discard the answer.
                Then::Next | Then::Close if client.input.is_empty() => {
                    Box::pin(client.farewell()).await;
                }
                Then::Next | Then::Close | Then::Linger => Box::pin(client.linger()).await,
                Then::Reset => client.stream.reset_on_close(),
            }
            return None;
        }
    }
}

impl<S: Stream> Client<S> {
    /// The next request may have begun to come behind the one before.
    fn await_request(&self, endpoint: &Endpoint) {
        let view = endpoint.view();
        let settings = &view.published.settings;
        self.deadline.set(if self.input.is_empty() {
            settings.idle_timeout
        } else {
            settings.head_timeout
        });
    }

    fn poll_request(&mut self, endpoint: &Endpoint, context: &mut Context<'_>) -> Poll<Incoming> {
        loop {
            if self.may_be_http2() {
                if self.input.len() >= HTTP2_PREFACE.len() {
                    return Poll::Ready(Incoming::Http2);
                }
            } else if !self.input.is_empty() {
                let view = endpoint.view();
                match take_request(&mut self.input, &self.peer, &view.published) {
                    Ok(None) => {}
                    Ok(Some(request)) => {
                        self.is_used = true;
                        return Poll::Ready(Incoming::Request(request));
                    }
                    Err(refusal) => return Poll::Ready(Incoming::Refused(refusal)),
                }
            }
            let was_empty = self.input.is_empty();
            match self.input.poll_fill(&mut self.stream, context) {
                Poll::Pending => break,
                Poll::Ready(Ok(read)) if read > 0 => {
                    if was_empty {
                        let head_timeout = endpoint.view().published.settings.head_timeout;
                        self.deadline.set(head_timeout);
                    }
                }
                Poll::Ready(_) => return Poll::Ready(Incoming::End),
            }
        }
        if endpoint.is_closing() && self.input.is_empty() {
            let view = endpoint.view();
            // Nobody is left to whom a request could be given: it would only wait here.
            if self.is_used && view.published.loads.is_empty() {
                return Poll::Ready(Incoming::End);
            }
            if !self.is_in_grace {
                self.is_in_grace = true;
                self.deadline.set(if view.published.leads_to_successor() {
                    RELAYED_REQUEST_GRACE.min(view.published.settings.idle_timeout)
                } else if self.is_used {
                    NEXT_REQUEST_GRACE
                } else {
                    FIRST_REQUEST_GRACE
                });
            }
        }
        match (self.deadline.has_struck(context), self.input.is_empty()) {
            (false, _) => Poll::Pending,
            (true, true) => Poll::Ready(Incoming::End),
            (true, false) => Poll::Ready(Incoming::Slow),
        }
    }

    /// Who it is.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether the connection may begin as one of HTTP/2 does, as far as it has come.
    fn may_be_http2(&self) -> bool {
        let length = self.input.len().min(HTTP2_PREFACE.len());
        !self.is_used
            && length > 0
            && self.input.bytes().get(..length) == HTTP2_PREFACE.get(..length)
    }

    /// Waits until so many bytes of a body have come, or no more come.
    pub(super) async fn gather(&mut self, bytes: usize) {
        self.deadline.set(GATHER_TIME);
        poll_fn(|context| {
            while self.input.len() < bytes && !self.input.is_full() {
                match self.input.poll_fill(&mut self.stream, context) {
                    Poll::Pending if !self.deadline.has_struck(context) => return Poll::Pending,
                    Poll::Ready(Ok(read)) if read > 0 => {}
                    // Whatever it is, it will be met again where the body is passed on.
                    _ => break,
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Watches the client while it has nothing to send; true when it has gone away. It may also send its next request
    /// early. `is_last`: the request announced itself as the last one, so that the end of the sending is none of the
    /// connection.
    pub(super) fn poll_gone(&mut self, is_last: bool, context: &mut Context<'_>) -> bool {
        while !self.has_ended && !self.input.is_full() {
            match self.input.poll_fill(&mut self.stream, context) {
                Poll::Pending => return false,
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(Ok(_)) if is_last => self.has_ended = true,
                Poll::Ready(_) => return true,
            }
        }
        false
    }

    /// Whether a client has left of which no more is read, because there is no room for it.
    pub(super) fn has_left_unread(&self, is_last: bool) -> bool {
        !is_last && self.input.is_full() && self.stream.has_ended()
    }

    /// Gives an answer of the proxy's own.
    pub(super) async fn answer(
        &mut self,
        answer: &OwnAnswer,
        request: &Request,
        request_read: bool,
        record: &mut RequestRecord,
    ) -> Then {
        let close = !request.keep_alive || !request_read;
        let to_head = request.method == http1::Method::Head;
        record.answered(answer.status);
        record.outcome(answer.outcome);
        if !to_head {
            record.sent(answer.body_bytes());
        }
        let text = answer.compose(to_head, close, request.is_1_1);
        match self.write(text).await {
            Err(()) => Then::Close,
            Ok(()) if !request_read => Then::Linger,
            Ok(()) if close => Then::Close,
            Ok(()) => Then::Next,
        }
    }

    /// Answers what could not be read as a request.
    async fn refuse(&mut self, answer: OwnAnswer, endpoint: &Rc<Endpoint>) -> Then {
        let mut record = RequestRecord::start(endpoint, b"", b"");
        record.answered(answer.status);
        record.outcome(answer.outcome);
        record.sent(answer.body_bytes());
        match self.write(answer.compose(false, true, true)).await {
            Ok(()) => Then::Linger,
            Err(()) => Then::Close,
        }
    }

    /// Writes a text of the proxy's own.
    pub(super) async fn write(&mut self, text: Text) -> Result<(), ()> {
        self.deadline.set(SEND_TIMEOUT);
        let mut flow = flow_of(text);
        let mut nothing = Input::default();
        poll_fn(|context| {
            while flow.is_pending() {
                match flow.poll_write(&mut nothing, &mut self.stream, context) {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                    Poll::Pending if self.deadline.has_struck(context) => {
                        return Poll::Ready(Err(()));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Tells the client that the connection ends here and was not cut off, where the protocol knows how.
    async fn farewell(&mut self) {
        if S::HAS_FAREWELL {
            self.deadline.set(SEND_TIMEOUT);
            poll_fn(
                |context| match Pin::new(&mut self.stream).poll_shutdown(context) {
                    Poll::Pending if !self.deadline.has_struck(context) => Poll::Pending,
                    _ => Poll::Ready(()),
                },
            )
            .await;
        }
    }

    /// Ends the sending and reads on for a while: closing at once would discard what the client has not read yet, should
    /// it still be sending (RFC 9112 section 9.6).
    async fn linger(&mut self) {
        self.deadline.set(LINGER_TIME);
        let mut is_shut = false;
        poll_fn(|context| {
            if !is_shut {
                match Pin::new(&mut self.stream).poll_shutdown(context) {
                    Poll::Ready(Ok(())) => is_shut = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            if self.deadline.has_struck(context) {
                return Poll::Ready(());
            }
            loop {
                self.input.consume(self.input.len());
                match self.input.poll_fill(&mut self.stream, context) {
                    Poll::Ready(Ok(read)) if read > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }
}
