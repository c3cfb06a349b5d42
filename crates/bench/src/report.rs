//! The report, for people (Markdown) and for programs (JSON).

mod json;
mod markdown;

use std::time::Duration;

use crate::machine::Machine;
use crate::memory::Memories;
use crate::peer::PeerKind;
use crate::row::Row;
use crate::scale::Scale;
use crate::series::Series;

/// Everything that was measured.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    /// Of one measurement.
    pub(crate) duration: Duration,
    pub(crate) unoptimised: bool,
    pub(crate) took: Duration,
    pub(crate) sections: Vec<(Row, Section)>,
    /// What could not be measured, and why.
    pub(crate) left_out: Vec<String>,
}

/// What a row came to.
pub(crate) enum Section {
    Load(Series<PeerKind>),
    Memory(Memories),
    Scale(Scale),
}
