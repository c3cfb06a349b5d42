//! Choosing a replica. Pure: no I/O, no clock, no threads; time and randomness are arguments.
//!
//! The proxy calls [`choose`] once for each request, from every serving thread. It allocates nothing, and its cost does
//! not grow with the number of replicas.
//!
//! ```
//! use balance::{Candidate, Turn, choose};
//! use spec::LoadBalancingPolicy;
//!
//! let busy = Candidate { in_flight: 7, ..Candidate::idle() };
//! let tried = None;
//! let table = [Some(busy), tried, Some(Candidate::idle())];
//! let mut turn = Turn::new(42);
//! assert_eq!(choose(LoadBalancingPolicy::LeastLoad, &table[..], &mut turn, None), Some(2));
//! ```
//!
//! # What belongs to what
//!
//! | one for each | |
//! |---|---|
//! | thread and service | [`Turn`], [`Share`], [`RetryBudget`] |
//! | routing table | [`Ring`] (for `session_affinity`), [`Roster`] (for `prefix_affinity`); one more of each for each side of a split, and its [`Weight`] |
//! | service | [`PrefixIndex`], behind a lock |
//! | replica | [`Health`], behind a lock; copies of [`Health::ejected_until`] and [`Health::is_flawless`] for all threads |
//! | request | [`session_hash`], or [`prompt::extract`] and [`PrefixChain::new`]; [`Key`] |
//!
//! # What a choice costs
//!
//! Nanoseconds, counting the request in and out included (`cargo run --release -p balance --example choose_cost`, one
//! thread of a virtual machine):
//!
//! | replicas | 2 | 8 | 100 | 1,000 |
//! |---|---|---|---|---|
//! | `round_robin` | 23 | 24 | 24 | 24 |
//! | `least_load` | 28 | 31 | 27 | 27 |
//! | `instance_aware_least_load` | 25 | 31 | 26 | 26 |
//! | `session_affinity` | 34 | 34 | 34 | 34 |
//! | `prefix_affinity`, prompt of 6 KB | 255 | 316 | 260 | 366 |
//!
//! For `prefix_affinity` finding the prompt and hashing it comes on top: 0.35 µs for 1 KB, 1.5 µs for 6 KB, 13 µs for
//! 60 KB. A [`Ring`] of 1,000 replicas is built in 6 ms. Where traffic is split, the side of a request is known in 2 ns.
//!
//! # What affinity is worth
//!
//! Made-up conversations against eight made-up replicas, each with a prefix cache of 150,000 tokens, 8,000 tokens a
//! second of prefill and 20 ms for each token of an answer (`cargo run --release -p balance --example chat_replay`).
//! *Cache hits* are the share of the prompts' tokens found in the cache of the replica chosen; *at most* is what one
//! replica would have that is given every request and forgets nothing; *requests* and *in flight* are the busiest
//! replica's as a multiple of the mean; then the wait for the first token.
//!
//! Chat: 3,000 conversations of 2 to 14 turns, 20 system prompts of 100 to 1,500 tokens.
//!
//! | policy | cache hits | at most | requests | in flight | first token, median | 99 % |
//! |---|---|---|---|---|---|---|
//! | `round_robin` | 32.0 % | 93.1 % | 1.00 | 1.21 | 201 ms | 837 ms |
//! | `least_load` | 31.7 % | 93.1 % | 1.02 | 1.06 | 261 ms | 1,217 ms |
//! | `session_affinity` | 84.5 % | 93.1 % | 1.15 | 1.42 | 25 ms | 582 ms |
//! | `prefix_affinity` | 87.5 % | 93.1 % | 1.02 | 1.36 | 24 ms | 499 ms |
//!
//! Agents: 12,000 conversations of 1 or 2 turns, 60 system prompts of 1,000 to 6,000 tokens.
//!
//! | policy | cache hits | at most | requests | in flight | first token, median | 99 % |
//! |---|---|---|---|---|---|---|
//! | `round_robin` | 73.5 % | 94.3 % | 1.00 | 1.27 | 76 ms | 1,202 ms |
//! | `least_load` | 74.1 % | 94.3 % | 1.01 | 1.08 | 82 ms | 1,354 ms |
//! | `session_affinity` | 81.2 % | 94.3 % | 1.05 | 1.52 | 43 ms | 1,263 ms |
//! | `prefix_affinity` | 93.9 % | 94.3 % | 1.16 | 1.41 | 32 ms | 120 ms |
//!
//! These conversations were also used to settle how many requests a replica may have above its share before affinity
//! gives way. Two other sets (`-- 2`, `-- 3`) have `prefix_affinity` before `session_affinity` before the others too, and
//! the hits of these two within 1 point.

mod affinity;
mod bound;
mod candidate;
mod chain;
mod choose;
mod hash;
pub mod health;
mod prefix_index;
pub mod prompt;
mod retry_budget;
mod ring;
mod roster;
mod share;
mod turn;

pub use candidate::{Candidate, Candidates, slow_start_share};
pub use chain::PrefixChain;
pub use choose::{FEW, Key, choose};
pub use hash::session_hash;
pub use health::{Failure, Health, HealthEvent, may_eject};
pub use prefix_index::PrefixIndex;
pub use prompt::PromptView;
pub use retry_budget::RetryBudget;
pub use ring::Ring;
pub use roster::Roster;
pub use share::{Share, Weight};
pub use turn::Turn;
