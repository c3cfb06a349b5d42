//! What comes from the replica: the head of its answer, then the body, made ready to be passed on.

use std::io;

use http1::{AnswerHead, BodyLength, Fields, Method, Piece, Refusal, read_answer};

use super::super::answer::{self, Coding, Form};
use super::super::body::{Body, with_fields};
use super::super::flow::Flow;
use super::{End, Exchange};
use crate::stream::Stream;

impl<S: Stream> Exchange<'_, '_, S> {
    /// What reading from the replica gave: nothing means that it has closed.
    pub(super) fn filled(&mut self, read: io::Result<usize>) -> Result<(), End> {
        let error = match read {
            Ok(read) if read > 0 => return Ok(()),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        if let (Some(Body::UntilClose), None) = (&self.download_body, &error) {
            self.download_body = Some(Body::Ended);
            if self.coding == Coding::Chunked {
                self.download.compose(if self.chunk_open {
                    b"\r\n0\r\n\r\n"
                } else {
                    b"0\r\n\r\n"
                });
            }
            return Ok(());
        }
        let error = error.map_or_else(
            || "it closed the connection".to_owned(),
            |error| error.to_string(),
        );
        let error = if self.has_answered() {
            format!("its answer broke off: {error}")
        } else {
            error
        };
        Err(End::Broken { error })
    }

    /// Makes what has come of the answer ready to be passed on.
    pub(super) fn take_download(&mut self) -> Result<Option<End>, End> {
        while self.download_body.is_none() && !self.download.is_pending() && !self.input.is_empty()
        {
            let before = self.input.len();
            if let Some(end) = self.take_head()? {
                return Ok(Some(end));
            }
            // An interim answer that is not passed on leaves nothing to write; what follows it may be here already.
            if self.input.len() == before {
                break;
            }
        }
        let Some(body) = &mut self.download_body else {
            return Ok(None);
        };
        let broken = |refusal: Refusal| End::Broken {
            error: format!("its answer is not HTTP: {refusal}"),
        };
        match self.coding {
            Coding::AsIs => {
                let bytes = self
                    .input
                    .bytes()
                    .get(self.download.ready..)
                    .unwrap_or_default();
                let passed = body.pass(bytes).map_err(broken)?;
                self.download.ready += passed.bytes;
                self.record.sent(passed.data);
                if passed.bytes == 0 && self.input.is_full() && !self.download.is_pending() {
                    return Err(broken(Refusal::Trailers));
                }
            }
            Coding::Dechunked => {
                while !self.download.is_pending() {
                    match body.next(self.input.bytes()).map_err(broken)? {
                        Piece::Framing(length) | Piece::Trailers(length) => {
                            self.input.consume(length);
                        }
                        Piece::Data(length) => {
                            self.download.ready = length;
                            self.record.sent(length as u64);
                        }
                        Piece::More => break,
                    }
                }
            }
            Coding::Chunked => {
                let length = self.input.len();
                if !self.download.is_pending() && length > 0 {
                    let before = if self.chunk_open { "\r\n" } else { "" };
                    self.download
                        .compose(format!("{before}{length:x}\r\n").as_bytes());
                    self.chunk_open = true;
                    self.download.ready = length;
                    self.record.sent(length as u64);
                }
            }
        }
        Ok(None)
    }

    fn take_head(&mut self) -> Result<Option<End>, End> {
        let taken = with_fields(|fields| {
            let head = read_answer(self.input.bytes(), fields)?;
            Ok(head.map(|head| self.compose_head(&head, fields)))
        });
        let composed = taken.map_err(|refusal: Refusal| End::Broken {
            error: format!("its answer is not HTTP: {refusal}"),
        })?;
        match composed {
            Some(Ok(switched)) => Ok(switched),
            Some(Err(error)) => Err(End::Broken { error }),
            None => Ok(None),
        }
    }

    /// Composes the head for the client. `Some` when the protocol is switched; an error where the replica must not do
    /// what it does.
    fn compose_head(&mut self, head: &AnswerHead, fields: &Fields) -> Result<Option<End>, String> {
        let bytes = self.input.bytes();
        if head.status == 101 {
            if !self.request.wants_upgrade || !self.has_read_request() {
                return Err("it switched protocols without being asked".to_owned());
            }
            self.download = Flow::new(answer::compose_switch(head, fields, bytes));
            self.input.consume(head.length);
            self.record.answered(101);
            return Ok(Some(End::Switched));
        }
        if head.status < 200 {
            let form = self.form(Coding::AsIs, false);
            let interim = answer::compose(head, fields, bytes, form);
            self.input.consume(head.length);
            // HTTP/1.0 knows no interim answers (RFC 9110 section 15.2).
            if self.request.is_1_1 {
                self.download = Flow::new(interim.unwrap_or_default());
            }
            return Ok(None);
        }
        let length = match self.request.method {
            Method::Head => BodyLength::None,
            _ => head.body,
        };
        self.coding = answer::coding(length, self.request.is_1_1);
        let ends_with_connection =
            !self.request.is_1_1 && matches!(length, BodyLength::UntilClose | BodyLength::Chunked);
        // The client may send the body or leave it out: what follows could not be told from a request.
        let awaits_continue =
            self.request.expects_continue && self.uploaded == 0 && !self.has_read_request();
        self.close |= ends_with_connection || awaits_continue || self.endpoint.is_closing();
        let form = self.form(self.coding, self.close);
        match answer::compose(head, fields, bytes, form) {
            None => self.download.ready = head.length,
            Some(text) => {
                self.download = Flow::new(text);
                self.input.consume(head.length);
            }
        }
        self.kept_by_replica = head.keep_alive && length != BodyLength::UntilClose;
        self.download_body = Some(Body::new(length));
        self.record.answered(head.status);
        self.lease.answered(head.status);
        Ok(None)
    }

    fn form(&self, coding: Coding, close: bool) -> Form {
        Form {
            coding,
            is_1_1: self.request.is_1_1,
            close,
        }
    }
}
