//! One request at one replica: both bodies move at once, each at the pace of its reader.
//!
//! # Rules
//!
//! - Whoever waits says for whom ([`Waiting`]), and only the one who is waited for can be too slow. A replica is not silent
//!   while the client has not sent the body; a client is not slow while the replica does not take it.
//! - A replica may answer before it has read the whole request. If it then closes, the answer still goes to the client.
//! - While the replica is waited for, the client's side is watched: a client that is gone frees the replica at once. The end
//!   of the client's sending means that it is gone, unless the request announced itself as the last one (`Connection:
//!   close`, or HTTP/1.0 without keep-alive): then it is a half-close and the answer is still delivered.

mod download;

use std::task::{Context, Poll};
use std::time::Duration;

use http1::Refusal;

use super::answer::Coding;
use super::body::Body;
use super::connection::Client;
use super::flow::Flow;
use super::request::Request;
use crate::buffer::{Input, Text};
use crate::endpoint::Endpoint;
use crate::lease::Lease;
use crate::log::RequestRecord;
use crate::plain::Plain;
use crate::settings::Settings;
use crate::stream::Stream;

/// Over which time the speed of a client is judged.
const UPLOAD_WINDOW: Duration = Duration::from_secs(30);
/// A client that takes nothing of its answer for this long is given up.
const SEND_TIMEOUT: Duration = Duration::from_secs(120);

/// How an exchange ended.
#[derive(Debug)]
pub(super) enum End {
    /// The whole answer was passed on. `reusable`: the connection to the replica is good for another request.
    Complete { reusable: bool },
    /// The replica switched protocols; the head that says so is in the download flow.
    Switched,
    /// The replica failed.
    Broken { error: String },
    /// The replica said nothing for the stream timeout.
    Silent,
    /// The client went away.
    ClientGone,
    /// The client went away in the middle of its body.
    Incomplete,
    /// The client sends its body too slowly.
    SlowUpload,
    /// The client takes the answer too slowly.
    SlowDownload,
    /// The body of the request is not one.
    Refused(Refusal),
    /// The body of the request is too large.
    TooLarge,
}

/// Who keeps an exchange waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Nobody,
    Replica,
    /// For more of the request's body.
    Upload,
    /// To take more of the answer.
    Download,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Exchange<'c, 'a, S> {
    client: &'c mut Client<S>,
    request: &'a Request,
    endpoint: &'a Endpoint,
    lease: &'a Lease,
    settings: &'a Settings,
    record: &'a mut RequestRecord,
    pub(super) stream: Plain,
    pub(super) input: Input,
    /// How much of the request's own text the replica has been given.
    text_sent: usize,
    upload: Flow,
    upload_body: Body,
    upload_broken: bool,
    uploaded: u64,
    pub(super) download: Flow,
    download_body: Option<Body>,
    coding: Coding,
    /// Whether the replica keeps the connection.
    kept_by_replica: bool,
    chunk_open: bool,
    /// Whether the client was told that the connection ends.
    pub(super) close: bool,
    waiting: Waiting,
    progress: bool,
    window_bytes: u64,
}

impl<'c, 'a, S: Stream> Exchange<'c, 'a, S> {
    /// Begins with a connection to the replica of `lease`.
    pub(super) fn new(
        client: &'c mut Client<S>,
        request: &'a Request,
        endpoint: &'a Endpoint,
        lease: &'a Lease,
        record: &'a mut RequestRecord,
        stream: Plain,
    ) -> Self {
        stream.mark();
        Self {
            upload_body: request.body,
            client,
            request,
            endpoint,
            lease,
            settings: lease.settings(),
            record,
            stream,
            input: Input::default(),
            text_sent: 0,
            upload: Flow::default(),
            upload_broken: false,
            uploaded: request.body_bytes,
            download: Flow::default(),
            download_body: None,
            coding: Coding::AsIs,
            kept_by_replica: false,
            chunk_open: false,
            close: !request.keep_alive,
            waiting: Waiting::Nobody,
            progress: false,
            window_bytes: 0,
        }
    }

    /// Whether the replica may have seen anything of the request.
    pub(super) fn has_sent(&self) -> bool {
        self.text_sent > 0 && !self.stream.is_unsent()
    }

    /// Whether the head of an answer was passed on, or begun to be; or an interim answer stands half written, behind
    /// which no other could begin.
    pub(super) fn has_answered(&self) -> bool {
        self.download_body.is_some() || self.download.is_pending()
    }

    /// Whether the whole request has been read from the client.
    pub(super) fn has_read_request(&self) -> bool {
        self.upload_body.has_ended() && self.upload.ready == 0
    }

    /// Whether the client takes the end of the connection for the end of the answer.
    pub(super) fn ends_with_connection(&self) -> bool {
        match self.download_body {
            Some(Body::UntilClose) => self.coding == Coding::AsIs,
            _ => self.coding == Coding::Dechunked,
        }
    }

