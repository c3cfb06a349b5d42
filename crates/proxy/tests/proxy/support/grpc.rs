//! A client and a replica of gRPC, by tonic, with messages that are plain bytes.

use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::stream::{self, Stream, StreamExt};
use http::Request as HttpRequest;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::server::{
    ClientStreamingService, Grpc as Server, ServerStreamingService, StreamingService, UnaryService,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::http2::Http2Replica;

/// Messages as they are.
#[derive(Clone, Copy, Default)]
pub(crate) struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
type Later<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

/// What the replica does: it gives back what it gets, in each kind of call.
struct Echo;

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Later<Bytes>;

    /// `fail` is answered by a status, `wait` never.
    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        Box::pin(async move {
            match &request.get_ref()[..] {
                b"fail" => Err(Status::not_found("no käse")),
                b"wait" => std::future::pending().await,
                _ => Ok(Response::new(request.into_inner())),
            }
        })
    }
}

impl ServerStreamingService<Bytes> for Echo {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Ready<Result<Response<Messages>, Status>>;

    /// One message for each word; `fail` ends the answer with a status.
    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let text = String::from_utf8(request.into_inner().to_vec()).unwrap();
        let words: Vec<_> = text
            .split(' ')
            .map(|word| match word {
                "fail" => Err(Status::data_loss("failed")),
                word => Ok(Bytes::from(word.to_owned())),
            })
            .collect();
        ready(Ok(Response::new(Box::pin(stream::iter(words)))))
    }
}

impl ClientStreamingService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Later<Bytes>;

    /// All messages as one.
    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let mut messages = request.into_inner();
        Box::pin(async move {
            let mut all = BytesMut::new();
            while let Some(message) = messages.message().await? {
                all.put(message);
            }
            Ok(Response::new(all.freeze()))
        })
    }
}

impl StreamingService<Bytes> for Echo {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Ready<Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner().boxed())))
    }
}

/// A replica that serves `/echo/unary`, `/echo/server`, `/echo/client` and `/echo/both`.
pub(crate) async fn replica() -> Http2Replica {
    Http2Replica::start(|request: HttpRequest<Incoming>| async move {
        let mut server = Server::new(Plain);
        match request.uri().path() {
            "/echo/server" => server.server_streaming(Echo, request).await,
            "/echo/client" => server.client_streaming(Echo, request).await,
            "/echo/both" => server.streaming(Echo, request).await,
            "/echo/unary" => server.unary(Echo, request).await,
            _ => Status::unimplemented("no such method").into_http(),
        }
    })
    .await
}

/// A client of the echo.
#[derive(Clone)]
pub(crate) struct GrpcClient(tonic::client::Grpc<Channel>);

impl GrpcClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self(tonic::client::Grpc::new(endpoint.connect().await.unwrap()))
    }

    pub(crate) async fn unary(
        &mut self,
        path: &'static str,
        request: Request<Bytes>,
    ) -> Result<String, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static(path);
        let answer = self.0.unary(request, path, Plain).await?;
        Ok(text(answer.get_ref()))
    }

    pub(crate) async fn server_streaming(
        &mut self,
        message: &'static str,
    ) -> Result<Streaming<Bytes>, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/echo/server");
        let answer = self
            .0
            .server_streaming(request(message), path, Plain)
            .await?;
        Ok(answer.into_inner())
    }

    pub(crate) async fn client_streaming(
        &mut self,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<String, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/echo/client");
        let answer = self
            .0
            .client_streaming(Request::new(messages), path, Plain)
            .await?;
        Ok(text(answer.get_ref()))
    }

    pub(crate) async fn streaming(
        &mut self,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/echo/both");
        let answer = self
            .0
            .streaming(Request::new(messages), path, Plain)
            .await?;
        Ok(answer.into_inner())
    }
}

pub(crate) fn request(message: &'static str) -> Request<Bytes> {
    Request::new(Bytes::from_static(message.as_bytes()))
}

pub(crate) fn text(message: &Bytes) -> String {
    String::from_utf8(message.to_vec()).unwrap()
}
