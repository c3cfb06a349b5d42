use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000;

fn ejected(health: &mut Health, now: u64) -> HealthEvent {
    for _ in 1..CONNECT_FAILURES {
        if let Some(event) = health.failed(now, Failure::Connection, true) {
            return event;
        }
    }
    health.failed(now, Failure::Connection, true).unwrap()
}

fn ejections(event: HealthEvent, now: u64) -> (u32, u64) {
    match event {
        HealthEvent::Ejected {
            ejections,
            until_microseconds,
            ..
        } => (ejections, (until_microseconds - now) / SECOND),
        HealthEvent::Returned { .. } => panic!("{event:?}"),
    }
}

#[test]
fn a_run_of_failures_ejects_for_ten_seconds() {
    for (failure, run) in [
        (Failure::Connection, CONNECT_FAILURES),
        (Failure::ServerError, SERVER_ERRORS),
    ] {
        let mut health = Health::default();
        for _ in 1..run {
            assert_eq!(health.failed(7, failure, true), None);
        }
        assert_eq!(
            health.failed(7, failure, true),
            Some(HealthEvent::Ejected {
                cause: failure,
                ejections: 1,
                until_microseconds: 7 + 10 * SECOND,
            })
        );
        assert!(health.is_ejected(7));
        assert!(health.is_ejected(6 + 10 * SECOND));
        assert!(!health.is_ejected(7 + 10 * SECOND));
    }
}

#[test]
fn one_success_ends_the_run() {
    let mut health = Health::default();
    for _ in 0..100 {
        for _ in 1..SERVER_ERRORS {
            assert_eq!(health.failed(0, Failure::ServerError, true), None);
        }
        health.succeeded(0);
    }
}

#[test]
fn an_answer_of_any_status_proves_the_connection() {
    let mut health = Health::default();
    for _ in 1..CONNECT_FAILURES {
        assert_eq!(health.failed(0, Failure::Connection, true), None);
    }
    assert_eq!(health.failed(0, Failure::ServerError, true), None);
    assert_eq!(health.failed(0, Failure::Connection, true), None);
}

#[test]
fn ejections_in_a_row_grow_to_five_minutes() {
    let mut health = Health::default();
    let mut now = 0;
    for number in 1..=40 {
        let event = ejected(&mut health, now);
        let seconds = (u64::from(number) * 10).min(300);
        assert_eq!(ejections(event, now), (number, seconds));
        now += seconds * SECOND;
        assert_eq!(
            health.tick(now),
            Some(HealthEvent::Returned { by_probe: false })
        );
        assert_eq!(health.tick(now), None);
        health.succeeded(now);
    }
}

#[test]
fn five_good_minutes_are_forgiven() {
    let mut health = Health::default();
    ejected(&mut health, 0);
    health.tick(10 * SECOND);
    health.succeeded(10 * SECOND);
    let event = ejected(&mut health, 310 * SECOND);
    assert_eq!(ejections(event, 310 * SECOND), (2, 20));
    // Nobody asked `tick` this time: the end of the ejection counts as the return.
    health.succeeded(331 * SECOND);
    let event = ejected(&mut health, 631 * SECOND);
    assert_eq!(ejections(event, 631 * SECOND), (1, 10));
}

#[test]
fn after_its_time_it_is_on_trial() {
    let mut health = Health::default();
    ejected(&mut health, 0);
    let now = 10 * SECOND;
    let event = health.failed(now, Failure::ServerError, true).unwrap();
    assert_eq!(ejections(event, now), (2, 20));

    let now = now + 20 * SECOND;
    health.succeeded(now);
    assert_eq!(health.failed(now, Failure::ServerError, true), None);
}

#[test]
fn a_probe_brings_back_at_once_what_could_not_be_reached() {
    let mut health = Health::default();
    assert_eq!(health.probe_succeeded(0), None);
    ejected(&mut health, 0);
    assert_eq!(
        health.probe_succeeded(SECOND),
        Some(HealthEvent::Returned { by_probe: true })
    );
    assert!(!health.is_ejected(SECOND));
    assert_eq!(health.probe_succeeded(SECOND), None);
    assert_eq!(health.tick(20 * SECOND), None);
}

#[test]
fn a_probe_brings_back_after_ten_seconds_what_answered_with_errors() {
    let mut health = Health::default();
    for now in [0, 10 * SECOND] {
        while health.failed(now, Failure::ServerError, true).is_none() {}
    }
    assert_eq!(health.ejected_until(), Some(30 * SECOND));
    assert_eq!(health.probe_succeeded(20 * SECOND - 1), None);
    assert_eq!(
        health.probe_succeeded(20 * SECOND),
        Some(HealthEvent::Returned { by_probe: true })
    );
}

#[test]
fn what_was_under_way_says_nothing() {
    let mut health = Health::default();
    ejected(&mut health, 0);
    assert!(!health.is_flawless());
    let before = health.clone();
    health.succeeded(SECOND);
    for _ in 0..10 {
        assert_eq!(health.failed(SECOND, Failure::Connection, true), None);
    }
    assert_eq!(health, before);
}

#[test]
fn where_no_more_may_be_ejected_the_next_failure_asks_again() {
    let mut health = Health::default();
    for _ in 0..10 {
        assert_eq!(health.failed(0, Failure::Connection, false), None);
    }
    assert!(health.failed(0, Failure::Connection, true).is_some());
}

#[test]
fn half_may_be_ejected_and_one_stays() {
    for (count, most) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (1000, 500)] {
        let ejected = (0..).find(|&ejected| !may_eject(ejected, count));
        assert_eq!(ejected, Some(most), "of {count}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever happens: no ejection is longer than the cap, events alternate, and at most half are out.
    #[test]
    fn any_history_keeps_the_rules(
        count in 1_usize..8,
        history in prop::collection::vec((0_usize..8, 0_u8..5, 0_u64..40 * SECOND), 0..300),
    ) {
        let mut table = vec![Health::default(); count];
        let mut out = vec![false; count];
        let mut now = 0;
        for (which, what, later) in history {
            now += later;
            let which = which % count;
            let ejected = table.iter().filter(|health| health.is_ejected(now)).count();
            let health = &mut table[which];
            if health.is_flawless() {
                let mut after = health.clone();
                after.succeeded(now);
                prop_assert_eq!(&after, &*health);
            }
            let mut events = vec![health.tick(now)];
            events.push(match what {
                0 => {
                    health.succeeded(now);
                    None
                }
                1 => health.probe_succeeded(now),
                2 => health.failed(now, Failure::ServerError, may_eject(ejected, count)),
                _ => health.failed(now, Failure::Connection, may_eject(ejected, count)),
            });
            for event in events.into_iter().flatten() {
                match event {
                    HealthEvent::Ejected { until_microseconds, ejections, .. } => {
                        prop_assert!(!out[which]);
                        prop_assert!(ejections >= 1);
                        let lasts = until_microseconds - now;
                        prop_assert!(lasts >= BASE_EJECTION_MICROSECONDS);
                        prop_assert!(lasts <= LONGEST_EJECTION_MICROSECONDS);
                        out[which] = true;
                    }
                    HealthEvent::Returned { .. } => {
                        prop_assert!(out[which]);
                        out[which] = false;
                    }
                }
            }
            let ejected = table.iter().filter(|health| health.is_ejected(now)).count();
            prop_assert!(ejected <= count / 2);
        }
    }
}
