//! One request on one connection.

use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::{ClientError, LogStream};
use crate::types::ApiError;

/// Largest JSON answer that is read: thousands of services with their replicas.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) type RequestBody = Full<Bytes>;

/// The task that drives a connection; ends with this value.
#[derive(Debug)]
pub(super) struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The head of an answer, with the connection that its body arrives on.
#[derive(Debug)]
pub(super) struct Response {
    status: StatusCode,
    body: Incoming,
    driver: Driver,
}

pub(super) fn request(
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Request<RequestBody>, ClientError> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "skyserve")
        .header(header::CONTENT_TYPE, "application/json")
        .header(
            header::USER_AGENT,
            concat!("sky/", env!("CARGO_PKG_VERSION")),
        )
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| ClientError::UnexpectedAnswer {
            reason: error.to_string(),
        })
}

pub(super) async fn send(
    socket: &Path,
    request: Request<RequestBody>,
) -> Result<Response, ClientError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| ClientError::from_connect(socket, error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // An error of the connection reaches the caller through `send_request` and the body.
    let driver = Driver(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| broken(&error))?;
    let (head, body) = response.into_parts();
    Ok(Response {
        status: head.status,
        body,
        driver,
    })
}

impl Response {
    /// Reads the whole body as `T`, or as the error that the status announces.
    pub(super) async fn into_json<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let Self {
            status,
            body,
            driver: _driver,
        } = self;
        let bytes = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| ClientError::Disconnected {
                reason: error.to_string(),
            })?
            .to_bytes();
        if !status.is_success() {
            return Err(error_of(status, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| ClientError::UnexpectedAnswer {
            reason: format!("status {}: {error}", status.as_u16()),
        })
    }

    /// The body as a stream, or the error that the status announces, read within `limit`.
    pub(super) async fn into_stream(
        self,
        limit: std::time::Duration,
    ) -> Result<LogStream, ClientError> {
        if self.status.is_success() {
            return Ok(LogStream::new(self.body, self.driver));
        }
        match tokio::time::timeout(limit, self.into_json::<serde_json::Value>()).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) => Err(ClientError::UnexpectedAnswer {
                reason: "no log".to_owned(),
            }),
            Err(_elapsed) => Err(ClientError::Timeout {
                seconds: limit.as_secs(),
            }),
        }
    }
}

fn error_of(status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<ApiError>(body) {
        Ok(error) => ClientError::Api(error),
        Err(_) => ClientError::UnexpectedAnswer {
            reason: format!("status {}", status.as_u16()),
        },
    }
}

pub(super) fn broken(error: &hyper::Error) -> ClientError {
    ClientError::Disconnected {
        reason: error.to_string(),
    }
}
