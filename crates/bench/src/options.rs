//! What is measured, how long and how often.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::peer::PeerKind;
use crate::row::Row;

/// The command line.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Rows to measure; all unless told.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROW[,ROW]")]
    pub only: Vec<Row>,
    /// Peers to measure; all that are installed unless told.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PEER[,PEER]")]
    pub peers: Vec<PeerKind>,
    /// Rounds of each row: every peer once in each, one after the other [default: 5].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: Option<u32>,
    /// Seconds of load in one measurement [default: 4].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: Option<u32>,
    /// One round of one second, fewer connections for memory; ends within 60 seconds.
    #[arg(long)]
    pub quick: bool,
    /// Use the project's own load generator even where wrk is installed.
    #[arg(long)]
    pub no_wrk: bool,
    /// Write all samples into FILE.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Run although this program was built without optimisation; the figures mean nothing then.
    #[arg(long)]
    pub allow_debug: bool,
}

impl Options {
    pub(crate) fn rows(&self) -> Vec<Row> {
        let wanted = |row: &Row| self.only.is_empty() || self.only.contains(row);
        Row::ALL.into_iter().filter(wanted).collect()
    }

    pub(crate) fn peer_kinds(&self) -> Vec<PeerKind> {
        let wanted = |peer: &PeerKind| self.peers.is_empty() || self.peers.contains(peer);
        PeerKind::ALL.into_iter().filter(wanted).collect()
    }

    pub(crate) fn round_count(&self) -> usize {
        let default = if self.quick { 1 } else { 5 };
        self.rounds.unwrap_or(default) as usize
    }

    /// Of one measurement.
    pub(crate) fn duration(&self) -> Duration {
        let default = if self.quick { 1 } else { 4 };
        Duration::from_secs(self.seconds.unwrap_or(default).into())
    }

    /// Connections with which memory is measured.
    pub(crate) fn memory_connections(&self) -> usize {
        if self.quick { 500 } else { 2000 }
    }

    /// No new row is begun after this time.
    pub(crate) fn begin_limit(&self) -> Duration {
        if self.quick {
            Duration::from_secs(50)
        } else {
            self.hard_limit()
        }
    }

    /// A run that takes longer is broken and ended.
    pub(crate) fn hard_limit(&self) -> Duration {
        if self.quick {
            return Duration::from_secs(58);
        }
        let rounds = u32::try_from(self.round_count()).unwrap_or(u32::MAX);
        let measurements = rounds.saturating_mul(2 * 11 * 3);
        (self.duration() + Duration::from_secs(1)).saturating_mul(measurements)
            + Duration::from_secs(600)
    }
}
