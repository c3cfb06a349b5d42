//! After `101 Switching Protocols`: two connections become one, until both ends have closed.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio_util::task::TaskTracker;

use crate::lease::Lease;
use crate::log::{Outcome, RequestRecord};

/// Copies bytes both ways. The request stays in flight for as long as that lasts. There is no limit
/// on silence: what is silence in a protocol is that protocol's business.
pub(super) fn join(
    tasks: &TaskTracker,
    client: OnUpgrade,
    replica: OnUpgrade,
    lease: Lease,
    mut record: RequestRecord,
) {
    tasks.spawn(async move {
        let lease = lease;
        let (client, replica) = match tokio::try_join!(client, replica) {
            Ok(both) => both,
            Err(_) => return record.outcome(Outcome::ClientGone),
        };
        let (mut client, mut replica) = (TokioIo::new(client), TokioIo::new(replica));
        match copy_bidirectional(&mut client, &mut replica).await {
            Ok((from_client, from_replica)) => {
                record.upgraded(from_client, from_replica);
                record.outcome(Outcome::Completed);
            }
            Err(_) => record.outcome(Outcome::Cut),
        }
        drop(lease);
    });
}
