//! The two clocks of the proxy: wall time for reports and logs, a monotonic count for silences.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use plan::time::Timestamp;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Wall time; the epoch itself where the clock stands before it.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Microseconds since the first use of this clock in this process; never goes back.
pub(crate) fn monotonic_micros() -> u64 {
    u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX)
}
