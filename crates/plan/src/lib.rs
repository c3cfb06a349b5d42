//! The pure decision core: `step(state, now, event)` → new state, actions and what is worth
//! telling.
//!
//! Nothing here blocks, sleeps, logs, reads a clock or draws a random number: time is an argument
//! and every jitter comes from a seed in the state, so the same state, time and event give the same
//! step on every machine (promise 4). The store commits a step whole, the controller carries out
//! its actions, the simulator and the tests run the very same function.

#[macro_use]
mod bug;

pub mod action;
pub mod analysis;
pub mod autoscale;
pub mod backoff;
pub mod event;
pub mod figures;
pub mod happening;
pub mod observation;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod probe;
pub mod replica;
pub mod report;
pub mod rollout;
pub mod routing;
pub mod settings;
pub mod state;
pub mod status;
pub mod steering;
pub mod time;

mod context;
mod ending;
mod lifecycle;
mod route;
mod step;
mod verify;

pub use action::Action;
pub use event::{Event, Steering};
pub use happening::{Happening, HappeningKind};
pub use replica::Replica;
pub use state::{ServicePhase, ServiceState, VersionState};
pub use step::{Step, step};
pub use time::{Span, Timestamp};
pub use verify::Verification;
