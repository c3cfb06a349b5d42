//! Which replica gets the next request. Pure: a view of the candidates and a cursor in, an index
//! out.
//!
//! - `round_robin`: the next in turn.
//! - `least_load`: the fewest requests in flight; ties go to the next in turn.
//! - `instance_aware_least_load`: the fewest requests in flight for its weight; ties go to the next
//!   in turn.
//!
//! A *suspect* replica (a connection to it failed a moment ago) is chosen only when no other is
//! left. Without that rule a dead replica, which fails fast and so has nothing in flight, would
//! attract every request.

use spec::LoadBalancingPolicy;

/// One replica as the selection sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// Requests in flight.
    pub(crate) in_flight: u32,
    /// Requests per second it is meant for; anything but a positive number counts as 1.
    pub(crate) weight: f64,
    /// Whether a connection to it failed a moment ago.
    pub(crate) suspect: bool,
}

/// Chooses among `count` candidates; `candidate` gives `None` for those that must not be chosen.
/// `cursor` remembers whose turn it is; any value is valid.
pub(crate) fn choose(
    policy: LoadBalancingPolicy,
    count: usize,
    cursor: &mut usize,
    candidate: impl Fn(usize) -> Option<Candidate>,
) -> Option<usize> {
    let start = if *cursor < count { *cursor } else { 0 };
    let mut best: Option<(usize, (bool, f64))> = None;
    for index in (start..count).chain(0..start) {
        let Some(candidate) = candidate(index) else {
            continue;
        };
        let rank = (candidate.suspect, load(policy, &candidate));
        if best.is_none_or(|(_, least)| rank < least) {
            best = Some((index, rank));
        }
    }
    let (index, _) = best?;
    *cursor = index + 1;
    Some(index)
}

fn load(policy: LoadBalancingPolicy, candidate: &Candidate) -> f64 {
    let in_flight = f64::from(candidate.in_flight);
    match policy {
        LoadBalancingPolicy::RoundRobin => 0.0,
        LoadBalancingPolicy::LeastLoad
        | LoadBalancingPolicy::SessionAffinity
        | LoadBalancingPolicy::PrefixAffinity => in_flight,
        LoadBalancingPolicy::InstanceAwareLeastLoad => in_flight / usable_weight(candidate.weight),
    }
}

fn usable_weight(weight: f64) -> f64 {
    if weight.is_finite() && weight > 0.0 {
        weight
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle() -> Candidate {
        Candidate {
            in_flight: 0,
            weight: 1.0,
            suspect: false,
        }
    }

    fn run(
        policy: LoadBalancingPolicy,
        candidates: &[Option<Candidate>],
        times: usize,
    ) -> Vec<Option<usize>> {
        let mut cursor = 0;
        (0..times)
            .map(|_| {
                choose(policy, candidates.len(), &mut cursor, |index| {
                    candidates[index]
                })
            })
            .collect()
    }

    #[test]
    fn nothing_to_choose_from_gives_nothing() {
        for policy in [
            LoadBalancingPolicy::RoundRobin,
            LoadBalancingPolicy::LeastLoad,
        ] {
            assert_eq!(run(policy, &[], 1), [None]);
            assert_eq!(run(policy, &[None, None], 1), [None]);
        }
    }

    #[test]
    fn round_robin_takes_turns_and_skips_the_excluded() {
        let busy = Candidate {
            in_flight: 9,
            ..idle()
        };
        let chosen = run(
            LoadBalancingPolicy::RoundRobin,
            &[Some(busy), None, Some(idle())],
            4,
        );
        assert_eq!(chosen, [Some(0), Some(2), Some(0), Some(2)]);
    }

    #[test]
    fn least_load_prefers_the_idle_and_rotates_ties() {
        let busy = Candidate {
            in_flight: 1,
            ..idle()
        };
        let chosen = run(
            LoadBalancingPolicy::LeastLoad,
            &[Some(idle()), Some(busy), Some(idle())],
            4,
        );
        assert_eq!(chosen, [Some(0), Some(2), Some(0), Some(2)]);
    }

    #[test]
    fn weight_divides_the_load_and_nonsense_counts_as_one() {
        let strong = Candidate {
            in_flight: 3,
            weight: 4.0,
            suspect: false,
        };
        for weight in [1.0, 0.0, -2.0, f64::NAN, f64::INFINITY] {
            let weak = Candidate {
                in_flight: 1,
                weight,
                suspect: false,
            };
            let policy = LoadBalancingPolicy::InstanceAwareLeastLoad;
            assert_eq!(
                run(policy, &[Some(weak), Some(strong)], 1),
                [Some(1)],
                "weight {weight}"
            );
        }
    }

    #[test]
    fn a_suspect_is_the_last_resort() {
        let suspect = Candidate {
            suspect: true,
            ..idle()
        };
        let busy = Candidate {
            in_flight: 50,
            ..idle()
        };
        for policy in [
            LoadBalancingPolicy::RoundRobin,
            LoadBalancingPolicy::LeastLoad,
        ] {
            assert_eq!(
                run(policy, &[Some(suspect), Some(busy)], 2),
                [Some(1), Some(1)]
            );
            assert_eq!(run(policy, &[Some(suspect)], 1), [Some(0)]);
        }
    }

    #[test]
    fn the_cursor_survives_a_shrinking_table() {
        let mut cursor = 7;
        let chosen = choose(LoadBalancingPolicy::RoundRobin, 2, &mut cursor, |_| {
            Some(idle())
        });
        assert_eq!((chosen, cursor), (Some(0), 1));
    }
}
