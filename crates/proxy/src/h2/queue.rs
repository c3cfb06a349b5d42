//! Waiting in line for a replica, see [`crate::waiting`].

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use super::answer::OwnAnswer;
use crate::deadline::coarse_now;
use crate::endpoint::{Affinity, Endpoint, REFUSED_PAUSE_MICROS};
use crate::lease::Lease;

/// Waits for a replica. `started`: when the request came, in monotonic microseconds. `tried`: all there are took no
/// connection a moment ago. A client that goes away drops this.
pub(super) async fn wait(
    endpoint: &Endpoint,
    affinity: Affinity<'_>,
    started: u64,
    tried: bool,
) -> Result<Lease, OwnAnswer> {
    let view = endpoint.view();
    let settings = &view.published.settings;
    let name = endpoint.service.name();
    let Some(place) = endpoint.service.line.enter(settings.queue_requests) else {
        return Err(match settings.queue_requests {
            0 => OwnAnswer::no_replica(name),
            limit => OwnAnswer::queue_full(limit),
        });
    };
    let waited = Duration::from_micros(coarse_now().saturating_sub(started));
    let again_at = coarse_now().saturating_add(if tried { REFUSED_PAUSE_MICROS } else { 0 });
    let chosen = poll_fn(|context| {
        if place.is_first(context.waker()) {
            let changed = endpoint.service.epoch() != view.epoch;
            if (changed || coarse_now() >= again_at)
                && let Some(lease) = endpoint.select(&[], affinity)
            {
                return Poll::Ready(lease);
            }
        }
        Poll::Pending
    });
    timeout(settings.queue_timeout.saturating_sub(waited), chosen)
        .await
        .map_err(|_| OwnAnswer::waited_in_vain(settings.queue_timeout, name))
}
