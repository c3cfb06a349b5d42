//! YAML text → [`Task`] + [`ServiceSpec`].
//!
//! A task file is read in four steps, each of which collects all errors before the next begins to
//! need its result: text → tree with places (`loader`), flags and variables put in (`overrides`,
//! `substitute`), tree → meaning (`decode`), and the rules between sections (`rules`). What a field
//! is called, takes and means stands once, in [`field`]. A version's canonical form and content
//! hash are in `canonical`, [`hash`] and [`files`].
//!
//! The rules are those of SkyPilot 0.14.1, so that its files work unchanged; where they differ,
//! `docs/differences.md` says so and why.

pub mod field;
pub mod files;
pub mod hash;
pub mod service;
pub mod task;
pub mod update;

mod canonical;
mod decode;
mod diagnostic;
mod display;
mod dotenv;
mod flatten;
mod load_balancer;
mod loader;
mod masks;
mod merge;
mod node;
mod ordered_json;
mod overrides;
mod parse;
mod report;
mod rules;
mod scalar;
mod source;
mod substitute;
mod suggest;

pub use decode::service::MAX_REPLICAS;
pub use diagnostic::{Diagnostic, Severity};
pub use dotenv::parse_env_file;
pub use hash::{ContentHash, FilesDigest};
pub use load_balancer::{LoadBalancer, Queue, ReplicaProtocol, SessionAffinity};
pub use loader::{MAX_DEPTH, MAX_DOCUMENTS, MAX_EXPANDED_BYTES, MAX_NODES};
pub use masks::Masks;
pub use overrides::{Overrides, UpdateFlags};
pub use parse::{Checked, Purpose, check_task, parse_task};
pub use report::validation_report;
pub use service::{
    Auth, LoadBalancingPolicy, ReadinessProbe, ReplicaPolicy, ServiceSpec, SpotPlacer, TargetQps,
    Tls,
};
pub use source::{MAX_SOURCE_BYTES, SourceText};
pub use task::{
    Choice, FileMount, FileMountSource, ResourceCandidate, Resources, Secret, Task, Workdir,
};
pub use update::{
    Amount, Analysis, Canary, CanaryMatch, CanaryStep, StepEnd, Surge, Update, UpdateMode, Verify,
};
