//! The data plane: everything between a user's connection and a replica.
//!
//! # Problem
//!
//! Endpoints must answer while everything around them changes: replicas come and go, tables are
//! replaced many times an hour, the controller may be dead, and the proxy itself may crash or be
//! upgraded.
//!
//! # Rules
//!
//! - *Route before stop.* A routing table is swapped whole under the same short lock that every
//!   selection takes, so after the acknowledgement no new request can be given to a replica that
//!   left (`routing`). Requests already given away hold a lease that is counted until they end
//!   (`lease`).
//! - *The data plane stands alone.* Tables are on disk before they are acknowledged
//!   (`saved_tables`), and served again after a restart without being told.
//! - *The sockets outlive the process.* Two processes share every listening socket: the *holder*,
//!   which does nothing else (`holder`), and the *worker*, which serves (`worker`). Each starts
//!   the other again when it dies and hands it the sockets, so connections wait in the accept queue
//!   and none is refused.
//! - *No request is sent twice* unless that is harmless: `forward` knows for every failure
//!   whether a byte may have reached a replica.
//!
//! # Cold start
//!
//! The holder takes the lock of the home directory, binds the control socket and starts a worker.
//! The worker loads the saved tables, asks the holder for the listeners of each endpoint and
//! serves; then it accepts a controller, which is told what is in force and may push newer tables.
//!
//! # Recovery
//!
//! A worker that dies is replaced at once, with growing delays if it keeps dying. A holder that
//! dies is replaced by the worker. When both are gone, whoever starts the holder again gets the
//! saved tables back.

mod address_owner;
mod arrivals;
mod buffer;
mod clock;
mod connections;
mod deadline;
mod decimal;
mod endpoint;
mod error;
mod h1;
mod h2;
mod handover;
mod holder;
mod keys;
mod lease;
mod log;
mod metrics;
mod own_answer;
mod paths;
mod peer;
mod plain;
mod routing;
mod saved_tables;
mod selection;
mod settings;
mod split;
mod stream;
mod tls;
mod upstream;
mod waiting;
mod worker;

pub use error::ProxyError;
pub use holder::run_holder;
pub use paths::ProxyPaths;
pub use worker::{inherited_holder, run_worker};
