//! The local HTTP API: wire types and client. HTTP/1.1 with JSON bodies over a Unix socket that only its
//! owner can open (mode 0600).
//!
//! | method and path | body | answer |
//! |---|---|---|
//! | `GET /v1/health` | | [`Health`] |
//! | `POST /v1/services` | [`UpRequest`] | [`UpResponse`] |
//! | `GET /v1/services?name=A&name=B` | | [`ServiceList`] (all, when no name is given) |
//! | `GET /v1/services/NAME?after=REVISION&timeout_seconds=S` | | [`ServiceRecord`]; with `after`, waits until the revision is newer or the time is over |
//! | `POST /v1/services/NAME/versions` | [`UpdateRequest`] | [`UpdateResponse`] |
//! | `POST /v1/services/NAME/versions?dry_run=true` | [`UpdateRequest`] | [`DryRun`]: what it would do; nothing is changed |
//! | `POST /v1/services/NAME/pause`, `…/resume`, `…/promote`, `…/abort` | [`SteerRequest`] | [`Steered`]; asking twice is no error |
//! | `POST /v1/services/NAME/rollback` | [`RollbackRequest`] | [`Steered`] |
//! | `POST /v1/services/NAME/down` | [`DownRequest`] | [`Accepted`] |
//! | `POST /v1/services/NAME/replicas/ID/terminate` | [`DownRequest`] | [`Accepted`] |
//! | `POST /v1/services/NAME/keys` | [`CreateKeyRequest`] | [`CreatedKey`], with the key, which is never told again |
//! | `GET /v1/services/NAME/keys` | | [`KeyList`] |
//! | `DELETE /v1/services/NAME/keys/ID` | | [`KeysChanged`]; that key is revoked |
//! | `DELETE /v1/services/NAME/keys` | | [`KeysChanged`]; every key is forgotten and none is asked for |
//! | `GET /v1/services/NAME/logs?target=replica&replica_id=N&follow=true&tail=N` | | plain text, streamed; target `replica`, `controller` or `load_balancer` |
//! | `GET /v1/services/NAME/events?after=SEQUENCE&follow=true` | | [`EventList`]; with `follow`, waits up to 30 s for the next event or the end of the service |
//! | `GET /v1/services/NAME/history` | | [`History`] |
//! | `GET /v1/services/NAME/why?replica=ID` | | [`Why`]; of the service where no replica is given |
//! | `GET /v1/services/NAME/diff?from=VERSION&to=VERSION` | | [`Diff`]; by default of the desired version and the one before |
//! | `POST /v1/shutdown` | | [`Accepted`]; the server ends, replicas and proxy go on |
//!
//! Every error is [`ApiError`] with a status of 4xx or 5xx.

pub mod client;
pub mod diff;
pub mod dry_run;
pub mod events;
pub mod history;
pub mod keys;
pub mod steer;
pub mod types;
pub mod why;

pub use client::{Client, ClientError, LogStream, LogTarget, LogsQuery};
pub use diff::{Change, ChangeKind, Diff};
pub use dry_run::DryRun;
pub use events::{EventList, EventRecord};
pub use history::{History, HistoryEntry};
pub use keys::{CreateKeyRequest, CreatedKey, KeyList, KeyRecord, KeysChanged};
pub use steer::{RollbackRequest, SteerRequest, Steered};
pub use types::{
    Accepted, ApiError, DownRequest, ErrorCode, Health, ReplicaRecord, RolloutRecord, RolloutState,
    ServiceList, ServiceRecord, UpRequest, UpResponse, UpdateMode, UpdateRequest, UpdateResponse,
};
pub use why::Why;
