//! Waiting in line for a replica, see [`crate::waiting`].

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use plan::routing::ReplicaId;
use tokio::time::timeout;

use crate::deadline::coarse_now;
use crate::endpoint::{Endpoint, REFUSED_PAUSE};
use crate::lease::Lease;
use crate::own_answer::OwnAnswer;
use crate::split::Wish;

/// Waits for a replica. `started`: when the request came, in monotonic microseconds. `tried`: who took no connection a
/// moment ago, and is asked again after a pause. `place`: where it stood in the line before. A client that goes away drops
/// this.
pub(super) async fn wait(
    endpoint: &Endpoint,
    wish: Wish<'_>,
    started: u64,
    tried: &mut Vec<ReplicaId>,
    place: &mut Option<u64>,
) -> Result<Lease, OwnAnswer> {
    let view = endpoint.view();
    let settings = &view.published.settings;
    let name = endpoint.service.name();
    let line = &endpoint.service.line;
    let held = match *place {
        Some(number) => line.enter_again(number),
        None => match (line.enter(settings.queue_requests), settings.queue_requests) {
            (Some(held), _) => held,
            (None, 0) => return Err(OwnAnswer::no_replica(name)),
            (None, limit) => return Err(OwnAnswer::queue_full(limit)),
        },
    };
    *place = Some(held.number());
    let now = || Duration::from_micros(coarse_now());
    let waited = now().saturating_sub(Duration::from_micros(started));
    let again_at = now()
        + if tried.is_empty() {
            Duration::ZERO
        } else {
            REFUSED_PAUSE
        };
    let chosen = poll_fn(|context| {
        if held.is_first(context.waker()) {
            if endpoint.service.epoch() != view.epoch || now() >= again_at {
                tried.clear();
            }
            if let Some(lease) = endpoint.select(tried, wish) {
                return Poll::Ready(Ok(lease));
            }
        }
        if endpoint.has_closed() {
            return Poll::Ready(Err(OwnAnswer::closed()));
        }
        Poll::Pending
    });
    timeout(settings.queue_timeout.saturating_sub(waited), chosen)
        .await
        .unwrap_or_else(|_| Err(OwnAnswer::waited_in_vain(settings.queue_timeout, name)))
}
