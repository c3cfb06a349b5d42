//! The two clocks of the proxy: wall time for reports and logs, a monotonic count for everything measured.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use plan::time::Timestamp;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Wall time at [`START`] by the wall clock as it stood when it was looked at last, in microseconds.
static WALL_AT_START: LazyLock<AtomicI64> = LazyLock::new(|| AtomicI64::new(wall_at_start()));

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

/// The wall time of a moment of the monotonic clock, without asking the system.
pub(crate) fn wall_of(monotonic_micros: u64) -> Timestamp {
    let since = i64::try_from(monotonic_micros).unwrap_or(i64::MAX);
    Timestamp(WALL_AT_START.load(Ordering::Relaxed).saturating_add(since))
}

/// Follows a wall clock that was set; to be called now and then.
pub(crate) fn follow_wall_clock() {
    WALL_AT_START.store(wall_at_start(), Ordering::Relaxed);
}

fn wall_at_start() -> i64 {
    let since = i64::try_from(monotonic_micros()).unwrap_or(i64::MAX);
    now().0.saturating_sub(since)
}
