//! What was and is going on.

use super::{Client, ClientError, service_path};
use crate::history::History;

impl Client {
    /// `GET /v1/services/NAME/history`: what a service was brought to, by whom, and how that ended.
    ///
    /// # Errors
    /// [`ClientError`]; not found when there is no such service.
    pub async fn history(&self, name: &str) -> Result<History, ClientError> {
        self.get(format!("{}/history", service_path(name)), self.timeout)
            .await
    }
}
