//! The one place that reads the clock for the planner.

use std::time::{SystemTime, UNIX_EPOCH};

use plan::Timestamp;

/// The present instant.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
