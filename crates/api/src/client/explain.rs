//! What was and is going on.

use super::{Client, ClientError, service_path};
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
}