    /// Moves what can be moved.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        match self.poll_both(context) {
            Ok(Poll::Ready(end)) | Err(end) => Poll::Ready(end),
            Ok(Poll::Pending) => self.poll_timeout(context),
        }
    }

    fn poll_both(&mut self, context: &mut Context<'_>) -> Result<Poll<End>, End> {
        let uploaded = self.poll_upload(context)?;
        if let Poll::Ready(end) = self.poll_download(context)? {
            return Ok(Poll::Ready(end));
        }
        let is_last = !self.request.keep_alive;
        if uploaded.is_ready() && self.client.poll_gone(is_last, context) {
            return Err(End::ClientGone);
        }
        Ok(Poll::Pending)
    }

    fn poll_upload(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, End> {
        if self.upload_broken {
            return Ok(Poll::Ready(()));
        }
        if self.poll_text(context).is_pending() {
            return Ok(Poll::Pending);
        }
        loop {
            if self.upload_broken {
                return Ok(Poll::Ready(()));
            }
            if self.upload.is_pending() {
                match self
                    .upload
                    .poll_write(&mut self.client.input, &mut self.stream, context)
                {
                    Poll::Pending => return Ok(Poll::Pending),
                    Poll::Ready(Ok(_)) => self.progress = true,
                    Poll::Ready(Err(_)) => self.upload_broken = true,
                }
                continue;
            }
            if self.upload_body.has_ended() {
                return Ok(Poll::Ready(()));
            }
            if !self.take_upload()? {
                match self
                    .client
                    .input
                    .poll_fill(&mut self.client.stream, context)
                {
                    Poll::Pending => return Ok(Poll::Pending),
                    Poll::Ready(Ok(read)) if read > 0 => {}
                    Poll::Ready(_) => return Err(End::Incomplete),
                }
            }
        }
    }

    /// Sends the request's own text, with the first of the body if that is there.
    fn poll_text(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Some(rest) = self.request.text.get(self.text_sent..)
            && !rest.is_empty()
        {
            match self.stream.poll_send(context, rest) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.text_sent += written;
                    self.progress = true;
                }
                Poll::Ready(_) => {
                    self.upload_broken = true;
                    return Poll::Ready(());
                }
            }
        }
        Poll::Ready(())
    }

    /// Makes what has come of the request's body ready to be passed on; false when more is needed.
    fn take_upload(&mut self) -> Result<bool, End> {
        let passed = self
            .upload_body
            .pass(self.client.input.bytes())
            .map_err(End::Refused)?;
        self.upload.ready = passed.bytes;
        self.uploaded += passed.data;
        self.window_bytes += passed.bytes as u64;
        if self.uploaded > self.settings.max_request_body_bytes {
            return Err(End::TooLarge);
        }
        self.record.received(passed.data);
        if passed.bytes == 0 && self.client.input.is_full() {
            return Err(End::Refused(Refusal::Trailers));
        }
        Ok(passed.bytes > 0 || self.upload_body.has_ended())
    }

    fn poll_download(&mut self, context: &mut Context<'_>) -> Result<Poll<End>, End> {
        loop {
            if let Some(end) = self.take_download()? {
                return Ok(Poll::Ready(end));
            }
            if self.has_downloaded() {
                self.lease.end();
            }
            if self.download.is_pending() {
                match self
                    .download
                    .poll_write(&mut self.input, &mut self.client.stream, context)
                {
                    Poll::Pending => return Ok(Poll::Pending),
                    Poll::Ready(Ok(_)) => self.progress = true,
                    Poll::Ready(Err(_)) => return Err(End::ClientGone),
                }
                continue;
            }
            if self.has_downloaded() {
                return Ok(Poll::Ready(self.complete()));
            }
            match self.input.poll_fill(&mut self.stream, context) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(read) => {
                    self.progress = true;
                    self.filled(read)?;
                }
            }
        }
    }

    fn has_downloaded(&self) -> bool {
        self.download_body.as_ref().is_some_and(Body::has_ended)
    }

    fn complete(&self) -> End {
        let reusable = self.kept_by_replica
            && self.input.is_empty()
            && !self.upload_broken
            && self.text_sent == self.request.text.len()
            // An answer that is there before the request has left is none to it.
            && !self.stream.is_sending()
            && self.has_read_request()
            && !self.upload.is_pending();
        End::Complete { reusable }
    }

    fn poll_timeout(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let waiting = self.waiting();
        let deadline = &self.client.deadline;
        if waiting != self.waiting || (self.progress && waiting != Waiting::Upload) {
            self.window_bytes = 0;
            deadline.set(match waiting {
                Waiting::Upload => UPLOAD_WINDOW,
                Waiting::Download => SEND_TIMEOUT,
                Waiting::Replica | Waiting::Nobody => self.settings.stream_timeout,
            });
            self.waiting = waiting;
        }
        self.progress = false;
        if !deadline.has_struck(context) {
            return Poll::Pending;
        }
        let rate = self.settings.min_upload_bytes_per_second;
        let least = rate.saturating_mul(UPLOAD_WINDOW.as_secs());
        match waiting {
            Waiting::Upload if self.window_bytes >= least => {
                self.window_bytes = 0;
                deadline.set(UPLOAD_WINDOW);
                // Registers anew; it has not struck.
                let _ = deadline.has_struck(context);
                Poll::Pending
            }
            Waiting::Upload => Poll::Ready(End::SlowUpload),
            Waiting::Download => Poll::Ready(End::SlowDownload),
            Waiting::Replica | Waiting::Nobody => Poll::Ready(End::Silent),
        }
    }

    fn waiting(&self) -> Waiting {
        if self.download.is_pending() {
            return Waiting::Download;
        }
        let upload_blocked = self.upload.is_pending() || self.text_sent < self.request.text.len();
        let awaits_continue = self.request.expects_continue && self.uploaded == 0;
        if upload_blocked || self.upload_broken || self.upload_body.has_ended() || awaits_continue {
            Waiting::Replica
        } else {
            Waiting::Upload
        }
    }

    /// The client, the stream, what was read ahead from it, and what is still to be written to the client.
    pub(super) fn into_parts(self) -> (&'c mut Client<S>, Plain, Input, Flow) {
        (self.client, self.stream, self.input, self.download)
    }
}

/// An empty flow of an own text, for answers of the proxy.
pub(super) fn flow_of(text: Text) -> Flow {
    Flow::new(text)
}
