//! A body that is written piece by piece while it is sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

/// Any body that requests and answers of the tests have.
pub(crate) type AnyBody = BoxBody<Bytes, Infallible>;

/// Pieces that may wait to be sent.
const QUEUE: usize = 16;

/// The end that is written to.
#[derive(Debug)]
pub(crate) struct Writer(mpsc::Sender<Frame<Bytes>>);

struct ChannelBody(mpsc::Receiver<Frame<Bytes>>);

/// A body and the end that fills it; the body ends when that end is dropped.
pub(crate) fn channel() -> (Writer, AnyBody) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Writer(sender), ChannelBody(receiver).boxed())
}

/// A body that is whole already.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> AnyBody {
    Full::new(bytes.into()).boxed()
}

impl Writer {
    /// Sends a piece; whether there is still somebody to send it to.
    pub(crate) async fn data(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.send(Frame::data(bytes.into())).await.is_ok()
    }

    /// Ends the body with trailers.
    pub(crate) async fn trailers(self, trailers: HeaderMap) {
        let _ = self.0.send(Frame::trailers(trailers)).await;
    }
}

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}
