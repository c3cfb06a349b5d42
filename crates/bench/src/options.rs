//! What is measured, how long and how often.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::peer::PeerKind;
use crate::row::Row;
use crate::run::QUIET_PATIENCE;

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

    /// What is still being measured after this time is given up; the report has the rest.
    pub(crate) fn hard_limit(&self) -> Duration {
        if self.quick {
            return Duration::from_secs(56);
        }
        let rounds = u32::try_from(self.round_count()).unwrap_or(u32::MAX);
        let measurements = rounds.saturating_mul(2 * 11 * 3);
        let measurement = self.duration() + QUIET_PATIENCE + Duration::from_secs(1);
        measurement.saturating_mul(measurements) + Duration::from_secs(600)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn options(words: &[&str]) -> Result<Options, clap::Error> {
        let words = ["bench-proxy"].iter().chain(words);
        Command::try_parse_from(words).map(|command| command.options)
    }

    #[test]
    fn everything_is_measured_unless_told() {
        let options = options(&[]).unwrap();
        assert_eq!(options.rows(), Row::ALL);
        assert_eq!(options.peer_kinds(), PeerKind::ALL);
        assert_eq!(
            (options.round_count(), options.duration().as_secs()),
            (5, 4)
        );
    }

    #[test]
    fn lists_are_measured_in_the_order_of_the_tables() {
        let options = options(&["--only=tls,get-64", "--peers", "haproxy,sky"]).unwrap();
        assert_eq!(options.rows(), [Row::Get64, Row::Tls]);
        assert_eq!(options.peer_kinds(), [PeerKind::Sky, PeerKind::Haproxy]);
    }

    #[test]
    fn quick_is_short_and_can_be_told_otherwise() {
        let quick = options(&["--quick", "--rounds=2"]).unwrap();
        assert_eq!((quick.round_count(), quick.duration().as_secs()), (2, 1));
        assert!(quick.begin_limit() < quick.hard_limit());
        assert!(quick.hard_limit() < Duration::from_secs(60));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "--rounds=0",
            "--seconds=0",
            "--only=get-65",
            "--peers=apache",
        ] {
            assert!(options(&[words]).is_err(), "{words}");
        }
    }
}
