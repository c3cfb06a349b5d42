//! What was and is going on.

use super::{Client, ClientError, service_path};
use crate::diff::Diff;
use crate::history::History;
use crate::why::Why;

impl Client {
    /// `GET /v1/services/NAME/history`: what a service was brought to, by whom, and how that ended.
    ///
    /// # Errors
    /// [`ClientError`]; not found when there is no such service.
    pub async fn history(&self, name: &str) -> Result<History, ClientError> {
        self.get(format!("{}/history", service_path(name)), self.timeout)
            .await
    }

    /// `GET /v1/services/NAME/why`: what a service, or one replica of it, waits for or why it failed.
    ///
    /// # Errors
    /// [`ClientError`]; not found when there is no such service or replica.
    pub async fn why(&self, name: &str, replica_id: Option<u32>) -> Result<Why, ClientError> {
        let query = replica_id.map_or_else(String::new, |id| format!("?replica={id}"));
        self.get(format!("{}/why{query}", service_path(name)), self.timeout)
            .await
    }

    /// `GET /v1/services/NAME/diff`: what differs between two versions; where one is not given, between it and the
    /// desired one, or between that and the one before.
    ///
    /// # Errors
    /// [`ClientError`]; not found when there is no such service or version.
    pub async fn diff(
        &self,
        name: &str,
        from: Option<u32>,
        to: Option<u32>,
    ) -> Result<Diff, ClientError> {
        let query: Vec<String> = [("from", from), ("to", to)]
            .into_iter()
            .filter_map(|(key, version)| Some(format!("{key}={}", version?)))
            .collect();
        let query = query.join("&");
        self.get(format!("{}/diff?{query}", service_path(name)), self.timeout)
            .await
    }
}
