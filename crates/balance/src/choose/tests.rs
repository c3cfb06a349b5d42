use super::*;

const EVERY_POLICY: [LoadBalancingPolicy; 5] = [
    LoadBalancingPolicy::RoundRobin,
    LoadBalancingPolicy::LeastLoad,
    LoadBalancingPolicy::InstanceAwareLeastLoad,
    LoadBalancingPolicy::SessionAffinity,
    LoadBalancingPolicy::PrefixAffinity,
];

fn with(in_flight: u32) -> Candidate {
    Candidate {
        in_flight,
        ..Candidate::idle()
    }
}

fn run(
    policy: LoadBalancingPolicy,
    candidates: &[Option<Candidate>],
    times: usize,
) -> Vec<Option<usize>> {
    let mut turn = Turn::starting_at(0, 1);
    (0..times)
        .map(|_| choose(policy, candidates, &mut turn, None))
        .collect()
}

/// How often each of a table is chosen.
fn shares(policy: LoadBalancingPolicy, candidates: &[Candidate], times: usize) -> Vec<usize> {
    let mut turn = Turn::new(3);
    let mut chosen = vec![0; candidates.len()];
    for _ in 0..times {
        chosen[choose(policy, candidates, &mut turn, None).unwrap()] += 1;
    }
    chosen
}

#[test]
fn nothing_to_choose_from_gives_nothing() {
    for policy in EVERY_POLICY {
        assert_eq!(run(policy, &[], 1), [None]);
        assert_eq!(run(policy, &[None, None], 1), [None]);
        assert_eq!(run(policy, &[None; 100], 1), [None]);
    }
}

#[test]
fn round_robin_takes_turns_and_skips_the_excluded() {
    let chosen = run(
        LoadBalancingPolicy::RoundRobin,
        &[Some(with(9)), None, Some(with(0))],
        4,
    );
    assert_eq!(chosen, [Some(0), Some(2), Some(0), Some(2)]);
}

#[test]
fn least_load_prefers_the_idle_and_rotates_ties() {
    for policy in &EVERY_POLICY[1..] {
        let chosen = run(*policy, &[Some(with(0)), Some(with(1)), Some(with(0))], 4);
        assert_eq!(chosen, [Some(0), Some(2), Some(0), Some(2)], "{policy:?}");
    }
}

#[test]
fn weight_divides_the_load_and_nonsense_counts_as_one() {
    let strong = Candidate {
        weight: 4.0,
        ..with(3)
    };
    for weight in [1.0, 0.0, -2.0, f64::NAN, f64::INFINITY] {
        let weak = Candidate { weight, ..with(1) };
        assert_eq!(
            run(
                LoadBalancingPolicy::InstanceAwareLeastLoad,
                &[Some(weak), Some(strong)],
                1
            ),
            [Some(1)],
            "weight {weight}"
        );
    }
}

#[test]
fn weight_is_nothing_to_least_load() {
    let strong = Candidate {
        weight: 4.0,
        ..with(3)
    };
    let chosen = run(
        LoadBalancingPolicy::LeastLoad,
        &[Some(with(1)), Some(strong)],
        1,
    );
    assert_eq!(chosen, [Some(0)]);
}

#[test]
fn a_suspect_is_the_last_resort() {
    let suspect = Candidate {
        suspect: true,
        ..with(0)
    };
    let new = Candidate {
        ramp: 0.1,
        ..with(0)
    };
    for policy in EVERY_POLICY {
        for other in [with(50), new] {
            assert_eq!(
                run(policy, &[Some(suspect), Some(other)], 2),
                [Some(1), Some(1)]
            );
            assert_eq!(run(policy, &[Some(suspect)], 1), [Some(0)]);
            let mut many = vec![Some(suspect); 100];
            many[70] = Some(other);
            assert!(
                run(policy, &many, 50)
                    .iter()
                    .all(|&chosen| chosen == Some(70))
            );
            many[70] = None;
            assert!(run(policy, &many, 50).iter().all(Option::is_some));
        }
    }
}

#[test]
fn the_turn_survives_a_shrinking_table() {
    let mut turn = Turn::starting_at(7, 0);
    let table = [with(0); 2];
    let mut next = || choose(LoadBalancingPolicy::RoundRobin, &table[..], &mut turn, None);
    assert_eq!((next(), next(), next()), (Some(1), Some(0), Some(1)));
}

#[test]
fn of_many_two_are_compared() {
    // One in a hundred is busy: it is chosen only if both draws fall on it, which they cannot.
    let mut table = [with(0); 100];
    table[31] = with(5);
    let chosen = shares(LoadBalancingPolicy::LeastLoad, &table, 20_000);
    assert_eq!(chosen[31], 0);
    assert!(
        chosen
            .iter()
            .enumerate()
            .all(|(index, &times)| index == 31 || times > 120),
        "{chosen:?}"
    );
}

#[test]
fn many_requests_are_spread_evenly_over_many_replicas() {
    let mut table = vec![with(0); 200];
    let mut turn = Turn::new(9);
    for _ in 0..20_000 {
        let chosen = choose(LoadBalancingPolicy::LeastLoad, &table[..], &mut turn, None).unwrap();
        table[chosen].in_flight += 1;
    }
    // Two choices: the most loaded is log log n above the mean (100), not √mean.
    let most = table.iter().map(|replica| replica.in_flight).max().unwrap();
    assert!(most <= 105, "{most}");
}

#[test]
fn a_new_replica_takes_part_in_its_share_of_choices() {
    for policy in &EVERY_POLICY[..3] {
        for ramp in [0.1_f32, 0.5, 0.9] {
            let mut table = [with(0); 4];
            table[2].ramp = ramp;
            let chosen = shares(*policy, &table, 40_000);
            let share = chosen[2] as f64 / 40_000.0;
            let meant = f64::from(ramp) / (3.0 + f64::from(ramp));
            assert!(
                (0.85 * meant..1.15 * meant).contains(&share),
                "{policy:?} {ramp}: {share}, not {meant}"
            );
        }
    }
}

#[test]
fn a_new_replica_has_its_share_of_requests_at_once() {
    let mut table = [with(0); 4];
    table[0].ramp = 0.25;
    let mut turn = Turn::new(5);
    for _ in 0..400 {
        let chosen = choose(LoadBalancingPolicy::LeastLoad, &table[..], &mut turn, None).unwrap();
        table[chosen].in_flight += 1;
    }
    let new = table[0].in_flight;
    assert!(
        (20..=31).contains(&new),
        "{new} of 400; a quarter of a share is 31"
    );
}

#[test]
fn when_all_are_new_all_take_part() {
    for count in [3, 300] {
        for policy in EVERY_POLICY {
            let table = vec![
                Candidate {
                    ramp: 0.1,
                    ..with(0)
                };
                count
            ];
            let chosen = shares(policy, &table, 100 * count);
            assert!(
                chosen.iter().all(|&times| times > 30),
                "{policy:?} of {count}: {chosen:?}"
            );
        }
    }
}
