//! The proxy measured beside nginx and HAProxy, on one machine in one run.
//!
//! # Problem
//!
//! Figures of different days, machines or settings cannot be compared, and on a machine that does other things too
//! even figures of the same minute mislead.
//!
//! # Rules
//!
//! - Peers take turns within a round, and ratios are taken within a round (`series`).
//! - The fair figure is processor time per request of the proxy alone; that of the whole machine stands beside it,
//!   because work may move from one process to another (`sample`).
//! - A measurement that others disturbed is marked and left out (`sample`).
//! - Every peer is set up as well as we know how (`peer`), has the same backends (`backend`) and the same load
//!   (`wrk`, `load`, `streams`).
//! - Everything that was started is ended, whatever happens (`process`, `interrupt`).

mod backend;
mod backends;
mod certificate;
mod event;
mod interrupt;
mod load;
mod machine;
mod memory;
mod options;
mod peer;
mod process;
mod report;
pub mod role;
mod row;
mod run;
mod sample;
mod scale;
mod series;
mod statistics;
mod streams;
mod usage;
mod wrk;

pub use options::Options;
pub use peer::PeerKind;
pub use row::Row;
pub use run::run;
