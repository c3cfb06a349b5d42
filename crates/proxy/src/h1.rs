//! The path of ordinary HTTP/1.1 requests, from the first byte of a client to the last byte of the answer.
//!
//! # Problem
//!
//! This is what the proxy is for, so it must cost little: two reads and two writes per request, heads read in place and
//! copied as bytes, one allocation, no memory held by who waits. And nothing may be lost or done twice, whoever of client
//! and replica is slow, silent, malicious or gone.
//!
//! # How a request goes
//!
//! `connection` reads the head of a request ([`http1`] refuses what is ambiguous); `request` composes the head for the
//! replica; `attempt` chooses a replica, sends, and chooses again where that is harmless; `exchange` moves both bodies at
//! once, each at the pace of its reader, and `answer` composes the head for the client; after `101 Switching Protocols`
//! a `tunnel` moves bytes both ways. For replicas that speak HTTP/2 only there is `translate`. A direction is a [`flow::Flow`]: composed bytes, then bytes passed as they came.
//!
//! # When a request is sent again
//!
//! | what failed | sent again |
//! |---|---|
//! | no connection to the replica | any request, to another replica; to all again after a pause, while it may wait in line |
//! | a kept connection was closed before a byte was written | any request, on a new connection |
//! | the replica may have read it, no head of an answer came | idempotent methods whose body is whole and small |
//! | silence for the stream timeout | never: 504 |
//! | the head of the answer was passed on | never: the client's connection is cut |

mod answer;
mod attempt;
mod body;
mod connection;
mod exchange;
mod flow;
mod preference;
mod request;
mod translate;
mod tunnel;

pub(crate) use connection::serve;
pub(crate) use request::{cookie, new_request_id};
