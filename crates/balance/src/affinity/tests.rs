use spec::LoadBalancingPolicy;

use crate::{Candidate, Key, PrefixChain, PrefixIndex, PromptView, Ring, Roster, Turn, choose};
use crate::{Candidates, session_hash};

fn with(in_flight: u32) -> Candidate {
    Candidate {
        in_flight,
        ..Candidate::idle()
    }
}

fn owner(ring: &Ring, table: &(impl Candidates + ?Sized), session: u64) -> Option<usize> {
    let key = Key::Session {
        ring,
        hash: session_hash(&session.to_le_bytes()),
    };
    let mut turn = Turn::new(session);
    choose(
        LoadBalancingPolicy::SessionAffinity,
        table,
        &mut turn,
        Some(key),
    )
}

/// A service with `prefix_affinity`.
struct Service {
    index: PrefixIndex,
    roster: Roster,
    turn: Turn,
    table: Vec<Option<Candidate>>,
}

impl Service {
    fn new(replicas: u32) -> Self {
        Self {
            index: PrefixIndex::default(),
            roster: Roster::new(&(1..=replicas).collect::<Vec<_>>()),
            turn: Turn::new(1),
            table: vec![Some(with(0)); replicas as usize],
        }
    }

    fn choose(&mut self, prompt: &str) -> Option<usize> {
        let chain = PrefixChain::new(&PromptView::new(prompt.as_bytes(), b""));
        let key = Key::Prefix {
            index: &mut self.index,
            roster: &self.roster,
            chain: &chain,
        };
        choose(
            LoadBalancingPolicy::PrefixAffinity,
            &self.table[..],
            &mut self.turn,
            Some(key),
        )
    }
}

fn words(topic: &str, count: usize) -> String {
    (0..count).map(|word| format!("{topic}{word} ")).collect()
}

#[test]
fn a_session_stays_whatever_the_thread() {
    let ring = Ring::new(&[1, 2, 3, 4, 5]);
    let table = [with(2); 5];
    for session in 0..100 {
        let first = owner(&ring, &table[..], session);
        for seed in 0..10 {
            let key = Key::Session {
                ring: &ring,
                hash: session_hash(&session.to_le_bytes()),
            };
            let policy = LoadBalancingPolicy::SessionAffinity;
            let again = choose(policy, &table[..], &mut Turn::new(seed), Some(key));
            assert_eq!(first, again);
        }
    }
}

#[test]
fn only_the_sessions_of_a_replica_that_leaves_move() {
    let ids: Vec<u32> = (1..=50).collect();
    let table = [with(0); 50];
    let ring = Ring::new(&ids);
    let without: Vec<u32> = ids.iter().copied().filter(|&id| id != 17).collect();
    let smaller = Ring::new(&without);
    let mut moved = 0;
    for session in 0..5000 {
        let before = ids[owner(&ring, &table[..], session).unwrap()];
        let after = without[owner(&smaller, &table[..49], session).unwrap()];
        if before != after {
            assert_eq!(before, 17);
            moved += 1;
        }
    }
    assert!(
        (50..180).contains(&moved),
        "{moved} of 5000; a fiftieth is 100"
    );
}

