//! The body of a request as whoever reads it from a client hands it over: one piece at a time, at the pace of the replica.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};

use super::request_body::{BodyCut, BodyError, ClientBody};

/// A body of `length` bytes, where that is known, and where its pieces go.
pub(crate) fn body_channel(length: Option<u64>) -> (BodySender, ClientBody) {
    let shared = Rc::new(RefCell::new(Shared {
        piece: None,
        trailers: None,
        end: End::Open,
        left: length,
        sender: None,
        receiver: None,
    }));
    let body = Receiver(Rc::clone(&shared));
    (BodySender(shared), ClientBody::Other(Box::pin(body)))
}

struct Shared {
    piece: Option<Bytes>,
    trailers: Option<HeaderMap>,
    end: End,
    /// Bytes to come, where that is known.
    left: Option<u64>,
    sender: Option<Waker>,
    receiver: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// Everything has been sent.
    Whole,
    /// The sender is gone before the end.
    Cut,
    /// The receiver is gone.
    Unwanted,
}

impl Shared {
    fn wake_receiver(&mut self) {
        if let Some(waker) = self.receiver.take() {
            waker.wake();
        }
    }
}

/// Nobody wants more of the body: the replica has answered without it, or there will be none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unwanted;

/// Where the pieces of a body go. Dropped before [`BodySender::finish`], the body is cut.
pub(crate) struct BodySender(Rc<RefCell<Shared>>);

impl BodySender {
    /// Ready when the piece before has been taken.
    pub(crate) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Unwanted>> {
        let mut shared = self.0.borrow_mut();
        if shared.end == End::Unwanted {
            return Poll::Ready(Err(Unwanted));
        }
        if shared.piece.is_none() {
            return Poll::Ready(Ok(()));
        }
        shared.sender = Some(context.waker().clone());
        Poll::Pending
    }

    /// Sends a piece; to be called when [`BodySender::poll_ready`] was ready.
    pub(crate) fn send(&self, piece: Bytes) {
        let mut shared = self.0.borrow_mut();
        shared.left = shared
            .left
            .map(|left| left.saturating_sub(piece.len() as u64));
        shared.piece = Some(piece).filter(|piece| !piece.is_empty());
        shared.wake_receiver();
    }

    /// Ends the body.
    pub(crate) fn finish(self, trailers: Option<HeaderMap>) {
        let mut shared = self.0.borrow_mut();
        shared.trailers = trailers;
        shared.end = End::Whole;
        shared.wake_receiver();
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        if shared.end == End::Open {
            shared.end = End::Cut;
            shared.wake_receiver();
        }
    }
}

struct Receiver(Rc<RefCell<Shared>>);

impl Body for Receiver {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut shared = self.0.borrow_mut();
        if let Some(piece) = shared.piece.take() {
            if let Some(waker) = shared.sender.take() {
                waker.wake();
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match shared.end {
            End::Open => {
                shared.receiver = Some(context.waker().clone());
                Poll::Pending
            }
            End::Whole => {
                let trailers = shared.trailers.take();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            End::Cut | End::Unwanted => Poll::Ready(Some(Err(BodyCut.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.0.borrow();
        shared.end == End::Whole && shared.piece.is_none() && shared.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.0.borrow();
        let held = shared.piece.as_ref().map_or(0, Bytes::len) as u64;
        shared
            .left
            .map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + held))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        if shared.end == End::Open {
            shared.end = End::Unwanted;
        }
        if let Some(waker) = shared.sender.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn body(body: ClientBody) -> Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>> {
        match body {
            ClientBody::Other(body) => body,
            _ => panic!("another kind of body"),
        }
    }

    async fn ready(sender: &BodySender) -> Result<(), Unwanted> {
        std::future::poll_fn(|context| sender.poll_ready(context)).await
    }

    #[tokio::test]
    async fn pieces_and_trailers_come_in_order_one_at_a_time() {
        let (sender, source) = body_channel(Some(5));
        let mut received = body(source);
        assert_eq!(received.size_hint().exact(), Some(5));
        sender.send(Bytes::from_static(b"abc"));
        let mut context = Context::from_waker(Waker::noop());
        assert!(sender.poll_ready(&mut context).is_pending(), "one is held");
        assert_eq!(received.size_hint().exact(), Some(5));
        let piece = received
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap();
        assert_eq!(piece, "abc");
        assert_eq!(ready(&sender).await, Ok(()));
        sender.send(Bytes::from_static(b"de"));
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "5".parse().unwrap());
        sender.finish(Some(trailers));
        let rest = received.collect().await.unwrap();
        assert_eq!(rest.trailers().unwrap()["x-sum"], "5");
        assert_eq!(rest.to_bytes(), "de");
    }

    #[tokio::test]
    async fn a_sender_that_goes_away_cuts_the_body() {
        let (sender, source) = body_channel(None);
        let mut received = body(source);
        sender.send(Bytes::from_static(b"half"));
        drop(sender);
        assert!(received.frame().await.unwrap().is_ok());
        assert!(received.frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn the_sender_hears_that_nobody_wants_more() {
        let (sender, source) = body_channel(None);
        assert_eq!(ready(&sender).await, Ok(()));
        drop(source);
        assert_eq!(ready(&sender).await, Err(Unwanted));
    }
}
