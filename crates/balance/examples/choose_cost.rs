//! What one choice costs: `cargo run --release -p balance --example choose_cost`.
//!
//! Nanoseconds for each choice, the counting of requests in flight included (two atomic additions for the replica and
//! two for the sum), with about three requests in flight for each replica. Best of seven rounds.
#![expect(
    clippy::disallowed_methods,
    reason = "an example that measures needs a clock"
)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use balance::{
    Candidate, Candidates, Key, PrefixChain, PrefixIndex, PromptView, Ring, Roster, Share, Turn,
    Weight, choose, prompt, session_hash,
};
use spec::LoadBalancingPolicy;

const ROUNDS: usize = 7;
const CHOICES: usize = 100_000;

/// Counts as the proxy keeps them: shared by all threads.
struct Table {
    in_flight: Vec<AtomicU32>,
    sum: AtomicU64,
}

impl Table {
    fn add(&self, index: usize) {
        self.in_flight[index].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(1, Ordering::Relaxed);
    }

    fn remove(&self, index: usize) {
        self.in_flight[index].fetch_sub(1, Ordering::Relaxed);
        self.sum.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Candidates for Table {
    fn count(&self) -> usize {
        self.in_flight.len()
    }

    fn candidate(&self, index: usize) -> Option<Candidate> {
        let in_flight = self.in_flight.get(index)?.load(Ordering::Relaxed);
        Some(Candidate {
            in_flight,
            ..Candidate::idle()
        })
    }

    fn average_in_flight(&self) -> f64 {
        self.sum.load(Ordering::Relaxed) as f64 / self.in_flight.len() as f64
    }
}

/// Nanoseconds for each of `times` calls of `work`, in the best round.
fn best(times: usize, mut work: impl FnMut(usize)) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for number in 0..times {
                work(number);
            }
            start.elapsed().as_nanos() as f64 / times as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn prompts() -> Vec<PrefixChain> {
    (0..256)
        .map(|talk| {
            let text = format!("talk {talk} goes on and on. ").repeat(250);
            PrefixChain::new(&PromptView::new(text.as_bytes(), b""))
        })
        .collect()
}

fn cost(policy: LoadBalancingPolicy, replicas: usize, chains: &[PrefixChain]) -> f64 {
    let ids: Vec<u32> = (1..).take(replicas).collect();
    let (ring, roster) = (Ring::new(&ids), Roster::new(&ids));
    let mut index = PrefixIndex::default();
    let table = Table {
        in_flight: ids.iter().map(|_| AtomicU32::new(0)).collect(),
        sum: AtomicU64::new(0),
    };
    let mut turn = Turn::new(1);
    let mut under_way: VecDeque<usize> = VecDeque::with_capacity(3 * replicas + 1);
    let hashes: Vec<u64> = (0..4096_u32)
        .map(|number| session_hash(&number.to_le_bytes()))
        .collect();
    best(CHOICES, |number| {
        let key = match policy {
            LoadBalancingPolicy::SessionAffinity => Some(Key::Session {
                ring: &ring,
                hash: hashes[number % hashes.len()],
            }),
            LoadBalancingPolicy::PrefixAffinity => Some(Key::Prefix {
                index: &mut index,
                roster: &roster,
                chain: &chains[number % chains.len()],
            }),
            _ => None,
        };
        if let Some(chosen) = black_box(choose(policy, &table, &mut turn, key)) {
            table.add(chosen);
            under_way.push_back(chosen);
        }
        if under_way.len() > 3 * replicas
            && let Some(ended) = under_way.pop_front()
        {
            table.remove(ended);
        }
    })
}

fn main() {
    let sizes = [2, 8, 100, 1000];
    println!("nanoseconds a choice, with this many replicas");
    println!("{:28}{:>8}{:>8}{:>8}{:>8}", "", 2, 8, 100, 1000);
    let chains = prompts();
    for (name, policy) in [
        ("round_robin", LoadBalancingPolicy::RoundRobin),
        ("least_load", LoadBalancingPolicy::LeastLoad),
        (
            "instance_aware_least_load",
            LoadBalancingPolicy::InstanceAwareLeastLoad,
        ),
        ("session_affinity", LoadBalancingPolicy::SessionAffinity),
        (
            "prefix_affinity (6 KB)",
            LoadBalancingPolicy::PrefixAffinity,
        ),
    ] {
        print!("{name:28}");
        for replicas in sizes {
            print!("{:8.1}", cost(policy, replicas, &chains));
        }
        println!();
    }

    println!("\nonce for each request of prefix_affinity");
    for kilobytes in [1, 6, 60] {
        let content = "a word and another ".repeat(kilobytes * 1024 / 19);
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"{content}"}}],"stream":true}}"#
        );
        let found = best(2000, |_| {
            black_box(prompt::extract(
                black_box(body.as_bytes()),
                "/v1/chat/completions",
            ));
        });
        let view = PromptView::new(body.as_bytes(), b"");
        let hashed = best(2000, |_| {
            black_box(PrefixChain::new(black_box(&view)));
        });
        println!("  {kilobytes:3} KB: prompt found in {found:.0} ns, hashed in {hashed:.0} ns");
    }
    println!("\nonce for each request while traffic is split");
    let (mut share, weight) = (Share::new(1), Weight::from_percent(5.0));
    let drawn = best(CHOICES, |_| {
        black_box(share.has_next(black_box(weight)));
    });
    let kept = best(CHOICES, |number| {
        black_box(black_box(weight).has_session(number as u64, 7));
    });
    println!("  by the share {drawn:.1} ns, by its session {kept:.1} ns");
    println!("\nonce for each routing table");
    for replicas in sizes {
        let ids: Vec<u32> = (1..).take(replicas).collect();
        let built = best(3, |_| {
            black_box(Ring::new(black_box(&ids)));
        });
        println!("  ring of {replicas:4} replicas: {:.2} ms", built / 1e6);
    }
}
