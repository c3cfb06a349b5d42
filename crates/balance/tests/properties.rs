//! What every choice keeps to, whatever the table.

use balance::{
    Candidate, Candidates, FEW, Key, PrefixChain, PrefixIndex, PromptView, Ring, Roster, Turn,
    choose, session_hash,
};
use proptest::prelude::*;
use spec::LoadBalancingPolicy;

const EVERY_POLICY: [LoadBalancingPolicy; 5] = [
    LoadBalancingPolicy::RoundRobin,
    LoadBalancingPolicy::LeastLoad,
    LoadBalancingPolicy::InstanceAwareLeastLoad,
    LoadBalancingPolicy::SessionAffinity,
    LoadBalancingPolicy::PrefixAffinity,
];

fn candidate() -> impl Strategy<Value = Candidate> {
    (
        prop_oneof![0_u32..20, any::<u32>()],
        prop_oneof![0.1_f64..10.0, any::<f64>()],
        prop::bool::weighted(0.1),
        prop_oneof![Just(1.0_f32), 0.0_f32..1.0, any::<f32>()],
    )
        .prop_map(|(in_flight, weight, suspect, ramp)| Candidate {
            in_flight,
            weight,
            suspect,
            ramp,
        })
}

fn table(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Option<Candidate>>> {
    let excluded = prop::sample::select(vec![0.2, 0.95]);
    excluded.prop_flat_map(move |some| {
        prop::collection::vec(prop::option::weighted(some, candidate()), sizes.clone())
    })
}

/// Everything that a service has beside its table.
struct Service {
    ring: Ring,
    roster: Roster,
    index: PrefixIndex,
    turn: Turn,
}

impl Service {
    fn new(replica_ids: &[u32], turn: Turn) -> Self {
        Self {
            ring: Ring::new(replica_ids),
            roster: Roster::new(replica_ids),
            index: PrefixIndex::new(256),
            turn,
        }
    }

    fn numbered(replicas: usize, turn: Turn) -> Self {
        Self::new(&(1..).take(replicas).collect::<Vec<_>>(), turn)
    }

    /// One request of this session, which is also its prompt.
    fn choose<C: Candidates + ?Sized>(
        &mut self,
        policy: LoadBalancingPolicy,
        table: &C,
        session: u32,
    ) -> Option<usize> {
        if policy == LoadBalancingPolicy::SessionAffinity {
            let hash = session_hash(&session.to_le_bytes());
            let key = Key::Session {
                ring: &self.ring,
                hash,
            };
            return choose(policy, table, &mut self.turn, Some(key));
        }
        let prompt = format!("session {session} ").repeat(30);
        let chain = PrefixChain::new(&PromptView::new(prompt.as_bytes(), b""));
        let key = Key::Prefix {
            index: &mut self.index,
            roster: &self.roster,
            chain: &chain,
        };
        choose(policy, table, &mut self.turn, Some(key))
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// A choice is made exactly if there is one; never of an excluded replica, and of a suspect only if all are.
    #[test]
    fn only_what_may_be_chosen_is_chosen(
        table in table(0..40),
        cursor in any::<usize>(),
        seed in any::<u64>(),
        sessions in prop::collection::vec(0_u32..5, 1..20),
    ) {
        let sound = table.iter().flatten().any(|candidate| !candidate.suspect);
        for policy in EVERY_POLICY {
            let mut service = Service::numbered(table.len(), Turn::starting_at(cursor, seed));
            for &session in &sessions {
                match service.choose(policy, &table[..], session) {
                    None => prop_assert!(table.iter().all(Option::is_none), "{policy:?}"),
                    Some(index) => {
                        let chosen = table[index];
                        prop_assert!(chosen.is_some(), "{policy:?} {index}");
                        prop_assert!(!sound || !chosen.unwrap().suspect, "{policy:?} {index}");
                    }
                }
            }
        }
    }

    /// With few replicas, none has less to do than the one chosen.
    #[test]
    fn among_few_the_least_loaded_is_chosen(
        loads in prop::collection::vec((0_u32..10, 0.1_f64..10.0), 1..=FEW),
        cursor in any::<usize>(),
    ) {
        let table: Vec<Candidate> = loads
            .iter()
            .map(|&(in_flight, weight)| Candidate { in_flight, weight, ..Candidate::idle() })
            .collect();
        let mut turn = Turn::starting_at(cursor, 0);
        let chosen = choose(LoadBalancingPolicy::LeastLoad, &table[..], &mut turn, None).unwrap();
        prop_assert!(table.iter().all(|other| other.in_flight >= table[chosen].in_flight));

        let policy = LoadBalancingPolicy::InstanceAwareLeastLoad;
        let chosen = choose(policy, &table[..], &mut turn, None).unwrap();
        let load = |candidate: &Candidate| f64::from(candidate.in_flight) / candidate.weight;
        prop_assert!(table.iter().all(|other| load(other) >= load(&table[chosen])));
    }

    /// Equal replicas have equal shares of any number of requests: turns are fair.
    #[test]
    fn among_equals_turns_are_exact(count in 1_usize..=FEW, cursor in any::<usize>(), rounds in 1_usize..5) {
        let table = vec![Candidate::idle(); count];
        for policy in &EVERY_POLICY[..3] {
            let mut turn = Turn::starting_at(cursor, 0);
            let mut chosen = vec![0; count];
            for _ in 0..rounds * count {
                chosen[choose(*policy, &table[..], &mut turn, None).unwrap()] += 1;
            }
            prop_assert!(chosen.iter().all(|&times| times == rounds), "{policy:?} {chosen:?}");
        }
    }

    /// When a replica leaves, its sessions move and no others; when it comes back, they come back.
    #[test]
    fn a_replica_that_leaves_moves_its_own_sessions_only(
        ids in prop::collection::btree_set(1_u32..10_000, 2..30),
        leaver in any::<prop::sample::Index>(),
        start in any::<u32>(),
    ) {
        let ids: Vec<u32> = ids.into_iter().collect();
        let leaver = ids[leaver.index(ids.len())];
        let rest: Vec<u32> = ids.iter().copied().filter(|&id| id != leaver).rev().collect();
        let mut before = Service::new(&ids, Turn::new(1));
        let mut after = Service::new(&rest, Turn::new(2));
        let table = vec![Candidate::idle(); ids.len()];
        let policy = LoadBalancingPolicy::SessionAffinity;
        let mut moved = 0;
        for session in 0..1000 {
            let session = start.wrapping_add(session);
            let old = ids[before.choose(policy, &table[..], session).unwrap()];
            let new = rest[after.choose(policy, &table[..rest.len()], session).unwrap()];
            prop_assert!(old == new || old == leaver);
            moved += usize::from(old != new);
        }
        prop_assert!(moved <= 2 * 1000 / ids.len(), "{moved} of 1000 from one of {}", ids.len());
    }

    /// However uneven the sessions: whoever is chosen is not above a quarter more than the average and four. (Where no
    /// replica with the prefix has room, the least loaded is taken; among many, that is the better of two.)
    #[test]
    fn bounded_load_holds(
        count in 2_usize..30,
        requests in prop::collection::vec((0_u32..3, any::<bool>()), 1..400),
    ) {
        for policy in [LoadBalancingPolicy::SessionAffinity, LoadBalancingPolicy::PrefixAffinity] {
            let exact = policy == LoadBalancingPolicy::SessionAffinity;
            let count = if exact { count } else { count.min(FEW) };
            let mut service = Service::numbered(count, Turn::new(1));
            let mut table = vec![Candidate::idle(); count];
            for &(session, ends) in &requests {
                let average = table.average_in_flight();
                let chosen = service.choose(policy, &table[..], session).unwrap();
                prop_assert!(f64::from(table[chosen].in_flight) < 1.25 * average + 4.0);
                table[chosen].in_flight += 1;
                if ends {
                    let busiest = table.iter_mut().max_by_key(|replica| replica.in_flight).unwrap();
                    busiest.in_flight -= 1;
                }
            }
        }
    }

    /// However slow the start: every replica gets requests, light the load or heavy.
    #[test]
    fn no_replica_starves_in_slow_start(
        ramps in prop::collection::vec(0.0_f32..=1.0, 1..20),
        at_once in 1_usize..50,
        seed in any::<u64>(),
    ) {
        for policy in &EVERY_POLICY[..3] {
            let mut turn = Turn::new(seed);
            let mut table: Vec<Candidate> =
                ramps.iter().map(|&ramp| Candidate { ramp, ..Candidate::idle() }).collect();
            let mut chosen = vec![0; table.len()];
            let mut under_way = std::collections::VecDeque::new();
            for _ in 0..400 * table.len() {
                let index = choose(*policy, &table[..], &mut turn, None).unwrap();
                chosen[index] += 1;
                table[index].in_flight += 1;
                under_way.push_back(index);
                if under_way.len() > at_once {
                    table[under_way.pop_front().unwrap()].in_flight -= 1;
                }
            }
            prop_assert!(chosen.iter().all(|&times| times > 0), "{policy:?} {ramps:?} {chosen:?}");
        }
    }

    /// A conversation stays where it is while there is room.
    #[test]
    fn prefixes_stay(count in 1_usize..40, sessions in prop::collection::vec(0_u32..10, 1..60)) {
        let mut service = Service::numbered(count, Turn::new(1));
        let table = vec![Candidate::idle(); count];
        let mut homes = [None; 10];
        for session in sessions {
            let chosen = service.choose(LoadBalancingPolicy::PrefixAffinity, &table[..], session);
            let home = &mut homes[session as usize];
            prop_assert!(home.is_none() || *home == chosen);
            *home = chosen;
        }
    }
}
