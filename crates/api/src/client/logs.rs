//! Logs: what to ask for, and the stream of what comes.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::ClientError;
use super::connection::{Driver, broken};

/// Whose log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// A replica's setup and run.
    Replica(u32),
    /// The decisions about the service.
    Controller,
    /// The endpoint's access log.
    LoadBalancer,
}

/// Query of `GET /v1/services/NAME/logs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogsQuery {
    /// Whose log.
    pub target: LogTarget,
    /// Whether the stream goes on with what is yet to be written.
    pub follow: bool,
    /// Only this many last lines of what is there, or all of it.
    pub tail: Option<u64>,
}

impl LogsQuery {
    pub(super) fn to_query_string(self) -> String {
        let mut query = match self.target {
            LogTarget::Replica(replica_id) => format!("target=replica&replica_id={replica_id}"),
            LogTarget::Controller => "target=controller".to_owned(),
            LogTarget::LoadBalancer => "target=load_balancer".to_owned(),
        };
        query.push_str(if self.follow {
            "&follow=true"
        } else {
            "&follow=false"
        });
        if let Some(lines) = self.tail {
            query.push_str(&format!("&tail={lines}"));
        }
        query
    }
}

/// A log as it arrives. Dropping it closes the connection.
#[derive(Debug)]
pub struct LogStream {
    body: Incoming,
    _driver: Driver,
}

impl LogStream {
    pub(super) fn new(body: Incoming, driver: Driver) -> Self {
        Self {
            body,
            _driver: driver,
        }
    }

    /// The next piece, of any length, not cut at line ends; `None` at the end.
    ///
    /// # Errors
    /// When the connection broke before the end.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            match frame.map_err(|error| broken(&error))?.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                // Trailers carry no log.
                Err(_trailers) => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_name_their_target() {
        let query = LogsQuery {
            target: LogTarget::Replica(3),
            follow: true,
            tail: Some(10),
        };
        assert_eq!(
            query.to_query_string(),
            "target=replica&replica_id=3&follow=true&tail=10"
        );
        let query = LogsQuery {
            target: LogTarget::LoadBalancer,
            follow: false,
            tail: None,
        };
        assert_eq!(query.to_query_string(), "target=load_balancer&follow=false");
    }
}
