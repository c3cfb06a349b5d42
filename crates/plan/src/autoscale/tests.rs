use super::*;

const START: Timestamp = Timestamp(1_700_000_000_000_000);

fn policy(min: u32, max: u32, up_seconds: f64, down_seconds: f64) -> ReplicaPolicy {
    ReplicaPolicy {
        max_replicas: Some(max),
        target_qps_per_replica: Some(TargetQps::Uniform(1.0)),
        upscale_delay_seconds: Some(up_seconds),
        downscale_delay_seconds: Some(down_seconds),
        ..ReplicaPolicy::fixed(min)
    }
}

fn after(seconds: f64) -> Timestamp {
    START + Span::from_seconds(seconds)
}

/// So many requests a second for the last minute, then the decision that is due.
fn decide(autoscaler: &mut Autoscaler, policy: &ReplicaPolicy, now: Timestamp, rate: u32) -> u32 {
    autoscaler.window.clear();
    let count = rate * 60;
    autoscaler.collect(&[Arrivals { at: now, count }], now);
    autoscaler.decide(policy, now);
    autoscaler.target
}

#[test]
fn a_higher_demand_must_last_for_the_delay() {
    let policy = policy(1, 5, 60.0, 60.0);
    let mut autoscaler = Autoscaler::new(&policy, START);
    let targets: Vec<u32> = [3, 3, 0, 3, 4, 2, 2]
        .into_iter()
        .zip(0i32..)
        .map(|(rate, n)| {
            let now = after(20.0 * f64::from(n));
            decide(&mut autoscaler, &policy, now, rate)
        })
        .collect();
    // Three decisions in a row want more; the break starts the count anew; the last demand counts.
    assert_eq!(targets, [1, 1, 1, 1, 1, 2, 2]);
}

#[test]
fn a_lower_demand_must_last_for_its_own_delay() {
    let policy = policy(1, 5, 0.0, 40.0);
    let mut autoscaler = Autoscaler::new(&policy, START);
    assert_eq!(decide(&mut autoscaler, &policy, START, 4), 4);
    assert_eq!(decide(&mut autoscaler, &policy, after(20.0), 2), 4);
    assert_eq!(decide(&mut autoscaler, &policy, after(40.0), 1), 1);
}

#[test]
fn decisions_are_taken_every_twenty_seconds_and_every_five_at_zero() {
    let policy = policy(0, 5, 0.0, 0.0);
    let mut autoscaler = Autoscaler::new(&policy, START);
    assert_eq!(decide(&mut autoscaler, &policy, START, 0), 0);
    assert_eq!(decide(&mut autoscaler, &policy, after(4.9), 1), 0);
    // From zero at once, whatever the delay.
    assert_eq!(decide(&mut autoscaler, &policy, after(5.0), 1), 1);
    assert_eq!(decide(&mut autoscaler, &policy, after(24.9), 3), 1);
    assert_eq!(decide(&mut autoscaler, &policy, after(25.0), 3), 3);
}

#[test]
fn over_provision_alone_is_not_zero() {
    let mut policy = policy(0, 5, 0.0, 0.0);
    policy.num_overprovision = Some(1);
    let mut autoscaler = Autoscaler::new(&policy, START);
    autoscaler.decide(&policy, START);
    assert_eq!(autoscaler.next_decision_at, after(20.0));
}

#[test]
fn the_target_stays_within_its_limits() {
    let policy = policy(2, 4, 0.0, 0.0);
    let mut autoscaler = Autoscaler::new(&policy, START);
    assert_eq!(decide(&mut autoscaler, &policy, START, 100), 4);
    assert_eq!(decide(&mut autoscaler, &policy, after(20.0), 0), 2);
}

#[test]
fn without_a_rate_the_target_is_fixed() {
    let policy = ReplicaPolicy::fixed(3);
    let mut autoscaler = Autoscaler::new(&policy, START);
    assert_eq!(decide(&mut autoscaler, &policy, START, 100), 3);
}

#[test]
fn requests_older_than_a_minute_do_not_count_and_those_as_old_do() {
    let policy = policy(0, 9, 0.0, 0.0);
    let mut autoscaler = Autoscaler::new(&policy, START);
    let at = |seconds, count| Arrivals {
        at: after(seconds),
        count,
    };
    autoscaler.collect(&[at(0.0, 60), at(1.0, 60), at(500.0, 60)], after(61.0));
    assert_eq!(autoscaler.requests_per_second(), 2.0);
    // What comes from a clock that was set back counts as of now, not for ever.
    autoscaler.collect(&[], after(122.0));
    assert_eq!(autoscaler.requests_per_second(), 0.0);
}

#[test]
fn an_update_keeps_the_size_of_a_busy_service() {
    let old = policy(1, 9, 0.0, 0.0);
    let mut autoscaler = Autoscaler::new(&old, START);
    decide(&mut autoscaler, &old, START, 6);
    autoscaler.adopt(&policy(1, 9, 300.0, 1200.0));
    assert_eq!(autoscaler.target, 6);
    autoscaler.adopt(&policy(1, 4, 300.0, 1200.0));
    assert_eq!(autoscaler.target, 4);
    autoscaler.adopt(&ReplicaPolicy::fixed(2));
    assert_eq!(autoscaler.target, 2);
}

#[test]
fn where_requests_may_be_forgotten_nothing_is_taken_down() {
    let policy = policy(1, 5, 0.0, 0.0);
    let mut autoscaler = Autoscaler::new(&policy, START);
    assert_eq!(decide(&mut autoscaler, &policy, START, 4), 4);
    autoscaler.window.clear();
    autoscaler.decide_knowing(&policy, after(20.0), false);
    assert_eq!(autoscaler.target, 4);
    let count = 300;
    let at = after(40.0);
    autoscaler.collect(&[Arrivals { at, count }], at);
    autoscaler.decide_knowing(&policy, at, false);
    assert_eq!(autoscaler.target, 5);
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_it() {
    let policy = policy(1, 5, 0.0, 0.0);
    let mut autoscaler = Autoscaler::new(&policy, START);
    decide(&mut autoscaler, &policy, START, 1);
    assert_eq!(decide(&mut autoscaler, &policy, after(-3600.0), 3), 3);
}

#[test]
fn senseless_rates_are_harmless() {
    for qps in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE] {
        let mut policy = policy(1, 3, f64::NAN, f64::INFINITY);
        policy.target_qps_per_replica = Some(TargetQps::Uniform(qps));
        let mut autoscaler = Autoscaler::new(&policy, START);
        let target = decide(&mut autoscaler, &policy, START, 1000);
        assert!((1..=3).contains(&target));
    }
}
