//! A seeded simulator: the production planner inside a world of faults, on a virtual clock, with checkers that stand
//! outside. See `world.rs` for what is real in it and what is not, `check.rs` for what is checked.

mod check;
mod fault;
mod history;
mod machine;
mod queue;
mod random;
mod run;
mod trace;
mod world;

pub use check::Violation;
pub use fault::{Fault, FaultCounts};
pub use run::{Run, Summary, play, play_all};
