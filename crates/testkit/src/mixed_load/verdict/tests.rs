//! The judge itself: it must not excuse what a kill does not explain.

use super::super::KindTally;
use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

/// One failed request of `kind`, sent at 1 s and failed at 2 s; `replica` as its answer named it.
fn failed(kind: Kind, truncated: bool, replica: Option<u32>) -> MixedReport {
    let begun = Instant::now();
    let failure = Failure {
        kind,
        id: 7,
        sent: begun + 1000 * MILLISECOND,
        done: begun + 2000 * MILLISECOND,
        what: "cut".to_owned(),
        truncated,
        replica,
    };
    let tally = KindTally {
        sent: 1,
        slowest: 1000 * MILLISECOND,
        slowest_sent: None,
    };
    MixedReport {
        begun,
        kinds: [(kind, tally)].into(),
        failures: vec![failure],
        unsent: 0,
    }
}

fn killed(report: &MixedReport, replica: u32, at_milliseconds: u32) -> Evidence {
    Evidence {
        kills: vec![Kill {
            replica,
            at: report.begun + at_milliseconds * MILLISECOND,
        }],
        ..Evidence::default()
    }
}

fn excuses(report: &MixedReport, evidence: &Evidence) -> bool {
    let verdict = report.judge(evidence);
    assert_eq!(verdict.excused.len() + verdict.inexcusable.len(), 1);
    verdict.inexcusable.is_empty()
}

#[test]
fn an_answer_cut_by_the_death_of_its_replica_is_excused() {
    let report = failed(Kind::Stream, true, Some(3));
    let evidence = killed(&report, 3, 1990);
    assert!(excuses(&report, &evidence));
    let told = report.judge(&evidence).to_string();
    assert!(
        told.contains("replica 3 had it, killed at 1.990 s"),
        "{told}"
    );
}

#[test]
fn no_kill_no_other_replica_and_no_other_time_excuses() {
    let report = failed(Kind::Stream, true, Some(3));
    assert!(!excuses(&report, &Evidence::default()));
    assert!(!excuses(&report, &killed(&report, 4, 1990)));
    assert!(!excuses(&report, &killed(&report, 3, 400)));
    assert!(!excuses(&report, &killed(&report, 3, 2100)));
}

#[test]
fn what_may_be_sent_again_is_not_excused_before_its_answer_began() {
    for kind in Kind::ALL {
        let report = failed(kind, false, None);
        let mut evidence = killed(&report, 3, 1990);
        // Nobody knows who had it.
        assert!(!excuses(&report, &evidence));
        evidence.given_to = [(7, 3)].into();
        assert_eq!(
            excuses(&report, &evidence),
            !kind.is_idempotent(),
            "{kind:?}"
        );
    }
}

#[test]
fn the_journal_tells_who_had_it_and_what_was_done_twice() {
    let report = failed(Kind::Post, false, None);
    let mut evidence = killed(&report, 3, 1990);
    evidence.journal = "6 3\n7 3\n".to_owned();
    assert!(excuses(&report, &evidence));
    evidence.journal.push_str("6 4\n");
    let verdict = report.judge(&evidence);
    assert_eq!(verdict.duplicated, ["request 6 reached replicas [3, 4]"]);
    assert!(std::panic::catch_unwind(|| verdict.assert_nothing_lost()).is_err());
}
