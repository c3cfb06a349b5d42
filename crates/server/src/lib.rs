//! The server: the HTTP API over a Unix socket, and the wiring of store, provider, proxy and controller.
//!
//! One server per home, which a lock file enforces. It may be killed at any moment: replicas and proxy go on, and
//! the next server takes up where this one was (see the controller's module doc).

mod accept;
mod api_key;
mod diff;
mod error;
mod forecast;
mod home;
mod log_tail;
mod logs;
mod names;
mod record;
mod routes;
mod start;
mod tls_check;

pub use home::Home;
pub use start::{Options, ServerError, run};
