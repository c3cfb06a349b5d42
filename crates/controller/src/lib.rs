//! The loop: event → step → commit → execute → event.
//!
//! Problem: many things happen to a service at once (replicas come up, probes end, users ask, the proxy reports),
//! and the process that decides may be killed between any two instructions.
//!
//! Rules.
//! 1. Each service has one actor, and only it steps the service: events are taken one at a time, in order.
//! 2. A step is committed before anything it owes is done. If the commit fails, the step has not happened.
//! 3. Actions are carried out beside the actor and answer with events; the answer and the settling of the action
//!    are one commit. Actions on one replica are carried out in the order they were owed.
//! 4. Providers are observed and replicas probed by tasks of their own, one per replica, so that a slow one
//!    delays nobody.
//!
//! Cold start: every service of the store gets its actor. Recovery: the actor carries out again what the store
//! says is owed (each action is idempotent), tells the proxy its newest table, and looks at every replica anew;
//! replicas that a provider holds and no service knows are ended.

mod actor;
mod canary;
mod clock;
mod controller;
mod execute;
mod http_probe;
mod keys;
mod masks;
mod new_version;
mod observe;
mod probing;
mod proxy_link;
mod requests;
mod snapshots;
mod verify;

pub use clock::now;
pub use controller::{Controller, ControllerError, View};
pub use keys::MAX_KEYS;
pub use new_version::{NewVersion, Updated};
pub use proxy_link::{ProxyLauncher, ProxyLink};
pub use snapshots::{SnapshotError, Snapshots};
