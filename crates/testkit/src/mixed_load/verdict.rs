//! Judges a mixed load: what failed, what was cut, what was done twice, and what only the death of a replica explains.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::{Failure, Kind, MixedReport};

/// After a process was killed its kernel takes its connections down; what is sent to it meanwhile is lost with them.
const TEARDOWN: Duration = Duration::from_millis(500);
/// A request that was inside a killed replica fails so soon after.
const NOTICED: Duration = Duration::from_secs(5);

/// A replica that was killed.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// Its id.
    pub replica: u32,
    /// Just before it was.
    pub at: Instant,
}

/// What is known from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Replicas that were killed.
    pub kills: Vec<Kill>,
    /// What replicas wrote down of requests that must not be done twice: a line each, id and replica.
    pub journal: String,
    /// By id of a request, the replica that the proxy gave it to last.
    pub given_to: BTreeMap<u64, u32>,
}

/// What is to be said of a load.
#[derive(Clone, Debug)]
pub struct Verdict {
    begun: Instant,
    unsent: u64,
    rows: BTreeMap<Kind, Row>,
    /// Each failure that nothing excuses.
    pub inexcusable: Vec<String>,
    /// Each that does, with the replica and its kill.
    pub excused: Vec<String>,
    /// Each id that reached replicas twice.
    pub duplicated: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    sent: u64,
    failed: u64,
    truncated: u64,
    excused: u64,
    slowest: Duration,
    /// When that was sent, from the beginning.
    slowest_at: Duration,
}

impl MixedReport {
    /// Judges it.
    #[must_use]
    pub fn judge(&self, evidence: &Evidence) -> Verdict {
        let journal = Journal::read(&evidence.journal);
        let row = |kind: &super::KindTally| Row {
            sent: kind.sent,
            slowest: kind.slowest,
            slowest_at: kind
                .slowest_sent
                .map_or(Duration::ZERO, |sent| sent - self.begun),
            ..Row::default()
        };
        let rows = self.kinds.iter().map(|(kind, tally)| (*kind, row(tally)));
        let mut verdict = Verdict {
            begun: self.begun,
            unsent: self.unsent,
            rows: rows.collect(),
            inexcusable: Vec::new(),
            excused: Vec::new(),
            duplicated: journal.duplicated(),
        };
        for failure in &self.failures {
            verdict.add(failure, evidence, &journal);
        }
        verdict
    }
}

/// Which replicas each request reached.
struct Journal(BTreeMap<u64, Vec<u32>>);

impl Journal {
    fn read(text: &str) -> Self {
        let mut reached: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for line in text.lines() {
            let words = line.split_once(' ');
            let numbers = words.and_then(|(id, replica)| Some((id.parse(), replica.parse().ok()?)));
            let Some((Ok(id), replica)) = numbers else {
                panic!("not a line of a journal: {line:?}");
            };
            reached.entry(id).or_default().push(replica);
        }
        Self(reached)
    }

    fn duplicated(&self) -> Vec<String> {
        let twice = self.0.iter().filter(|(_, replicas)| replicas.len() > 1);
        twice
            .map(|(id, replicas)| format!("request {id} reached replicas {replicas:?}"))
            .collect()
    }
}

impl Verdict {
    fn add(&mut self, failure: &Failure, evidence: &Evidence, journal: &Journal) {
        let journaled = journal
            .0
            .get(&failure.id)
            .and_then(|all| all.last())
            .copied();
        let given = evidence.given_to.get(&failure.id).copied();
        let replica = failure.replica.or(journaled).or(given);
        let kill = replica.and_then(|replica| failure.kill(replica, &evidence.kills));
        let may_not_repeat = failure.truncated || !failure.kind.is_idempotent();
        let at = |instant: Instant| instant.duration_since(self.begun).as_secs_f64();
        let told = format!(
            "{} {}, sent at {:.3} s, failed at {:.3} s: {}",
            failure.kind.name(),
            failure.id,
            at(failure.sent),
            at(failure.done),
            failure.what
        );
        let row = self.rows.entry(failure.kind).or_default();
        match (replica, kill) {
            (Some(replica), Some(kill)) if may_not_repeat => {
                row.excused += 1;
                let killed = format!("replica {replica} had it, killed at {:.3} s", at(kill.at));
                self.excused.push(format!("{killed}: {told}"));
            }
            (Some(replica), _) => {
                row.count(failure);
                self.inexcusable.push(format!("{told} (replica {replica})"));
            }
            (None, _) => {
                row.count(failure);
                self.inexcusable.push(told);
            }
        }
    }

    /// Nothing was lost, cut or done twice that need not have been.
    ///
    /// # Panics
    /// When something was.
    pub fn assert_nothing_lost(&self) {
        assert!(
            self.inexcusable.is_empty() && self.duplicated.is_empty(),
            "{self}"
        );
        let served = |kind: &Kind| self.rows.get(kind).is_some_and(|row| row.sent > 0);
        assert!(Kind::ALL.iter().all(served), "a kind is missing: {self}");
    }
}

impl Row {
    fn count(&mut self, failure: &Failure) {
        if failure.truncated {
            self.truncated += 1;
        } else {
            self.failed += 1;
        }
    }
}

impl Failure {
    /// The kill of `replica` that this request was in the middle of.
    fn kill<'a>(&self, replica: u32, kills: &'a [Kill]) -> Option<&'a Kill> {
        kills.iter().find(|kill| {
            kill.replica == replica
                && self.sent <= kill.at + TEARDOWN
                && kill.at <= self.done
                && self.done <= kill.at + NOTICED
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "\n{:<24}{:>9}{:>8}{:>11}{:>9}{:>11}{:>14}",
            "KIND", "COUNT", "FAILED", "TRUNCATED", "EXCUSED", "SLOWEST", "SENT AT"
        )?;
        let mut total = Row::default();
        let line = |formatter: &mut fmt::Formatter<'_>, name: &str, row: &Row| {
            writeln!(
                formatter,
                "{name:<24}{:>9}{:>8}{:>11}{:>9}{:>9.3} s{:>12.3} s",
                row.sent,
                row.failed,
                row.truncated,
                row.excused,
                row.slowest.as_secs_f64(),
                row.slowest_at.as_secs_f64()
            )
        };
        for (kind, row) in &self.rows {
            line(formatter, kind.name(), row)?;
            total.sent += row.sent;
            total.failed += row.failed;
            total.truncated += row.truncated;
            total.excused += row.excused;
            if total.slowest < row.slowest {
                (total.slowest, total.slowest_at) = (row.slowest, row.slowest_at);
            }
        }
        line(formatter, "all", &total)?;
        writeln!(
            formatter,
            "duplicated: {}; kept connections found closed before the request was taken: {}",
            self.duplicated.len(),
            self.unsent
        )?;
        let parts = [
            ("NOT EXCUSED", &self.inexcusable),
            ("DUPLICATED", &self.duplicated),
            ("excused", &self.excused),
        ];
        for (title, lines) in parts {
            for line in lines {
                writeln!(formatter, "{title}: {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
