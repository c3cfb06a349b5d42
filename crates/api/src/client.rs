//! The client side of the API: one method per row of the table in the crate's documentation.
//!
//! Every call opens its own connection to the server's socket. That costs some tens of microseconds on a Unix
//! socket and buys independence: a call never waits behind another, and nothing is left open between calls.

mod connection;
mod error;
mod events;
mod explain;
mod keys;
mod logs;
mod steer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::dry_run::DryRun;
use crate::types::{
    Accepted, DownRequest, Health, ServiceList, ServiceRecord, UpRequest, UpResponse,
    UpdateRequest, UpdateResponse,
};
pub use error::ClientError;
pub use events::FOLLOW_WAIT;
pub use logs::{LogStream, LogTarget, LogsQuery};
pub use steer::SteerAction;

/// Name of the server's socket inside its home.
pub const SOCKET_NAME: &str = "api.sock";
/// Version of this client. Server and client of one release speak the same API.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long an ordinary call may take.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long `up` and `update` may take: the server copies the working directory before it answers.
pub const SUBMIT_TIMEOUT: Duration = Duration::from_secs(600);

/// A client of the server of one home.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client of the server whose state is in `home`. Nothing is opened yet.
    #[must_use]
    pub fn new(home: impl AsRef<Path>) -> Self {
        Self {
            socket: home.as_ref().join(SOCKET_NAME),
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// The same client with another time limit for ordinary calls.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The socket that it connects to.
    #[must_use]
    pub fn socket_path(&self) -> &Path {
        &self.socket
    }

    /// `GET /v1/health`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.get("/v1/health".to_owned(), self.timeout).await
    }

    /// `POST /v1/services`: a new service.
    ///
    /// # Errors
    /// [`ClientError`]; a conflict when the name is taken.
    pub async fn up(&self, request: &UpRequest) -> Result<UpResponse, ClientError> {
        self.post("/v1/services".to_owned(), request, SUBMIT_TIMEOUT)
            .await
    }

    /// `GET /v1/services`: the services of these names, or all where `names` is empty.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn services(&self, names: &[String]) -> Result<ServiceList, ClientError> {
        let mut path = "/v1/services".to_owned();
        for (index, name) in names.iter().enumerate() {
            path.push(if index == 0 { '?' } else { '&' });
            path.push_str("name=");
            path.push_str(&percent_encode(name));
        }
        self.get(path, self.timeout).await
    }

    /// `GET /v1/services/NAME`: one service as it is now.
    ///
    /// # Errors
    /// [`ClientError`]; not found when there is no such service.
    pub async fn service(&self, name: &str) -> Result<ServiceRecord, ClientError> {
        self.get(service_path(name), self.timeout).await
    }

    /// `GET /v1/services/NAME?after=REVISION`: returns as soon as the service's revision is newer than
    /// `revision`, or `wait` is over; then with what it is by then.
    ///
    /// # Errors
    /// [`ClientError`]; not found when there is no such service (any more).
    pub async fn service_after(
        &self,
        name: &str,
        revision: u64,
        wait: Duration,
    ) -> Result<ServiceRecord, ClientError> {
        let seconds = wait.as_secs_f64();
        let path = format!(
            "{}?after={revision}&timeout_seconds={seconds:.3}",
            service_path(name)
        );
        self.get(path, wait.saturating_add(self.timeout)).await
    }

    /// `POST /v1/services/NAME/versions`: an update.
    ///
    /// # Errors
    /// [`ClientError`]; a refused update has changed nothing.
    pub async fn update(
        &self,
        name: &str,
        request: &UpdateRequest,
    ) -> Result<UpdateResponse, ClientError> {
        self.post(
            format!("{}/versions", service_path(name)),
            request,
            SUBMIT_TIMEOUT,
        )
        .await
    }

    /// `POST /v1/services/NAME/versions?dry_run=true`: what an update would do; nothing is changed.
    ///
    /// # Errors
    /// [`ClientError`]; whatever the update itself would be refused for.
    pub async fn dry_run(
        &self,
        name: &str,
        request: &UpdateRequest,
    ) -> Result<DryRun, ClientError> {
        self.post(
            format!("{}/versions?dry_run=true", service_path(name)),
            request,
            SUBMIT_TIMEOUT,
        )
        .await
    }

    /// `POST /v1/services/NAME/down`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn down(&self, name: &str, request: &DownRequest) -> Result<Accepted, ClientError> {
        self.post(
            format!("{}/down", service_path(name)),
            request,
            self.timeout,
        )
        .await
    }

    /// `POST /v1/services/NAME/replicas/ID/terminate`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn terminate_replica(
        &self,
        name: &str,
        replica_id: u32,
        request: &DownRequest,
    ) -> Result<Accepted, ClientError> {
        let path = format!("{}/replicas/{replica_id}/terminate", service_path(name));
        self.post(path, request, self.timeout).await
    }

    /// `GET /v1/services/NAME/logs`: the log as a stream of chunks. The time limit covers the answer's head;
    /// the stream itself may last for ever.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn logs(&self, name: &str, query: &LogsQuery) -> Result<LogStream, ClientError> {
        let path = format!("{}/logs?{}", service_path(name), query.to_query_string());
        let request = connection::request(Method::GET, &path, Vec::new())?;
        let response = self.send(request, self.timeout).await?;
        response.into_stream(self.timeout).await
    }

    /// `POST /v1/shutdown`: the server ends; replicas and the proxy go on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn shutdown(&self) -> Result<Accepted, ClientError> {
        self.post(
            "/v1/shutdown".to_owned(),
            &serde_json::json!({}),
            self.timeout,
        )
        .await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: String,
        limit: Duration,
    ) -> Result<T, ClientError> {
        self.exchange(connection::request(Method::GET, &path, Vec::new())?, limit)
            .await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: String,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::UnexpectedAnswer {
            reason: error.to_string(),
        })?;
        self.exchange(connection::request(Method::POST, &path, body)?, limit)
            .await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        request: Request<connection::RequestBody>,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let answer = async { self.send(request, limit).await?.into_json().await };
        match tokio::time::timeout(limit, answer).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ClientError::Timeout {
                seconds: limit.as_secs(),
            }),
        }
    }

    async fn send(
        &self,
        request: Request<connection::RequestBody>,
        limit: Duration,
    ) -> Result<connection::Response, ClientError> {
        match tokio::time::timeout(limit, connection::send(&self.socket, request)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ClientError::Timeout {
                seconds: limit.as_secs(),
            }),
        }
    }
}

fn service_path(name: &str) -> String {
    format!("/v1/services/{}", percent_encode(name))
}

/// Encodes all but the unreserved characters of RFC 3986, so that any text fits into one path segment or one
/// query value.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_path_segment() {
        assert_eq!(service_path("http-server"), "/v1/services/http-server");
        assert_eq!(
            service_path("a/b?c#d e%"),
            "/v1/services/a%2Fb%3Fc%23d%20e%25"
        );
        assert_eq!(service_path("é"), "/v1/services/%C3%A9");
    }
}