#[test]
fn an_excluded_or_suspect_replica_passes_its_sessions_to_several() {
    let ids: Vec<u32> = (1..=10).collect();
    let ring = Ring::new(&ids);
    let all = [Some(with(0)); 10];
    for bad in [
        None,
        Some(Candidate {
            suspect: true,
            ..with(0)
        }),
    ] {
        let mut table = all;
        table[4] = bad;
        let mut heirs = [0; 10];
        for session in 0..5000 {
            let before = owner(&ring, &all[..], session);
            let after = owner(&ring, &table[..], session);
            if before == Some(4) {
                heirs[after.unwrap()] += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        assert_eq!(heirs[4], 0);
        assert!(
            heirs.iter().filter(|&&sessions| sessions > 0).count() >= 8,
            "{heirs:?}"
        );
    }
}

#[test]
fn an_overloaded_replica_passes_sessions_on() {
    let ring = Ring::new(&[1, 2, 3, 4]);
    let even = [with(8); 4];
    let mut uneven = even;
    uneven[2] = with(20);
    for session in 0..1000 {
        let owner_when_even = owner(&ring, &even[..], session);
        let chosen = owner(&ring, &uneven[..], session);
        assert_ne!(chosen, Some(2));
        if owner_when_even != Some(2) {
            assert_eq!(chosen, owner_when_even);
        }
    }
}

#[test]
fn one_hot_session_is_shared_out_within_the_bound() {
    let ids: Vec<u32> = (1..=20).collect();
    let ring = Ring::new(&ids);
    let mut table = vec![with(0); 20];
    for _ in 0..1000 {
        let chosen = owner(&ring, &table[..], 42).unwrap();
        table[chosen].in_flight += 1;
    }
    let most = table.iter().map(|replica| replica.in_flight).max().unwrap();
    // 1.25 × 50, four on top, one that was the last to be let in.
    assert!(most <= 67, "{most}");
}

/// A table that must not be asked for more than it has.
struct Strict(usize);

impl Candidates for Strict {
    fn count(&self) -> usize {
        self.0
    }

    fn candidate(&self, index: usize) -> Option<Candidate> {
        assert!(index < self.0);
        Some(with(0))
    }

    fn average_in_flight(&self) -> f64 {
        panic!("an idle replica needs no comparison")
    }
}

#[test]
fn a_ring_or_a_roster_of_another_table_does_no_harm() {
    let ids: Vec<u32> = (1..=100).collect();
    let (ring, roster) = (Ring::new(&ids), Roster::new(&ids));
    let mut index = PrefixIndex::default();
    for session in 0..100 {
        assert!(owner(&ring, &Strict(2), session).is_some_and(|index| index < 2));
        assert!(owner(&Ring::default(), &Strict(2), session).is_some());

        let prompt = words(&session.to_string(), 100);
        let chain = PrefixChain::new(&PromptView::new(prompt.as_bytes(), b""));
        index.record(&chain, 100);
        let key = Key::Prefix {
            index: &mut index,
            roster: &roster,
            chain: &chain,
        };
        let policy = LoadBalancingPolicy::PrefixAffinity;
        let chosen = choose(policy, &Strict(2), &mut Turn::new(session), Some(key));
        assert!(chosen.is_some_and(|index| index < 2));
    }
}

#[test]
fn a_conversation_goes_on_where_it_began() {
    let mut service = Service::new(6);
    let mut homes = Vec::new();
    for talk in 0..60 {
        let opening = words(&format!("talk{talk}-"), 100);
        homes.push((opening.clone(), service.choose(&opening)));
    }
    for turn in 1..4 {
        for (opening, home) in &homes {
            let prompt = format!("{opening}{}", words("more", 40 * turn));
            assert_eq!(service.choose(&prompt), *home);
        }
    }
    let at_first = homes.iter().filter(|(_, home)| *home == Some(0)).count();
    assert_eq!(
        at_first, 10,
        "new conversations go to the least loaded, in turn"
    );
}

#[test]
fn a_prefix_moves_when_its_replica_has_no_room_and_then_has_two_homes() {
    let mut service = Service::new(3);
    let prompt = words("shared", 200);
    let home = service.choose(&prompt).unwrap();
    service.table[home] = Some(with(30));
    let second = service.choose(&prompt).unwrap();
    assert_ne!(home, second);
    service.table[home] = Some(with(1));
    service.table[second] = Some(with(2));
    assert_eq!(
        service.choose(&prompt),
        Some(home),
        "the less loaded of the two"
    );
    service.table[home] = Some(with(3));
    assert_eq!(service.choose(&prompt), Some(second));
}

#[test]
fn a_few_more_requests_are_no_reason_to_move() {
    let mut service = Service::new(4);
    let prompt = words("shared", 200);
    let home = service.choose(&prompt).unwrap();
    service.table[home] = Some(with(4));
    assert_eq!(service.choose(&prompt), Some(home));
}

#[test]
fn a_replica_that_is_excluded_suspect_or_gone_is_passed_by() {
    let prompt = words("shared", 200);
    let suspect = Candidate {
        suspect: true,
        ..with(0)
    };
    for bad in [None, Some(suspect)] {
        let mut service = Service::new(3);
        let home = service.choose(&prompt).unwrap();
        service.table[home] = bad;
        assert!(service.choose(&prompt).is_some_and(|chosen| chosen != home));
    }
    let mut service = Service::new(3);
    service.choose(&prompt);
    service.roster = Roster::new(&[11, 12, 13]);
    let home = service.choose(&prompt);
    assert!(home.is_some());
    assert_eq!(service.choose(&prompt), home);
}

#[test]
fn a_small_part_in_common_is_no_affinity() {
    let mut service = Service::new(2);
    let greeting = words("greeting", 30);
    let first = service.choose(&format!("{greeting}{}", words("a", 1000)));
    let second = service.choose(&format!("{greeting}{}", words("b", 1000)));
    assert_ne!(first, second);
}

#[test]
fn a_short_prompt_goes_to_the_least_loaded() {
    let mut service = Service::new(2);
    service.table[0] = Some(with(1));
    assert_eq!(service.choose("hello"), Some(1));
    service.table[1] = Some(with(2));
    assert_eq!(service.choose("hello"), Some(0));
}

#[test]
fn with_nothing_to_choose_from_nothing_is_chosen() {
    let mut service = Service::new(2);
    service.table = vec![None, None];
    assert_eq!(service.choose(&words("a", 100)), None);
}
