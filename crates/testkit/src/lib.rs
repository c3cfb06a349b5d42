//! For tests only: an installation of `sky` in a folder of its own that leaves nothing behind, load that counts every
//! answer, an app to put it on, and a strict reader of the tables of `sky serve status`.

mod channel_body;
mod installation;
mod load;
mod mixed_load;
mod replica_app;
mod status_tables;

pub use installation::{Installation, Output};
pub use load::{Load, Report};
pub use mixed_load::{Evidence, Kill, Kind, MixedLoad, MixedReport, Verdict};
pub use replica_app::{JOURNAL_VARIABLE, VERSION_VARIABLE, serve_replica};
pub use status_tables::{Row, StatusTables};
