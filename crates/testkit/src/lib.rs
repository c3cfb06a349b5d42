//! For tests only: an installation of `sky` in a folder of its own that leaves nothing behind, load that counts every
//! answer, and a strict reader of the tables of `sky serve status`.

mod installation;
mod load;
mod status_tables;

pub use installation::{Installation, Output};
pub use load::{Load, Report};
pub use status_tables::{Row, StatusTables};
