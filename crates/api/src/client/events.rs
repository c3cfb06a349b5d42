//! What happened to a service.

use std::time::Duration;

use super::{Client, ClientError, service_path};
use crate::events::EventList;

/// The longest that the server keeps an answer back that was asked to follow.
pub const FOLLOW_WAIT: Duration = Duration::from_secs(30);

impl Client {
    /// `GET /v1/services/NAME/events`: some of what happened to a service after the event numbered `sequence`, oldest
    /// first. With `follow` the answer comes once there is such an event, the service is gone, or after
    /// [`FOLLOW_WAIT`]. A service that is gone keeps its events.
    ///
    /// # Errors
    /// [`ClientError`]; not found when there never was such a service.
    pub async fn events(
        &self,
        name: &str,
        sequence: i64,
        follow: bool,
    ) -> Result<EventList, ClientError> {
        let limit = if follow {
            FOLLOW_WAIT.saturating_add(self.timeout)
        } else {
            self.timeout
        };
        let path = format!(
            "{}/events?after={sequence}&follow={follow}",
            service_path(name)
        );
        self.get(path, limit).await
    }
}
