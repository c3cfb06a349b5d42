//! The `sky` binary.
fn main() {}
