//! What `sky` prints and returns, command by command, against a server that plays a script: fast,
//! without replicas, and for cases that a real server seldom shows.

#[path = "transcripts/auth.rs"]
mod auth;
#[path = "transcripts/diff.rs"]
mod diff;
#[path = "transcripts/down.rs"]
mod down;
#[path = "transcripts/events.rs"]
mod events;
#[path = "transcripts/fake_server.rs"]
mod fake_server;
#[path = "transcripts/history.rs"]
mod history;
#[path = "transcripts/logs.rs"]
mod logs;
#[path = "transcripts/metrics.rs"]
mod metrics;
#[path = "transcripts/status.rs"]
mod status;
#[path = "transcripts/steer.rs"]
mod steer;
#[path = "transcripts/up.rs"]
mod up;
#[path = "transcripts/update.rs"]
mod update;
#[path = "transcripts/validate.rs"]
mod validate;
#[path = "transcripts/why.rs"]
mod why;
