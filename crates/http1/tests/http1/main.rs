//! The promise of this crate: a message is read in one way or not at all. Each rule has a table of what is accepted and
//! what is refused, with the section of the RFC; properties hold for bytes of any kind, cut anywhere; and hyper, which
//! was written by others, reads the same messages.

mod answers;
mod chunks;
mod comparison;
mod differential;
mod fields;
mod limits;
mod mutation;
mod properties;
mod reading;
mod request_framing;
mod requests;
mod seeds;
