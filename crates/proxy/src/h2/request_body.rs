//! The client's body on its way to a replica: passed on as it comes, watched for who keeps whom waiting, and kept as long
//! as it is small, for replicas that refuse a request without having looked at it.

mod progress;

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};

pub(crate) use self::progress::{UploadFailure, UploadProgress};

use super::pool::TrailerSlot;

/// A body that is larger is not kept, so a refused request that has sent more is lost.
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// Any error of a body.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a client's request.
pub(crate) enum ClientBody {
    /// None.
    Empty,
    /// One of a stream of HTTP/2.
    Http2(Incoming),
    /// One that comes in another way. Its end is its end: one that is cut must say so by an error.
    Other(Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>>),
}

impl ClientBody {
    /// Whether there is nothing to come.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http2(incoming) => incoming.is_end_stream(),
            Self::Other(body) => body.is_end_stream(),
        }
    }

    /// How many bytes it has at least, as far as that was announced.
    pub(super) fn announced_bytes(&self) -> u64 {
        self.size_hint().lower()
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http2(incoming) => incoming.size_hint(),
            Self::Other(body) => body.size_hint(),
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Http2(incoming) => match Pin::new(&mut *incoming).poll_frame(context) {
                // A stream that was reset with CANCEL or NO_ERROR looks to hyper as if it had ended.
                Poll::Ready(None) if !incoming.is_end_stream() => Poll::Ready(Some(Err(()))),
                polled => polled.map_err(drop),
            },
            Self::Other(body) => body.as_mut().poll_frame(context).map_err(drop),
        }
    }
}

/// The body of one request, for one attempt after the other.
pub(super) struct Upload {
    state: RefCell<State>,
    progress: Arc<UploadProgress>,
    max_bytes: u64,
}

struct State {
    source: ClientBody,
    /// Everything that was passed on, while that is little.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    trailers: Option<HeaderMap>,
    has_ended: bool,
    /// Number of the attempt that may have the body; 0 for none.
    attempt: u32,
    waker: Option<Waker>,
}

impl Upload {
    /// A body that may have `max_bytes`; `None` where there is none.
    pub(super) fn new(source: ClientBody, max_bytes: u64) -> Option<Rc<Self>> {
        (!source.is_empty()).then(|| {
            Rc::new(Self {
                state: RefCell::new(State {
                    source,
                    kept: Some(Vec::new()),
                    kept_bytes: 0,
                    trailers: None,
                    has_ended: false,
                    attempt: 0,
                    waker: None,
                }),
                progress: Arc::default(),
                max_bytes,
            })
        })
    }

    pub(super) fn progress(&self) -> &Arc<UploadProgress> {
        &self.progress
    }

    /// Whether another attempt can have the whole body.
    pub(super) fn is_whole(&self) -> bool {
        self.state.borrow().kept.is_some()
    }

    /// The body for the next attempt; the one before gets no more of it.
    pub(super) fn attempt(self: &Rc<Self>, trailers: Option<TrailerSlot>) -> RequestBody {
        let mut state = self.state.borrow_mut();
        state.attempt += 1;
        RequestBody {
            upload: Some(Rc::clone(self)),
            attempt: state.attempt,
            next: 0,
            gave_trailers: false,
            trailers,
        }
    }

    /// Nobody wants more of the body.
    pub(super) fn close(&self) {
        let waker = {
            let mut state = self.state.borrow_mut();
            state.attempt = u32::MAX;
            state.kept = None;
            state.source = ClientBody::Empty;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll_source(&self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyCut>> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        loop {
            let frame = match state.source.poll_frame(context) {
                Poll::Pending => {
                    state.waker = Some(context.waker().clone());
                    self.progress.wait_for_client();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(()))) => {
                    self.progress.fail(UploadFailure::Incomplete);
                    return Poll::Ready(Err(BodyCut));
                }
                Poll::Ready(None) => {
                    state.has_ended = true;
                    self.progress.end();
                    return Poll::Ready(Ok(None));
                }
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() && !state.source.is_empty() => {}
                Ok(data) => {
                    self.progress.moved(data.len());
                    if self.progress.bytes() > self.max_bytes {
                        self.progress.fail(UploadFailure::TooLarge);
                        return Poll::Ready(Err(BodyCut));
                    }
                    state.keep(&data);
                    state.has_ended = state.source.is_empty();
                    if state.has_ended {
                        self.progress.end();
                    }
                    return Poll::Ready(Ok(Some(data)));
                }
                Err(frame) => {
                    state.trailers = frame.into_trailers().ok();
                    state.has_ended = true;
                    self.progress.end();
                    return Poll::Ready(Ok(None));
                }
            }
        }
    }
}

impl State {
    fn keep(&mut self, data: &Bytes) {
        self.kept_bytes += data.len();
        match &mut self.kept {
            Some(kept) if self.kept_bytes <= MAX_KEPT_BYTES => kept.push(data.clone()),
            _ => self.kept = None,
        }
    }

    fn kept_pieces(&self) -> usize {
        self.kept.as_ref().map_or(0, Vec::len)
    }
}

/// The body of a request to a replica.
pub(crate) struct RequestBody {
    upload: Option<Rc<Upload>>,
    attempt: u32,
    /// Kept pieces that this attempt has had.
    next: usize,
    gave_trailers: bool,
    /// Where trailers are left instead of being a frame.
    trailers: Option<TrailerSlot>,
}

impl RequestBody {
    pub(super) fn empty() -> Self {
        Self {
            upload: None,
            attempt: 0,
            next: 0,
            gave_trailers: false,
            trailers: None,
        }
    }

    fn end(&mut self, upload: &Upload) -> Option<Frame<Bytes>> {
        if std::mem::replace(&mut self.gave_trailers, true) {
            return None;
        }
        let trailers = upload.state.borrow().trailers.clone()?;
        match &self.trailers {
            Some(slot) => {
                slot.set(trailers);
                None
            }
            None => Some(Frame::trailers(trailers)),
        }
    }
}

/// The body cannot be completed.
#[derive(Debug)]
pub(crate) struct BodyCut;

impl fmt::Display for BodyCut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the body of the request ended early")
    }
}

impl std::error::Error for BodyCut {
    /// What a replica that speaks HTTP/2 is told.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        static CANCEL: std::sync::LazyLock<h2::Error> =
            std::sync::LazyLock::new(|| h2::Reason::CANCEL.into());
        Some(&*CANCEL)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyCut>>> {
        let Some(upload) = self.upload.clone() else {
            return Poll::Ready(None);
        };
        let (kept, has_ended) = {
            let state = upload.state.borrow();
            if state.attempt != self.attempt {
                return Poll::Ready(Some(Err(BodyCut)));
            }
            let kept = state.kept.as_ref().and_then(|kept| kept.get(self.next));
            (kept.cloned(), state.has_ended)
        };
        if let Some(piece) = kept {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if has_ended {
            return Poll::Ready(self.end(&upload).map(Ok));
        }
        match upload.poll_source(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(cut)) => Poll::Ready(Some(Err(cut))),
            Poll::Ready(Ok(Some(data))) => {
                self.next = upload.state.borrow().kept_pieces();
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Ok(None)) => Poll::Ready(self.end(&upload).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| {
            let state = upload.state.borrow();
            state.attempt == self.attempt
                && state.has_ended
                && state.trailers.is_none()
                && self.next >= state.kept_pieces()
        })
    }

    fn size_hint(&self) -> SizeHint {
        match &self.upload {
            None => SizeHint::with_exact(0),
            // A length that was announced is in the head already.
            Some(upload) if self.attempt == 1 => upload.state.borrow().source.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}
