//! End to end: the real binary, real processes, real sockets and real load. Each test has an installation of its own.

#[path = "e2e/app.rs"]
mod app;
#[path = "e2e/bad_versions.rs"]
mod bad_versions;
#[path = "e2e/endurance.rs"]
mod endurance;
#[path = "e2e/examples.rs"]
mod examples;
#[path = "e2e/explained.rs"]
mod explained;
#[path = "e2e/faults.rs"]
mod faults;
#[path = "e2e/keys.rs"]
mod keys;
#[path = "e2e/kills.rs"]
mod kills;
#[path = "e2e/metrics.rs"]
mod metrics;
#[path = "e2e/refusals.rs"]
mod refusals;
#[path = "e2e/server.rs"]
mod server;
#[path = "e2e/steering.rs"]
mod steering;
#[path = "e2e/updates.rs"]
mod updates;
#[path = "e2e/walkthrough.rs"]
mod walkthrough;
