//! Choosing a replica. Pure: no I/O, no clock, no threads; time and randomness are arguments.
//!
//! The proxy calls [`choose`] once for each request, from every serving thread: it allocates nothing, and its cost does
//! not grow with the number of replicas. [`Health`] says which replicas are left out for their failures, [`RetryBudget`]
//! how often a request may be tried again, [`prompt::extract`] where the prompt stands in a request's body.

mod affinity;
mod bound;
mod candidate;
mod chain;
mod choose;
mod hash;
pub mod health;
mod prefix_index;
pub mod prompt;
mod retry_budget;
mod ring;
mod roster;
mod turn;

pub use candidate::{Candidate, Candidates};
pub use chain::PrefixChain;
pub use choose::{FEW, Key, choose};
pub use hash::session_hash;
pub use health::{Failure, Health, HealthEvent, may_eject};
pub use prefix_index::PrefixIndex;
pub use prompt::PromptView;
pub use retry_budget::RetryBudget;
pub use ring::Ring;
pub use roster::Roster;
pub use turn::Turn;
