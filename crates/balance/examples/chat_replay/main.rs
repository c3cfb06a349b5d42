//! What affinity is worth to chat models: `cargo run --release -p balance --example chat_replay`.
//!
//! Plays made-up conversations against eight made-up replicas, once for each policy, and prints what share of the
//! prompts' tokens was found in a replica's prefix cache, how evenly requests were spread, and how long the first
//! token took. Each request goes the way it goes in the proxy: its body is JSON, the prompt is extracted, hashed, and
//! looked up. Seeded: every run prints the same; `-- 2` plays other conversations.

mod replica;
mod workload;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use balance::{
    Candidate, Key, PrefixChain, PrefixIndex, Ring, Roster, Turn, choose, prompt, session_hash,
};
use replica::Replica;
use spec::LoadBalancingPolicy;
use workload::{Conversation, Workload};

const REPLICAS: usize = 8;

/// What is to happen, at a time in microseconds; the number makes the order certain.
type Due = Reverse<(u64, usize, Happening)>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// The answer for this conversation is complete, from this replica.
    Answered(usize, usize),
    /// The next turn of this conversation.
    Asked(usize),
}

struct World {
    policy: LoadBalancingPolicy,
    replicas: Vec<Replica>,
    /// One that is given every request, for comparison.
    endless: Replica,
    table: Vec<Candidate>,
    ring: Ring,
    roster: Roster,
    index: PrefixIndex,
    turn: Turn,
    result: Tally,
}

#[derive(Default)]
struct Tally {
    prompt_tokens: u64,
    cached_tokens: u64,
    /// Tokens of prompts that came before at any replica.
    repeated_tokens: u64,
    requests: [u64; REPLICAS],
    /// Sums over the requests: the most in flight at one replica, and the mean.
    busiest: f64,
    mean: f64,
    first_token_microseconds: Vec<u64>,
}

impl World {
    fn new(policy: LoadBalancingPolicy) -> Self {
        let ids: Vec<u32> = (1..).take(REPLICAS).collect();
        Self {
            policy,
            replicas: (0..REPLICAS).map(|_| Replica::new()).collect(),
            endless: Replica::endless(),
            table: vec![Candidate::idle(); REPLICAS],
            ring: Ring::new(&ids),
            roster: Roster::new(&ids),
            index: PrefixIndex::default(),
            turn: Turn::new(7),
            result: Tally::default(),
        }
    }

    /// Chooses as the proxy does.
    fn choose(&mut self, conversation: &Conversation, body: &str) -> usize {
        let chain = prompt::extract(body.as_bytes(), "/v1/chat/completions")
            .map(|prompt| PrefixChain::new(&prompt));
        let key = match (self.policy, &chain) {
            (LoadBalancingPolicy::SessionAffinity, _) => Some(Key::Session {
                ring: &self.ring,
                hash: session_hash(conversation.session.as_bytes()),
            }),
            (LoadBalancingPolicy::PrefixAffinity, Some(chain)) => Some(Key::Prefix {
                index: &mut self.index,
                roster: &self.roster,
                chain,
            }),
            _ => None,
        };
        choose(self.policy, &self.table[..], &mut self.turn, key).expect("nobody is excluded")
    }

    /// One turn; returns the replica and when its answer is complete.
    fn ask(&mut self, conversation: &Conversation, now: u64) -> (usize, u64) {
        let chosen = self.choose(conversation, &conversation.body());
        self.table[chosen].in_flight += 1;
        let answer = self.replicas[chosen].serve(now, &conversation.tokens, conversation.reply());

        let in_flight = || self.table.iter().map(|replica| replica.in_flight);
        self.result.busiest += f64::from(in_flight().max().unwrap_or(0));
        self.result.mean += f64::from(in_flight().sum::<u32>()) / REPLICAS as f64;
        self.result.requests[chosen] += 1;
        self.result.prompt_tokens += conversation.tokens.len() as u64;
        self.result.cached_tokens += answer.cached_tokens as u64;
        self.result
            .first_token_microseconds
            .push(answer.first_token - now);
        self.result.repeated_tokens += self
            .endless
            .serve(now, &conversation.tokens, conversation.reply())
            .cached_tokens as u64;
        (chosen, answer.complete)
    }
}

fn play(policy: LoadBalancingPolicy, workload: &Workload, seed: u64) -> Tally {
    let mut world = World::new(policy);
    let mut conversations = workload.conversations(seed);
    let mut due: BinaryHeap<Due> = conversations
        .iter()
        .enumerate()
        .map(|(number, conversation)| {
            Reverse((conversation.begins, number, Happening::Asked(number)))
        })
        .collect();
    while let Some(Reverse((now, order, happening))) = due.pop() {
        match happening {
            Happening::Asked(number) => {
                let (replica, complete) = world.ask(&conversations[number], now);
                due.push(Reverse((
                    complete,
                    order,
                    Happening::Answered(number, replica),
                )));
            }
            Happening::Answered(number, replica) => {
                world.table[replica].in_flight -= 1;
                if let Some(pause) = conversations[number].go_on() {
                    due.push(Reverse((now + pause, order, Happening::Asked(number))));
                }
            }
        }
    }
    world.result
}

fn print(name: &str, mut tally: Tally) {
    let requests: u64 = tally.requests.iter().sum();
    let most = tally.requests.iter().max().copied().unwrap_or(0);
    tally.first_token_microseconds.sort_unstable();
    let waited = |share: f64| {
        let at = (requests as f64 * share) as usize;
        tally.first_token_microseconds.get(at).copied().unwrap_or(0) as f64 / 1e3
    };
    println!(
        "| {name:17} | {:6.1} % | {:6.1} % | {:7.2} | {:8.2} | {:8.0} ms | {:8.0} ms |",
        100.0 * tally.cached_tokens as f64 / tally.prompt_tokens as f64,
        100.0 * tally.repeated_tokens as f64 / tally.prompt_tokens as f64,
        most as f64 * REPLICAS as f64 / requests as f64,
        tally.busiest / tally.mean,
        waited(0.5),
        waited(0.99),
    );
}

fn main() {
    let seed = std::env::args()
        .nth(1)
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    for workload in [Workload::chat(), Workload::agents()] {
        println!("{}\n", workload.description);
        println!(
            "| policy            | cache hits | at most | requests | in flight | first token p50 | p99 |"
        );
        println!("|---|---|---|---|---|---|---|");
        for (name, policy) in [
            ("round_robin", LoadBalancingPolicy::RoundRobin),
            ("least_load", LoadBalancingPolicy::LeastLoad),
            ("session_affinity", LoadBalancingPolicy::SessionAffinity),
            ("prefix_affinity", LoadBalancingPolicy::PrefixAffinity),
        ] {
            print(name, play(policy, &workload, seed));
        }
        println!();
    }
    println!("cache hits: share of the prompts' tokens found in the cache of the replica chosen;");
    println!("at most: the same for one replica that is given every request and forgets nothing;");
    println!("requests, in flight: the busiest replica's number as a multiple of the mean.");
}
